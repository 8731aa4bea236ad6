#include "flashback/format/mapped_file.hpp"

#include "support/errors.hpp"

#include <csignal>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <utility>

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

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

TEST_CASE("hostile 31: a pipe is refused at once, though nobody writes to it") {
    const std::filesystem::path pipe = std::filesystem::temp_directory_path() / "flashback_test_pipe";
    std::filesystem::remove(pipe);
    REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
    const ::pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        ::alarm(10);  // ends one that waits
        int refused = 0;
        for (const FileAccess access : {FileAccess::map, FileAccess::copy}) {
            try {
                MappedFile{pipe, access};
            } catch (const Error& error) {
                refused += std::string_view{error.what()}.ends_with("pipe' is no regular file, expected a file") ? 1 : 0;
            }
        }
        ::_exit(refused);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 2);
    std::filesystem::remove(pipe);
}

TEST_CASE("hostile 31: a copy of a file stays what it was, whatever happens to the file") {
    const std::string before(100'000, 'b');
    const TemporaryFile file{"flashback_test_copied", before};
    MappedFile copied{file.path, FileAccess::copy};
    copied.release(copied.bytes());
    std::filesystem::resize_file(file.path, 10);
    CHECK(text_of(copied) == before);
    std::ofstream{file.path, std::ios::binary} << "other";
    CHECK(text_of(copied) == before);
    std::filesystem::remove(file.path);
    MappedFile moved{std::move(copied)};
    CHECK(text_of(moved) == before);
    CHECK(copied.bytes().empty());  // NOLINT(bugprone-use-after-move): what is left is looked at

    const TemporaryFile other{"flashback_test_mapped", "mapped"};
    MappedFile mapped{other.path};
    mapped = std::move(moved);
    CHECK(text_of(mapped) == before);
    CHECK(text_of(moved) == "mapped");  // NOLINT(bugprone-use-after-move)
}

TEST_CASE("hostile 31: a mapped file that shrinks ends the program where it is touched, as documented") {
    const TemporaryFile file{"flashback_test_shrinks", std::string(100'000, 'b')};
    for (const FileAccess access : {FileAccess::map, FileAccess::copy}) {
        std::filesystem::resize_file(file.path, 100'000);
        const ::pid_t child = ::fork();
        REQUIRE(child >= 0);
        if (child == 0) {
            std::signal(SIGBUS, SIG_DFL);  // a sanitizer has its own
            const MappedFile read{file.path, access};
            std::filesystem::resize_file(file.path, 10);
            ::_exit(static_cast<volatile const std::byte&>(read.bytes().back()) == std::byte{'b'} ||
                            read.bytes().back() == std::byte{0}
                        ? 0
                        : 1);
        }
        int status = 0;
        REQUIRE(::waitpid(child, &status, 0) == child);
        if (access == FileAccess::map) {
            CHECK(WIFSIGNALED(status));
            CHECK(WTERMSIG(status) == SIGBUS);
        } else {
            CHECK(WIFEXITED(status));
            CHECK(WEXITSTATUS(status) == 0);
        }
    }
}
