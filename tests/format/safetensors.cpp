#include "flashback/format/safetensors.hpp"

#include "flashback/format/safetensors_writer.hpp"
#include "support/allocations.hpp"
#include "support/errors.hpp"
#include "support/temporary_folder.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <span>
#include <string>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;
using flashback_test::check_error;
using flashback_test::TemporaryFolder;

namespace {

std::string with_length(std::uint64_t length, const std::string& rest) {
    std::string bytes(sizeof length, '\0');
    std::memcpy(bytes.data(), &length, sizeof length);
    return bytes + rest;
}

/// A file of a header and some bytes of data.
std::string file_of(const std::string& header, std::size_t data) {
    std::string bytes = with_length(header.size(), header);
    for (std::size_t i = 0; i < data; ++i) bytes += static_cast<char>(i);
    return bytes;
}

SafetensorsFile view(const std::string& bytes) {
    return SafetensorsFile::view(std::as_bytes(std::span{bytes}), "x.safetensors");
}

void refuses_bytes(const std::string& bytes, std::string_view part, ErrorCode code = ErrorCode::format) {
    CHECK(flashback_test::allocations_of([&] { check_error(code, part, [&] { view(bytes); }); }).bytes < (1u << 20));
}

void refuses(const std::string& header, std::string_view part, std::size_t data = 8, ErrorCode code = ErrorCode::format) {
    CAPTURE(header);
    refuses_bytes(file_of(header, data), part, code);
}

/// A header of one tensor.
std::string tensor(const std::string& fields) { return "{\"t\":{" + fields + "}}"; }

std::string replaced(std::string text, const std::string& from, const std::string& to) {
    const auto at = text.find(from);
    REQUIRE(at != text.npos);
    return text.replace(at, from.size(), to);
}

const std::string good = tensor(R"("dtype":"F32","shape":[2],"data_offsets":[0,8])");

std::uint64_t touch(const SafetensorsFile& file) {
    std::uint64_t sum = file.metadata().size();
    for (const SafeTensor& t : file.tensors()) {
        for (const std::byte b : t.data) sum += std::to_integer<unsigned>(b);
        sum += t.name.size() + t.shape.size();
    }
    return sum;
}

}  // namespace

TEST_CASE("a file gives its tensors in the order of their data, and its texts") {
    const std::string bytes = file_of(
        R"({"__metadata__":{"format":"pt","b":""},"second":{"dtype":"F16","shape":[1,3],"data_offsets":[8,14]},)"
        R"("none":{"data_offsets":[8,8],"shape":[4,0],"dtype":"BF16"},"first":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
        R"("scalar":{"dtype":"BOOL","shape":[],"data_offsets":[14,15]}}  )",
        15);
    const SafetensorsFile file = view(bytes);
    CHECK(file.name() == "x.safetensors");
    CHECK(file.metadata() == std::vector<std::pair<std::string, std::string>>{{"format", "pt"}, {"b", ""}});
    REQUIRE(file.tensors().size() == 4);
    CHECK(file.tensors()[0].name == "first");
    CHECK(file.tensors()[1].name == "none");
    CHECK(file.tensors()[1].data.empty());
    const SafeTensor& second = *file.tensor("second");
    CHECK(second.type == DType::f16);
    CHECK(second.dtype == "F16");
    CHECK(second.shape == std::vector<std::uint64_t>{1, 3});
    CHECK(std::to_integer<int>(second.data[0]) == 8);
    CHECK(second.data.size() == 6);
    CHECK(file.tensor("scalar")->shape.empty());
    CHECK_FALSE(file.tensor("scalar")->type);
    CHECK(file.tensor("third") == nullptr);
    CHECK(view(file_of("{}", 0)).tensors().empty());
}

TEST_CASE("hostile files: the length of the header") {
    refuses_bytes("", "the length of the header at byte 0 needs 8 bytes, but only 0 are left");
    refuses_bytes("1234567", "the length of the header at byte 0 needs 8 bytes, but only 7 are left");
    refuses_bytes(with_length(0, ""), "the header does not begin with {");
    refuses_bytes(with_length(3, "{}"), "the header at byte 8 needs 3 bytes, but only 2 are left");
    refuses_bytes(with_length(100'000'001, "{}"), "the header has 100000001 bytes, expected at most 100000000");
    refuses_bytes(with_length(~std::uint64_t{0}, "{}"), "expected at most 100000000");
}

