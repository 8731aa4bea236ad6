/// \file Inputs to begin with: valid files, mostly from the library's own writers, and hostile ones that people thought of.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace flashback_test {

struct FuzzSeed {
    std::string name;
    std::string bytes;
};

struct FuzzSeeds {
    std::string_view target;
    void (*make)(std::vector<FuzzSeed>& seeds) = nullptr;
};

/// The makers of seeds of this program.
std::vector<FuzzSeeds>& fuzz_seeds();

struct RegisterFuzzSeeds {
    explicit RegisterFuzzSeeds(const FuzzSeeds& seeds) { fuzz_seeds().push_back(seeds); }
};

/// The bytes of a file.
std::string bytes_of_file(const std::filesystem::path& path);

}  // namespace flashback_test

/// Defines how the seeds of a target are made: FLASHBACK_FUZZ_SEEDS(gguf) { seeds.push_back({"small", ...}); }
#define FLASHBACK_FUZZ_SEEDS(target)                                          \
    static void seeds_##target(std::vector<flashback_test::FuzzSeed>& seeds); \
    static const flashback_test::RegisterFuzzSeeds register_seeds_##target{   \
        flashback_test::FuzzSeeds{#target, seeds_##target}};                  \
    static void seeds_##target(std::vector<flashback_test::FuzzSeed>& seeds)
