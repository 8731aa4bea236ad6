#include "fuzz/seeds.hpp"

#include "flashback/dense/vector_store.hpp"
#include "support/vector_file_bytes.hpp"

#include <limits>

using namespace flashback;
using flashback_test::bytes_of;
using flashback_test::GraphBytes;

FLASHBACK_FUZZ_SEEDS(hnsw_graph) {
    static constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
    VectorStore store{2};  // that of the target
    store.add(std::vector<float>{1, 0, 0, 1, -1, -1});
    const std::uint64_t checksum = store.checksum();
    seeds.push_back({"empty", ""});
    const auto add = [&](const char* name, const auto& change) {
        GraphBytes file{.vectors_checksum = checksum};
        change(file);
        seeds.push_back({name, file.bytes()});
    };
    add("whole", [](auto&) {});
    add("other_vectors", [](auto& f) { ++f.vectors_checksum; });
    add("version", [](auto& f) { f.version = 2; });
    add("magic", [](auto& f) { f.magic = "FBHNSWGS"; });
    add("links", [](auto& f) { f.links = most; });
    add("three_links", [](auto& f) { f.links = 3; });
    add("ef", [](auto& f) { f.ef_construction = most; });
    add("upper", [](auto& f) { f.upper = most; });
    add("entry", [](auto& f) { f.entry = 3; });
    add("low_entry", [](auto& f) { f.entry = 1; });
    add("count", [](auto& f) { f.lowest[5] = 5; });
    add("nowhere", [](auto& f) { f.lowest[1] = 3; });
    add("itself", [](auto& f) { f.lowest[11] = 2; });
    add("no_links", [](auto& f) { f.lowest.assign(15, 0); });
    add("twice", [](auto& f) { f.lowest[2] = f.lowest[1]; });
    add("layers", [](auto& f) { f.layers = {2, 0, 0}; });
    add("lower", [](auto& f) { f.above = {1, 1, 0}; });
    seeds.push_back({"short", "FBHNSWGR" + bytes_of<std::uint64_t>(1)});
}