TEST_CASE("hostile files: a header that is no JSON, or not of this form") {
    refuses(" " + good, "the header does not begin with {");
    refuses("[]", "the header does not begin with {");
    refuses("{", "the header is no JSON at byte 2");
    refuses(good + "x", "the header is no JSON at byte ");
    refuses(good + good, "the header is no JSON at byte ");
    refuses(good + std::string(1, '\0') + "x", "the header has a NUL byte");
    refuses("{\"\xff\":1}", "the header is no JSON at byte 3");
    refuses("{\"t\":" + std::string(1'000'000, '['), "the header has a list for t, expected an object");
    refuses(replaced(good, "[2]", std::string(500'000, '[')),
            "the header has a list for shape in tensor t, expected a list of");
    refuses("{\"t\":" + std::string(500'000, '{'), "the header is no JSON at byte 7");
    refuses(R"({"t":1})", "the header has a number for t, expected an object");
    refuses(R"({"t":null})", "the header has null for t, expected an object");
    refuses(R"({"__metadata__":{"a":1}})", "the header has a number for a in its metadata, expected a text");
    refuses(R"({"__metadata__":{"a":{}}})", "the header has an object for a in its metadata, expected a text");
    refuses(R"({"__metadata__":["a"]})", "the header has a list for __metadata__, expected an object");
    refuses(tensor(R"("dtype":"F32","shape":[2])"), "the header lacks the field data_offsets in tensor t");
    refuses(tensor(R"("shape":[2],"data_offsets":[0,8])"), "the header lacks the field dtype in tensor t");
    refuses(tensor(R"("dtype":"F32","data_offsets":[0,8])"), "the header lacks the field shape in tensor t");
    refuses(replaced(good, "\"shape\"", "\"shapes\""), "the header has the unknown field 'shapes' in tensor t");
    refuses(replaced(good, "\"F32\"", "7"), "the header has a number for dtype in tensor t, expected a text");
    refuses(replaced(good, "\"F32\"", "[]"), "the header has a list for dtype in tensor t, expected a text");
    refuses(replaced(good, "[2]", "2"), "the header has a number for shape in tensor t, expected a list of whole numbers");
    refuses(replaced(good, "[2]", "[\"2\"]"), "the header has a text for shape in tensor t");
}

TEST_CASE("hostile files: names and fields that stand there twice") {
    refuses("{" + good.substr(1, good.size() - 2) + "," + good.substr(1), "the header has t twice");
    refuses(replaced(good, "\"dtype\"", "\"dtype\":\"F16\",\"dtype\""), "the header has dtype twice in tensor t");
    refuses(replaced(good, "\"shape\"", "\"shape\":[2],\"shape\""), "the header has shape twice in tensor t");
    refuses(R"({"__metadata__":{"a":"","a":""}})", "the header has a twice in its metadata");
    refuses(R"({"__metadata__":{},"__metadata__":{}})", "the header has __metadata__ twice");
}

TEST_CASE("hostile files: shapes, types and offsets") {
    const auto offsets = [](const std::string& list) { return replaced(good, "[0,8]", list); };
    refuses(offsets("[0]"), "tensor t has no data_offsets of a begin and an end behind it");
    refuses(offsets("[0,4,8]"), "tensor t has no data_offsets");
    refuses(offsets("[8,0]"), "tensor t has no data_offsets");
    refuses(offsets("[-1,8]"), "a negative number for data_offsets in tensor t, expected a list of whole numbers from 0");
    refuses(offsets("[0,8.0]"), "a fraction for data_offsets in tensor t");
    refuses(offsets("[0,1e30]"), "a fraction for data_offsets in tensor t");
    refuses(offsets("[0,1e400]"), "a number beyond all bounds for data_offsets in tensor t");
    refuses(offsets("[0,18446744073709551616]"), "a fraction for data_offsets in tensor t");
    refuses(offsets("[0,18446744073709551615]"),
            "tensor t ends at byte 18446744073709551615 of the data, but there are only 8");
    refuses(offsets("[1,9]"), "tensor t begins at byte 1 of the data, expected 0");
    refuses(good, "tensor t ends at byte 8 of the data, but there are only 7", 7);
    refuses(good, "1 bytes stand behind the last tensor, expected none", 9);
    refuses("{}", "8 bytes stand behind the last tensor");
    const std::string second = R"(,"u":{"dtype":"F32","shape":[1],"data_offsets":)";
    refuses(good.substr(0, good.size() - 1) + second + "[4,8]}}", "tensor u begins at byte 4 of the data, expected 8");
    refuses(good.substr(0, good.size() - 1) + second + "[9,13]}}", "tensor u begins at byte 9 of the data, expected 8", 13);

    const auto shape = [](const std::string& list) { return replaced(good, "[2]", list); };
    refuses(shape("[3]"), "tensor t has 8 bytes, but its shape and its type F32 say 12");
    refuses(shape("[]"), "tensor t has 8 bytes, but its shape and its type F32 say 4");
    refuses(shape("[2,0]"), "tensor t has 8 bytes, but its shape and its type F32 say 0");
    refuses(shape("[4294967296,4294967296]"), "say more than 2^64");
    refuses(shape("[9223372036854775807,2]"), "say more than 2^64");
    refuses(shape("[-2]"), "a negative number for shape in tensor t");
    refuses(replaced(good, "F32", "Q4_0"), "tensor t has the element type 'Q4_0', expected F32", 8, ErrorCode::unsupported);
    refuses(replaced(good, "F32", "F4"), "tensor t has the element type 'F4'", 8, ErrorCode::unsupported);
}

TEST_CASE("a file that is cut anywhere or has any byte changed is refused or read, and nothing else happens") {
    const std::string bytes = file_of(R"({"__metadata__":{"k":"v"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8);
    for (std::size_t n = 0; n < bytes.size(); ++n) {
        CAPTURE(n);
        CHECK_THROWS_AS(view(bytes.substr(0, n)), Error);
    }
    std::mt19937 random{1};
    std::size_t read = 0;
    for (int i = 0; i < 3000; ++i) {
        std::string changed = bytes;
        changed[random() % changed.size()] = static_cast<char>(random());
        try {
            read += touch(view(changed)) > 0;
        } catch (const Error&) {
        }
    }
    CHECK(read > 0);
}

TEST_CASE("what is written is read, in any pieces") {
    const TemporaryFolder folder;
    const std::string path = (folder.path() / "w.safetensors").string();
    const std::vector<float> numbers{1, -2, 3.5f, 0, 5, 6};
    const std::vector<std::uint16_t> halves{0x3c00, 0xffff};
    {
        SafetensorsWriter writer{path};
        writer.set_metadata("format", "pt")
            .add_tensor("a.weight", {2, 3}, DType::f32)
            .add_tensor("empty", {0}, DType::bf16)
            .add_tensor("b", {2}, DType::f16);
        const auto bytes = std::as_bytes(std::span{numbers});
        writer.write(bytes.first(5));
        writer.write(bytes.subspan(5));
        CHECK_FALSE(std::filesystem::exists(path));
        check_error(ErrorCode::contract, "24 bytes are complete, expected 28", [&] { writer.finish(); });
        writer.write(std::as_bytes(std::span{halves}));
        check_error(ErrorCode::contract, "1 bytes are more than the 0 that are expected",
                    [&] { writer.write(bytes.first(1)); });
        writer.sync();
        CHECK_FALSE(std::filesystem::exists(path));
        writer.finish();
    }
    CHECK(std::distance(std::filesystem::directory_iterator{folder.path()}, {}) == 1);
    const SafetensorsFile file = SafetensorsFile::open(path);
    CHECK(file.name() == path);
    CHECK(file.metadata() == std::vector<std::pair<std::string, std::string>>{{"format", "pt"}});
    CHECK(file.tensor("a.weight")->shape == std::vector<std::uint64_t>{2, 3});
    CHECK(std::memcmp(file.tensor("a.weight")->data.data(), numbers.data(), 24) == 0);
    CHECK(std::memcmp(file.tensor("b")->data.data(), halves.data(), 4) == 0);
    CHECK(file.tensor("empty")->type == DType::bf16);
    // Data begin at a multiple of 8, so that a mapped file can be read in place.
    CHECK(reinterpret_cast<std::uintptr_t>(file.tensor("a.weight")->data.data()) % 8 == 0);
    check_error(ErrorCode::io, "cannot open", [&] { SafetensorsFile::open(folder.path() / "absent"); });
}

TEST_CASE("the writer refuses what would be no file, and what it gave up is gone") {
    const TemporaryFolder folder;
    const auto path = folder.path() / "w";
    {
        SafetensorsWriter writer{path};
        writer.add_tensor("a", {2}, DType::f32);
        check_error(ErrorCode::contract, "tensor a is added twice", [&] { writer.add_tensor("a", {1}, DType::f32); });
        check_error(ErrorCode::contract, "not the name of a tensor",
                    [&] { writer.add_tensor("__metadata__", {1}, DType::f32); });
        check_error(ErrorCode::contract, "tensor b is of type Q8_0, expected F32, F16",
                    [&] { writer.add_tensor("b", {32}, DType::q8_0); });
        check_error(ErrorCode::contract, "expected less than 2^62 bytes", [&] {
            writer.add_tensor("b", {1ull << 40, 1ull << 40}, DType::f32);
        });
        writer.write({});
        check_error(ErrorCode::contract, "a tensor is added after the first bytes",
                    [&] { writer.add_tensor("c", {1}, DType::f32); });
        check_error(ErrorCode::contract, "metadata is changed after the first bytes", [&] { writer.set_metadata("k", "v"); });
    }
    CHECK(std::filesystem::is_empty(folder.path()));
    SafetensorsWriter writer{path};
    writer.add_tensor("\xff", {1}, DType::i8);
    check_error(ErrorCode::contract, "a name or a text is not UTF-8", [&] { writer.write({}); });
}
