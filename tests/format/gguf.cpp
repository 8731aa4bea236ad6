#include "flashback/format/gguf.hpp"

#include "support/errors.hpp"
#include "support/gguf_bytes.hpp"

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;
using flashback_test::check_error;
using flashback_test::GgufBytes;
using flashback_test::view;

namespace {

GgufBytes with_every_type() {
    GgufBytes w;
    w.set<std::uint8_t>("u8", 255)
        .set<std::int8_t>("i8", -128)
        .set<std::uint16_t>("u16", 65535)
        .set<std::int16_t>("i16", -32768);
    w.set<std::uint32_t>("u32", 4294967295u).set<std::int32_t>("i32", -7).set("f32", 0.5f).set("f64", -0.25).set("yes", true);
    w.set("u64", std::numeric_limits<std::uint64_t>::max()).set("i64", std::numeric_limits<std::int64_t>::min());
    w.set("no", false).set("text", "t\xc3\xa4xt").set<std::int16_t>("positive", 12);
    w.set_array<std::string>("texts", {"a", "", "ccc"}).set_array<float>("floats", {1.5f, -2.0f});
    w.set_array<std::int32_t>("ints", {-1, 2, 3}).set_array<std::uint32_t>("counts", {7}).set_array<float>("none", {});
    return w;
}

}  // namespace

TEST_CASE("every type of value is read") {
    const std::string bytes = with_every_type().bytes();
    const GgufFile file = view(bytes);
    CHECK(file.version() == 3);
    CHECK(file.name() == "test.gguf");
    CHECK(file.metadata().size() == 19);
    CHECK(file.metadata()[4].first == "u32");
    CHECK(file.integer("u8") == 255);
    CHECK(file.integer("u16") == 65535);
    CHECK(file.integer("u32") == 4294967295u);
    CHECK(file.integer("u64") == std::numeric_limits<std::uint64_t>::max());
    CHECK(file.integer("positive") == 12);
    CHECK(std::get<std::int64_t>(*file.find("i8")) == -128);
    CHECK(std::get<std::int64_t>(*file.find("i16")) == -32768);
    CHECK(std::get<std::int64_t>(*file.find("i32")) == -7);
    CHECK(std::get<std::int64_t>(*file.find("i64")) == std::numeric_limits<std::int64_t>::min());
    CHECK(file.real("f32") == 0.5);
    CHECK(file.real("f64") == -0.25);
    CHECK(file.boolean("yes") == true);
    CHECK(file.boolean("no") == false);
    CHECK(file.text("text") == "t\xc3\xa4xt");
    CHECK(file.strings("texts") == std::vector<std::string_view>{"a", "", "ccc"});
    CHECK(file.numbers<float>("floats") == std::vector<float>{1.5f, -2.0f});
    CHECK(file.numbers<std::int32_t>("ints") == std::vector<std::int32_t>{-1, 2, 3});
    CHECK(file.numbers<std::uint32_t>("counts") == std::vector<std::uint32_t>{7});
    CHECK(file.numbers<float>("none")->empty());
    CHECK(file.array("ints")->count == 3);
}

TEST_CASE("an absent key is nothing") {
    const std::string bytes = GgufBytes{}.bytes();
    const GgufFile file = view(bytes);
    CHECK(file.find("x") == nullptr);
    CHECK(file.tensor("x") == nullptr);
    CHECK_FALSE(file.integer("x"));
    CHECK_FALSE(file.real("x"));
    CHECK_FALSE(file.boolean("x"));
    CHECK_FALSE(file.text("x"));
    CHECK_FALSE(file.array("x"));
    CHECK_FALSE(file.strings("x"));
    CHECK_FALSE(file.numbers<float>("x"));
}

TEST_CASE("a getter names a key whose value has another type") {
    const std::string bytes = with_every_type().bytes();
    const GgufFile file = view(bytes);
    const auto refuses = [](std::string_view part, auto&& get) { check_error(ErrorCode::format, part, get); };
    refuses("i32 is -7, expected an integer that is not negative", [&] { file.integer("i32"); });
    refuses("f32 is the floating-point number 0.500000, expected an integer", [&] { file.integer("f32"); });
    refuses("u32 is 4294967295, expected a floating-point number", [&] { file.real("u32"); });
    refuses("u8 is 255, expected a bool", [&] { file.boolean("u8"); });
    refuses("ints is an array of 3 elements of type 5, expected a string", [&] { file.text("ints"); });
    GgufBytes hostile;
    const std::string clear_screen = hostile.set<std::uint8_t>("\x1b[2J", 1).bytes();
    refuses("the value of ?[2J is 1, expected a string", [&] { view(clear_screen).text("\x1b[2J"); });
    refuses("text is a string, expected an array", [&] { file.array("text"); });
    refuses("text is a string, expected an array", [&] { file.strings("text"); });
    refuses("floats is an array of 2 elements of type 6, expected an array of strings", [&] { file.strings("floats"); });
    refuses("ints is an array of 3 elements of type 5, expected an array of", [&] { file.numbers<float>("ints"); });
    refuses("counts is an array of 1 elements of type 4, expected an array of", [&] { file.numbers<std::int32_t>("counts"); });
    refuses("texts is an array of 3 elements of type 8, expected an array of", [&] { file.numbers<std::uint32_t>("texts"); });
}

