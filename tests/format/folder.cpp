// Folders that are made.
#include "flashback/format/folder.hpp"

#include "support/errors.hpp"
#include "support/temporary_folder.hpp"

#include <filesystem>
#include <string>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;
using namespace flashback_test;

TEST_CASE("A folder that is made goes again if nothing is written into it, and so do those above it") {
    const TemporaryFolder folder;
    const std::filesystem::path deep = folder.path() / "a" / "b" / "c";
    {
        const MadeFolder made{deep / ""};
        CHECK(std::filesystem::is_directory(deep));
    }
    CHECK(folder_entries(folder.path()).empty());
    {
        const MadeFolder made{deep};
        folder.write("a/b/file", "text");
    }
    CHECK(folder_entries(folder.path() / "a" / "b") == std::vector<std::string>{"file"});
}

TEST_CASE("A folder that was there stays, and where none can be made nothing is left") {
    const TemporaryFolder folder;
    { const MadeFolder made{folder.path()}; }
    CHECK(std::filesystem::is_directory(folder.path()));
    folder.write("file", "text");
    std::filesystem::create_symlink("nowhere", folder.path() / "dangling");
    for (const char* name : {"file", "file/deep", "dangling", "dangling/deep"}) {
        CAPTURE(name);
        check_error(ErrorCode::io, "cannot make the folder", [&] { MadeFolder{folder.path() / name}; });
        CHECK(folder_entries(folder.path()) == std::vector<std::string>{"dangling", "file"});
    }
}
