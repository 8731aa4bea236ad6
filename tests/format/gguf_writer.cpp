#include "flashback/format/gguf_writer.hpp"

#include "support/errors.hpp"
#include "support/gguf_bytes.hpp"
#include "support/temporary_folder.hpp"

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <set>
#include <span>
#include <string>
#include <vector>

#include <sys/resource.h>

#include <doctest/doctest.h>

using namespace flashback;
using flashback_test::check_error;
using flashback_test::TemporaryFolder;
using flashback_test::view;
using Source = flashback_test::GgufBytes;  // writes in memory

namespace {

std::string bytes_in(const std::filesystem::path& path) {
    std::ifstream file{path, std::ios::binary};
    return {std::istreambuf_iterator<char>{file}, {}};
}

std::set<std::string> names_in(const std::filesystem::path& folder) {
    std::set<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator{folder}) names.insert(entry.path().filename().string());
    return names;
}

Source source() {
    Source s;
    s.set<std::uint8_t>("u8", 255)
        .set<std::int8_t>("i8", -128)
        .set<std::uint16_t>("u16", 65535)
        .set("f32", 0.5f)
        .set("f64", -0.25);
    s.set("u64", std::numeric_limits<std::uint64_t>::max())
        .set<std::int32_t>("i32", -7)
        .set("yes", true)
        .set("text", "t\xc3\xa4xt");
    s.set_array<std::string>("texts", {"a", "", "ccc"}).set_array<float>("floats", {1.5f, -2.0f}).set_array<float>("none", {});
    s.set<std::uint32_t>("general.file_type", 1).set<std::int16_t>("last", 12);
    s.add_tensor<float>("one", {3}, DType::f32, {1, 2, 3});
    s.add_tensor<float>("two", {2, 2, 3}, DType::f32, std::vector<float>(12, 5.0f));
    s.add_tensor<std::uint16_t>("three", {1, 1, 1, 1}, DType::f16, {0x3c00});
    return s;
}

void add_tensors(GgufWriter& writer, const GgufFile& file) {
    for (const GgufTensor& t : file.tensors()) writer.add_tensor(t.name, std::span{t.dims}.first(t.rank), t.type);
}

/// Writes a whole file as it is, but for what `change` sets.
template <class Change>
void copy(const std::filesystem::path& target, const GgufFile& file, std::size_t piece, Change change) {
    GgufWriter writer{target};
    writer.copy_metadata(file);
    change(writer);
    add_tensors(writer, file);
    for (const GgufTensor& t : file.tensors()) {
        for (std::size_t at = 0; at < t.data.size(); at += piece)
            writer.write(t.data.subspan(at, std::min(piece, t.data.size() - at)));
    }
    writer.finish();
}

}  // namespace

TEST_CASE("a copy has the bytes of the file, whatever the pieces and the alignment") {
    const TemporaryFolder folder;
    const auto target = folder.path() / "out.gguf";
    for (const std::uint32_t alignment : {32u, 1u, 64u, 4096u}) {
        for (const std::size_t piece : {1000u, 7u, 1u}) {
            CAPTURE(alignment);
            CAPTURE(piece);
            Source s = source();
            s.alignment = alignment;
            if (alignment != 32) s.set("general.alignment", alignment);
            std::string expected = s.bytes();
            expected.resize((expected.size() + alignment - 1) / alignment * alignment);  // the last tensor is padded too
            copy(target, view(expected), piece, [](GgufWriter&) {});
            CHECK(bytes_in(target) == expected);
        }
    }
    copy(target, GgufFile::open(FLASHBACK_TEST_MODEL), 1 << 20, [](GgufWriter&) {});
    CHECK((bytes_in(target) == bytes_in(FLASHBACK_TEST_MODEL)));
    CHECK(names_in(folder.path()) == std::set<std::string>{"out.gguf"});
}

TEST_CASE("keys are replaced where they stand, new ones come last, and all others keep their bytes") {
    const TemporaryFolder folder;
    const auto target = folder.path() / "out.gguf";
    const std::string bytes = source().bytes();
    const GgufFile file = view(bytes);
    copy(target, file, 100, [](GgufWriter& w) { w.set("general.file_type", 7).set("general.name", "a name").set("text", 3); });
    const GgufFile copied = GgufFile::open(target);
    CHECK(copied.version() == 3);
    REQUIRE(copied.metadata().size() == file.metadata().size() + 1);
    for (std::size_t i = 0; i < file.metadata().size(); ++i) {
        const std::string key{file.metadata()[i].first};
        CAPTURE(key);
        CHECK(copied.metadata()[i].first == key);
        const bool same = std::ranges::equal(copied.raw_metadata()[i], file.raw_metadata()[i]);
        CHECK(same == (key != "general.file_type" && key != "text"));
    }
    CHECK(copied.integer("general.file_type") == 7);
    CHECK(copied.integer("text") == 3);
    CHECK(copied.metadata().back().first == "general.name");
    CHECK(copied.text("general.name") == "a name");
    REQUIRE(copied.tensors().size() == 3);
    CHECK(copied.tensors()[1].name == "two");
    CHECK(copied.tensors()[1].rank == 3);
    CHECK(std::ranges::equal(copied.tensors()[1].data, file.tensors()[1].data));

    copy(target, file, 100, [](GgufWriter& w) { w.set("general.alignment", 128); });
    CHECK(std::ranges::equal(GgufFile::open(target).tensors()[2].data, file.tensors()[2].data));
}

TEST_CASE("a file of metadata alone, and one of nothing at all") {
    const TemporaryFolder folder;
    {
        GgufWriter writer{folder.path() / "nothing.gguf"};
        writer.finish();
    }
    CHECK(GgufFile::open(folder.path() / "nothing.gguf").tensors().empty());
    {
        GgufWriter writer{folder.path() / "metadata.gguf"};
        writer.set("key", "value").finish();
    }
    CHECK(GgufFile::open(folder.path() / "metadata.gguf").text("key") == "value");
}

