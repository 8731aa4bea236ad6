#include "fuzz/target.hpp"

#include "flashback/dense/hnsw.hpp"

#include <memory>
#include <utility>
#include <vector>

using namespace flashback;
using flashback_test::fuzz_check;

// hnswlib holds 65536 locks of 40 bytes until a graph is whole, whatever its size.
FLASHBACK_FUZZ_TARGET(hnsw_graph, .per_byte = 64, .constant = std::size_t{3} << 20) {
    static const auto vectors = [] {
        VectorStore store{2};
        store.add(std::vector<float>{1, 0, 0, 1, -1, -1});
        return std::make_shared<const VectorStore>(std::move(store));
    }();
    flashback_test::of_anything([&] {
        const auto index = HnswIndex::parse(bytes, "fuzz.graph", vectors);
        for (const float x : {1.0f, -1.0f}) {
            const auto hits = index.search(std::vector<float>{x, 0.5f}, 3);
            fuzz_check(!hits.empty() && hits.size() <= 3, "a search finds something");
            for (std::size_t i = 1; i < hits.size(); ++i)
                fuzz_check(better(hits[i - 1], hits[i]), "the best come first, none twice");
        }
    });
}
