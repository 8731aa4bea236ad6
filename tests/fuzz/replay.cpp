// Replays inputs under any compiler, without libFuzzer.
//
//     fuzz_replay                       all seeds and all findings of all targets
//     fuzz_replay TARGET PATH...        files, and folders of files
//     fuzz_replay --write-seeds FOLDER  the seeds as files, FOLDER/TARGET/NAME, for libFuzzer to begin with
#include "fuzz/seeds.hpp"
#include "fuzz/target.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <iterator>
#include <memory>

namespace flashback_test {

std::vector<FuzzSeeds>& fuzz_seeds() {
    static std::vector<FuzzSeeds> makers;
    return makers;
}

std::string bytes_of_file(const std::filesystem::path& path) {
    std::ifstream file{path, std::ios::binary};
    if (!file) throw std::runtime_error{"cannot read " + path.string()};
    return {std::istreambuf_iterator<char>{file}, {}};
}

}  // namespace flashback_test

namespace {

using namespace flashback_test;
namespace fs = std::filesystem;

std::vector<FuzzSeed> seeds_of(std::string_view target) {
    std::vector<FuzzSeed> seeds;
    for (const FuzzSeeds& maker : fuzz_seeds()) {
        if (maker.target == target) maker.make(seeds);
    }
    return seeds;
}

void replay(const FuzzTarget& target, const std::string& name, const std::string& bytes) {
    std::printf("%s: %s\n", std::string{target.name}.c_str(), name.c_str());
    std::fflush(stdout);  // the last line is the guilty one
    // Memory of exactly this size, so that a sanitizer sees the byte behind it; on the border that memory from new has.
    const auto exact = std::make_unique<std::byte[]>(bytes.size());
    std::ranges::copy(std::as_bytes(std::span{bytes}), exact.get());
    run_target(target, {exact.get(), bytes.size()});
}

std::size_t replay_path(const FuzzTarget& target, const fs::path& path) {
    std::vector<fs::path> files;
    if (fs::is_directory(path)) {
        for (const auto& entry : fs::directory_iterator{path}) files.push_back(entry.path());
    } else {
        files.push_back(path);
    }
    std::ranges::sort(files);
    for (const fs::path& file : files) replay(target, file.string(), bytes_of_file(file));
    return files.size();
}

void replay_all() {
    std::size_t count = 0;
    for (const FuzzTarget& target : fuzz_targets()) {
        const std::vector<FuzzSeed> seeds = seeds_of(target.name);
        fuzz_check(!seeds.empty(), "every target has seeds");
        for (const FuzzSeed& seed : seeds) replay(target, seed.name, seed.bytes);
        const fs::path findings = fs::path{FLASHBACK_TEST_FINDINGS} / target.name;
        count += seeds.size() + (fs::exists(findings) ? replay_path(target, findings) : 0);
    }
    for (const auto& folder : fs::directory_iterator{FLASHBACK_TEST_FINDINGS}) {
        if (!folder.is_directory()) continue;
        const bool known =
            std::ranges::any_of(fuzz_targets(), [&](const auto& t) { return folder.path().filename() == t.name; });
        fuzz_check(known, "every folder of findings belongs to a target");
    }
    std::printf("%zu inputs of %zu targets\n", count, fuzz_targets().size());
}

int run(const std::vector<std::string>& arguments) {
    if (arguments.empty()) {
        replay_all();
        return 0;
    }
    if (arguments.size() == 2 && arguments[0] == "--write-seeds") {
        for (const FuzzTarget& target : fuzz_targets()) {
            const fs::path folder = fs::path{arguments[1]} / target.name;
            fs::create_directories(folder);
            for (const FuzzSeed& seed : seeds_of(target.name))
                std::ofstream{folder / seed.name, std::ios::binary} << seed.bytes;
        }
        return 0;
    }
    const auto target = std::ranges::find(fuzz_targets(), std::string_view{arguments[0]}, &FuzzTarget::name);
    if (target == fuzz_targets().end() || arguments.size() < 2) {
        std::fprintf(stderr, "usage: fuzz_replay | fuzz_replay TARGET PATH... | fuzz_replay --write-seeds FOLDER\n");
        return 2;
    }
    for (std::size_t i = 1; i < arguments.size(); ++i) replay_path(*target, arguments[i]);
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    try {
        return run({argv + 1, argv + argc});
    } catch (const std::exception& error) {
        std::fprintf(stderr, "finding: what was thrown is no flashback::Error: %s\n", error.what());
        return 1;
    }
}
