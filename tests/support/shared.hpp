/// \file The folder ../shared: real models and corpora that a machine may lack.
#pragma once

#include <cstdio>
#include <filesystem>
#include <string>

#include <doctest/doctest.h>

namespace flashback_test {

inline bool& skipped_something() {
    static bool skipped = false;
    return skipped;
}

/// The path of a file in ../shared; empty if that folder is absent, and then the test is reported as skipped. Fails the test
/// if the folder is there, but the file is not.
inline std::filesystem::path shared(const std::string& file) {
    const std::filesystem::path folder = FLASHBACK_TEST_SHARED;
    if (!std::filesystem::is_directory(folder)) {
        std::printf("skipped: needs %s, and the folder %s is absent\n", file.c_str(), folder.c_str());
        skipped_something() = true;
        return {};
    }
    const std::filesystem::path path = folder / file;
    REQUIRE_MESSAGE(std::filesystem::exists(path), "the folder " << folder << " is there, but " << file << " is not in it");
    return path;
}

}  // namespace flashback_test
