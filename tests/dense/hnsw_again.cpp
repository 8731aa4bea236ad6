// Several sources of a program may include hnswlib through our header.
#include "flashback/dense/hnsw.hpp"

#include <cstddef>
#include <vector>

namespace test_dense_hnsw {

std::size_t found_elsewhere(const flashback::HnswIndex& index, const std::vector<float>& query) {
    return index.search(query, 1).at(0).row;
}

}  // namespace test_dense_hnsw

#if defined(__SANITIZE_THREAD__)
// While one thread builds a graph, hnswlib locks its vectors in any order, which would matter only if two did.
extern "C" const char* __tsan_default_options();
extern "C" const char* __tsan_default_options() { return "detect_deadlocks=0"; }
#endif
