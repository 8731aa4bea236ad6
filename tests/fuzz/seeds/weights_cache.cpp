#include "fuzz/seeds.hpp"

#include "flashback/files/weights_cache.hpp"
#include "support/temporary_folder.hpp"
#include "support/weights_cache_bytes.hpp"

#include <array>
#include <limits>

using namespace flashback;
using flashback_test::WeightsCacheBytes;

namespace {

std::string written_weights() {
    const flashback_test::TemporaryFolder folder;
    const std::filesystem::path path = folder.path() / "written.weights";
    const auto value = [](std::size_t o, std::size_t i) { return static_cast<float>(o) - static_cast<float>(i); };
    const auto a = simd::PackedMatrix::of(DType::q4_0, 3, 32, value);
    const auto b = simd::PackedMatrix::of(DType::bf16, 17, 3, value);
    const std::array<const simd::PackedMatrix*, 2> matrices{&a, &b};
    WeightsCache::write(path, {{100, 7}, 8}, 77, matrices);
    return flashback_test::bytes_of_file(path);
}

}  // namespace

FLASHBACK_FUZZ_SEEDS(weights_cache) {
    static constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
    seeds.push_back({"empty", ""});
    seeds.push_back({"written", written_weights()});
    seeds.push_back({"no_matrix", WeightsCacheBytes{}.bytes()});
    seeds.push_back({"short", "FBWEIGHT" + flashback_test::bytes_of<std::uint64_t>(1)});
    const auto add = [&](const char* name, const auto& change) {
        WeightsCacheBytes w;
        w.add(DType::f32, 3, 2, std::string(128, '\1'));
        w.add(DType::f16, 17, 4, std::string(256, '\2'));
        change(w);
        seeds.push_back({name, w.bytes()});
    };
    add("two", [](auto&) {});
    add("magic", [](auto& w) { w.magic = "FBWEIGHS"; });
    add("version", [](auto& w) { w.version = 2; });
    add("packing", [](auto& w) { w.packing = 999; });
    add("directory", [](auto& w) { w.directory_bytes = most; });
    add("part_of_an_entry", [](auto& w) { w.behind_entries = "x"; });
    add("type", [](auto& w) { w.entries[0].type = 3; });
    add("no_outputs", [](auto& w) { w.entries[0].outputs = 0; });
    add("wide", [](auto& w) { w.entries[0].inputs = w.entries[0].outputs = std::uint64_t{1} << 26; });
    add("half_a_block", [](auto& w) { w.entries[0].type = 8; });
    add("place", [](auto& w) { w.entries[1].place = most - 63; });
    add("between", [](auto& w) { w.entries[1].place += 1; });
    add("damaged", [](auto& w) { ++w.matrices[60]; });
}
