#include "fuzz/target.hpp"

#include "flashback/dense/exact_index.hpp"
#include "flashback/dense/vector_store.hpp"
#include "flashback/tensor/aligned_buffer.hpp"

#include <cstring>
#include <memory>
#include <utility>
#include <vector>

using namespace flashback;
using flashback_test::fuzz_check;

// The bytes are copied to a border of 4. Whatever the vectors are, they are searched; a query is as long as a row.
FLASHBACK_FUZZ_TARGET(vector_store, .per_byte = 16, .constant = 32768) {
    AlignedBuffer<std::byte> copy{bytes.size()};
    if (!bytes.empty()) std::memcpy(copy.data(), bytes.data(), bytes.size());
    auto store = std::make_shared<const VectorStore>(VectorStore::view(copy, "fuzz.vec"));
    if (store->size() == 0) return;
    const ExactIndex index{store};
    const auto hits = index.search(std::vector<float>(store->dimension(), 0.5f), 3);
    fuzz_check(hits.size() == (store->size() < 3 ? store->size() : 3), "a search finds as many as there are");
    for (std::size_t i = 1; i < hits.size(); ++i) fuzz_check(better(hits[i - 1], hits[i]), "the best come first");
    store->verify();
}
