#include "flashback/format/mapped_file.hpp"

#include "support/errors.hpp"

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <utility>

#include <doctest/doctest.h>

using namespace flashback;
using flashback_test::check_error;

namespace {

struct TemporaryFile {
    std::filesystem::path path;
    TemporaryFile(const std::string& name, std::string_view text) : path(std::filesystem::temp_directory_path() / name) {
        std::ofstream{path, std::ios::binary} << text;
    }
    TemporaryFile(const TemporaryFile&) = delete;
    TemporaryFile& operator=(const TemporaryFile&) = delete;
    ~TemporaryFile() { std::filesystem::remove(path); }
};

std::string_view text_of(const MappedFile& file) {
    return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

}  // namespace

TEST_CASE("a mapped file has the bytes of the file") {
    const TemporaryFile file{"flashback_test_mapped", std::string_view{"a\0b", 3}};
    CHECK(text_of(MappedFile{file.path}) == std::string_view{"a\0b", 3});
}

TEST_CASE("an empty file maps to no bytes") {
    const TemporaryFile file{"flashback_test_empty", ""};
    CHECK(MappedFile{file.path}.bytes().empty());
}

TEST_CASE("a mapping moves and swaps") {
    const TemporaryFile one{"flashback_test_one", "one"};
    const TemporaryFile two{"flashback_test_two", "two"};
    MappedFile a{one.path};
    MappedFile b{std::move(a)};
    CHECK(text_of(b) == "one");
    MappedFile c{two.path};
    c = std::move(b);
    CHECK(text_of(c) == "one");
}

TEST_CASE("what is no file is refused by name") {
    check_error(ErrorCode::io, "cannot open '/nowhere/at/all'", [] { MappedFile{"/nowhere/at/all"}; });
    check_error(ErrorCode::io, "'/' is a folder, expected a file", [] { MappedFile{"/"}; });
    check_error(ErrorCode::io, "'/dev/null' is no regular file", [] { MappedFile{"/dev/null"}; });
}
