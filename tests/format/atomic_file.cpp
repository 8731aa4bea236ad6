// A file appears whole or not at all.
#include "flashback/format/atomic_file.hpp"

#include "support/errors.hpp"
#include "support/temporary_folder.hpp"

#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;
using namespace flashback_test;

namespace {

std::string bytes_of(const std::filesystem::path& path) {
    std::ifstream file{path, std::ios::binary};
    return {std::istreambuf_iterator<char>{file}, {}};
}

std::ptrdiff_t files_in(const TemporaryFolder& folder) {
    return std::distance(std::filesystem::directory_iterator{folder.path()}, {});
}

void write(AtomicFile& file, std::string_view text) { file.write(std::as_bytes(std::span{text})); }

}  // namespace

TEST_CASE("Until it is finished the target is what it was; and nothing is left of a file that never is") {
    const TemporaryFolder folder;
    const std::filesystem::path target = folder.write("target", "old");
    {
        AtomicFile file{target};
        write(file, "half of the n");
        CHECK(bytes_of(target) == "old");
        CHECK(files_in(folder) == 2);
    }
    CHECK(bytes_of(target) == "old");
    CHECK(files_in(folder) == 1);
    AtomicFile file{target};
    write(file, "half of the n");
    write(file, "ew");
    file.finish();
    CHECK(bytes_of(target) == "half of the new");
    CHECK(files_in(folder) == 1);
    check_error(ErrorCode::contract, "is written to after its end", [&] { write(file, "more"); });
    check_error(ErrorCode::contract, "it is finished already", [&] { file.finish(); });
}

TEST_CASE("Two writers of a file do not disturb each other: the last one to finish stays") {
    const TemporaryFolder folder;
    AtomicFile a{folder.path() / "target"};
    AtomicFile b{folder.path() / "target"};
    write(a, "a");
    write(b, "b");
    b.finish();
    a.finish();
    CHECK(bytes_of(folder.path() / "target") == "a");
    CHECK(files_in(folder) == 1);
}

TEST_CASE("A symbolic link stays one, and what cannot be written is refused before anything is") {
    const TemporaryFolder folder;
    const std::filesystem::path target = folder.write("target", "old");
    std::filesystem::create_symlink(target, folder.path() / "link");
    AtomicFile file{folder.path() / "link"};
    write(file, "new");
    file.finish();
    CHECK(std::filesystem::is_symlink(folder.path() / "link"));
    CHECK(bytes_of(target) == "new");
    check_error(ErrorCode::io, "it exists and is a folder", [&] { AtomicFile{folder.path()}; });
    std::filesystem::create_symlink("nowhere", folder.path() / "dangling");
    check_error(ErrorCode::io, "it is a symbolic link to 'nowhere', which is not there",
                [&] { AtomicFile{folder.path() / "dangling"}; });
    CHECK(std::filesystem::is_symlink(folder.path() / "dangling"));
    check_error(ErrorCode::io, "No such file or directory", [&] { AtomicFile{folder.path() / "no" / "where"}; });
}

TEST_CASE("The temporary files of a target are those with its name and a number, and no others") {
    const TemporaryFolder folder;
    const std::filesystem::path target = folder.path() / "target";
    for (const char* name :
         {"target.part1", "target.part10", "target.part", "target.part1x", "target.parts", "other.part0", "part0"})
        folder.write(name, "");
    AtomicFile file{target};
    CHECK(temporary_files_of(target) ==
          std::vector{folder.path() / "target.part0", folder.path() / "target.part1", folder.path() / "target.part10"});
    file.finish();
    CHECK(temporary_files_of(target).size() == 2);
    check_error(ErrorCode::io, "cannot read the folder", [&] { temporary_files_of(folder.path() / "no" / "where"); });
}