TEST_CASE("tensors are found by name, with their shape and bytes") {
    GgufBytes w;
    w.add_tensor<float>("three", {3}, DType::f32, {1, 2, 3});
    w.add_tensor<std::uint16_t>("halves", {2, 2}, DType::f16, {1, 2, 3, 4});
    w.add_tensor<std::uint8_t>("blocks", {32, 2, 1, 1}, DType::q8_0, std::vector<std::uint8_t>(68, 9));
    for (const std::uint32_t version : {2u, 3u}) {
        w.version = version;
        const std::string bytes = w.bytes();
        const GgufFile file = view(bytes);
        CHECK(file.version() == version);
        REQUIRE(file.tensors().size() == 3);
        const GgufTensor* halves = file.tensor("halves");
        REQUIRE(halves);
        CHECK(halves->rank == 2);
        CHECK(halves->dims == std::array<std::uint64_t, 4>{2, 2, 1, 1});
        CHECK(halves->type == DType::f16);
        REQUIRE(halves->data.size() == 8);
        CHECK(static_cast<int>(halves->data[6]) == 4);
        CHECK(file.tensor("three")->data.size() == 12);
        CHECK(file.tensor("blocks")->data.size() == 68);
        CHECK(file.tensor("blocks")->rank == 4);
        CHECK(reinterpret_cast<const char*>(file.tensors()[0].data.data()) - bytes.data() ==
              static_cast<std::ptrdiff_t>(bytes.size() - 32 - 32 - 68));
    }
}

TEST_CASE("a vocabulary without tensors is a valid file") {
    GgufBytes w;
    w.set_array<std::string>("tokenizer.ggml.tokens", {"a"});
    const std::string bytes = w.bytes();
    CHECK(view(bytes).tensors().empty());
    CHECK(view(bytes).strings("tokenizer.ggml.tokens")->size() == 1);
}

TEST_CASE("the alignment is 32 unless the file says otherwise") {
    for (const std::uint32_t alignment : {1u, 8u, 64u, 4096u}) {
        GgufBytes w;
        w.alignment = alignment;
        w.set("general.alignment", alignment);
        w.add_tensor<float>("a", {1}, DType::f32, {1}).add_tensor<float>("b", {1}, DType::f32, {2});
        const std::string bytes = w.bytes();
        CHECK(static_cast<int>(view(bytes).tensor("b")->data[3]) == 0x40);
        if (alignment != 1) {
            w.erase("general.alignment");
            const std::string other = w.bytes();
            check_error(ErrorCode::format, "lies at offset", [&] { view(other); });
        }
    }
    GgufBytes w;
    w.add_tensor<float>("a", {1}, DType::f32, {1}).add_tensor<float>("b", {1}, DType::f32, {2});
    const std::string bytes = w.bytes();
    CHECK(static_cast<int>(view(bytes).tensor("b")->data[3]) == 0x40);
}

TEST_CASE("a part of a split model is refused by name") {
    GgufBytes w;
    w.set<std::uint16_t>("split.no", 1).set<std::uint16_t>("split.count", 3);
    const std::string bytes = w.bytes();
    check_error(ErrorCode::unsupported, "'test.gguf' is part 2 of a model split into 3 files", [&] { view(bytes); });
    w.set<std::uint16_t>("split.count", 1);
    const std::string whole = w.bytes();
    CHECK(view(whole).integer("split.count") == 1);
}

TEST_CASE("a file on disk stays readable when the object moves") {
    const auto path = std::filesystem::temp_directory_path() / "flashback_test_format.gguf";
    GgufBytes w;
    w.set("text", "hello").add_tensor<float>("a", {1}, DType::f32, {1});
    const std::string bytes = w.bytes();
    std::ofstream{path, std::ios::binary} << bytes;
    GgufFile file = GgufFile::open(path);
    const GgufFile moved = std::move(file);
    std::filesystem::remove(path);
    CHECK(moved.name() == path.string());
    CHECK(moved.text("text") == "hello");
    CHECK(moved.tensor("a")->data.size() == 4);
}

TEST_CASE("a missing file and a folder are named") {
    check_error(ErrorCode::io, "cannot open '/nowhere/model.gguf'", [] { GgufFile::open("/nowhere/model.gguf"); });
    const auto folder = std::filesystem::temp_directory_path();
    check_error(ErrorCode::io, folder.string() + "' is a folder, expected a file", [&] { GgufFile::open(folder); });
}