TEST_CASE("until it is finished nothing has changed, and nothing is left of what was given up") {
    const TemporaryFolder folder;
    const std::string target = folder.write("out.gguf", "as before");
    const std::string other = folder.write("out.gguf.part0", "of another run");
    const std::string bytes = source().bytes();
    const GgufFile file = view(bytes);
    {
        GgufWriter writer{target};
        writer.copy_metadata(file);
        add_tensors(writer, file);
        writer.write(file.tensors()[0].data);
        CHECK(bytes_in(target) == "as before");
        CHECK(names_in(folder.path()) == std::set<std::string>{"out.gguf", "out.gguf.part0", "out.gguf.part1"});
    }
    CHECK(bytes_in(target) == "as before");
    CHECK(names_in(folder.path()) == std::set<std::string>{"out.gguf", "out.gguf.part0"});
    CHECK(bytes_in(other) == "of another run");

    std::filesystem::create_symlink("out.gguf", folder.path() / "link.gguf");
    copy(folder.path() / "link.gguf", file, 100, [](GgufWriter&) {});
    CHECK(std::filesystem::is_symlink(folder.path() / "link.gguf"));
    CHECK(GgufFile::open(target).tensors().size() == 3);
}

TEST_CASE("what cannot be written is an error that names the file, and leaves nothing") {
    const TemporaryFolder folder;
    check_error(ErrorCode::io, "nowhere/out.gguf': No such file", [&] { GgufWriter{folder.path() / "nowhere/out.gguf"}; });
    check_error(ErrorCode::io, "it exists and is a folder, expected a file", [&] { GgufWriter{folder.path()}; });
    check_error(ErrorCode::io, "'/dev/null': it exists and is no regular file", [] { GgufWriter{"/dev/null"}; });

    const std::string before = folder.write("out.gguf", "as before");
    // A file system that is full, as far as a process can have that for itself: files may grow to 4096 bytes only.
    const auto handler = std::signal(SIGXFSZ, SIG_IGN);
    rlimit old{};
    REQUIRE(::getrlimit(RLIMIT_FSIZE, &old) == 0);
    const rlimit small{4096, old.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
    check_error(ErrorCode::io, "out.gguf': File too large", [&] {
        GgufWriter writer{before};
        writer.add_tensor("t", std::array<std::uint64_t, 1>{10000}, DType::f32);
        const std::vector<std::byte> bytes(40000);
        writer.write(bytes);
        writer.finish();
    });
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &old) == 0);
    REQUIRE((std::signal(SIGXFSZ, handler) != SIG_ERR));
    CHECK(bytes_in(before) == "as before");
    CHECK(names_in(folder.path()) == std::set<std::string>{"out.gguf"});
}

TEST_CASE("broken promises are refused") {
    const TemporaryFolder folder;
    const auto refused = [&](const char* words, auto&& work) {
        check_error(ErrorCode::contract, words, [&] {
            GgufWriter writer{folder.path() / "out.gguf"};
            work(writer);
        });
    };
    const auto dims = [](std::initializer_list<std::uint64_t> list) { return std::vector<std::uint64_t>{list}; };
    const std::vector<std::byte> bytes(100);
    refused("has 0 characters", [&](auto& w) { w.add_tensor("", dims({1}), DType::f32); });
    refused("has 64 characters, expected 1 to 63", [&](auto& w) { w.add_tensor(std::string(64, 'x'), dims({1}), DType::f32); });
    refused("tensor t is added twice",
            [&](auto& w) { w.add_tensor("t", dims({1}), DType::f32).add_tensor("t", dims({1}), DType::f32); });
    refused("has 0 dimensions", [&](auto& w) { w.add_tensor("t", {}, DType::f32); });
    refused("has 5 dimensions", [&](auto& w) { w.add_tensor("t", dims({1, 1, 1, 1, 1}), DType::f32); });
    refused("dimension 1 of tensor t is 0", [&](auto& w) { w.add_tensor("t", dims({1, 0}), DType::f32); });
    refused("less than 2^62 bytes", [&](auto& w) { w.add_tensor("t", dims({1ull << 40, 1ull << 40}), DType::f32); });
    refused("rows of 33 elements, expected whole blocks of Q8_0", [&](auto& w) { w.add_tensor("t", dims({33}), DType::q8_0); });
    refused("whole blocks of unknown", [&](auto& w) { w.add_tensor("t", dims({32}), static_cast<DType>(99)); });
    refused("a key has 0 characters", [&](auto& w) { w.set("", 1); });
    refused("general.alignment is 48", [&](auto& w) { w.set("general.alignment", 48); });
    refused("general.alignment is a text", [&](auto& w) { w.set("general.alignment", "32"); });
    refused("5 bytes are more than the 4 that are expected",
            [&](auto& w) { w.add_tensor("t", dims({1}), DType::f32).write(std::span{bytes}.first(5)); });
    refused("1 bytes are more than the 0 that are expected", [&](auto& w) { w.write(std::span{bytes}.first(1)); });
    refused("metadata is changed after the first bytes", [&](auto& w) {
        w.write({});
        w.set("key", 1);
    });
    refused("a tensor is added after the first bytes", [&](auto& w) {
        w.write({});
        w.add_tensor("t", dims({1}), DType::f32);
    });
    refused("0 tensors are complete, expected 1", [&](auto& w) { w.add_tensor("t", dims({1}), DType::f32).finish(); });
    CHECK(names_in(folder.path()).empty());
    refused("it is finished already", [&](auto& w) {
        w.finish();
        w.finish();
    });
}
