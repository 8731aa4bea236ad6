/// \file Exact search: every vector is looked at.
#pragma once

#include "flashback/core/config.hpp"
#include "flashback/core/executor.hpp"
#include "flashback/dense/vector_index.hpp"
#include "flashback/dense/vector_store.hpp"
#include "flashback/fwd.hpp"
#include "flashback/simd/dot_rows.hpp"

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// Finds the vectors with the greatest dot products by looking at all of them. If they are normalised, queries are too, and
/// scores are cosines. Equal scores come in the order of the vectors. An answer depends on its query and the vectors alone, to
/// the bit: not on the other queries of a batch, nor on the threads. It satisfies VectorIndex.
///
/// It runs its searches on the executor. With the serial one, which is the default, several threads may search at once.
class ExactIndex {
public:
    /// Requires  nothing is added to the vectors any more, and the executor lives as long as this index
    /// Throws    Error{contract} if there is no store
    explicit ExactIndex(std::shared_ptr<const VectorStore> vectors, ExecutorRef executor = {});

    /// The same with vectors of its own.
    explicit ExactIndex(VectorStore vectors, ExecutorRef executor = {});

    /// How many vectors it searches.
    std::size_t size() const noexcept { return vectors_->size(); }
    /// How many numbers a vector has.
    std::size_t dimension() const noexcept { return vectors_->dimension(); }
    /// What it searches.
    const VectorStore& vectors() const noexcept { return *vectors_; }

    /// The best k vectors; all of them if there are fewer. A product that overflows is infinite, and one that is NaN by that
    /// (or because the file of the vectors was damaged) counts as -infinity.
    /// Shape     query (dimension())
    /// Throws    Error{contract} for another length, or an element that is not finite; std::bad_alloc
    /// Cost      size() · dimension() multiply-adds; reads all vectors once
    std::vector<DenseHit> search(std::span<const float> query, std::size_t k) const;

    /// The answers to several queries. The vectors are read once for all of them.
    /// Shape     queries (any number, dimension())
    /// Throws    as `search`
    /// Cost      queries · size() · dimension() multiply-adds
    std::vector<std::vector<DenseHit>> search_batch(std::span<const float> queries, std::size_t k) const;

private:
    struct Best;

    void search_rows(const simd::DotRows<float>& queries, std::size_t first, std::size_t last, std::span<Best> best) const;

    std::shared_ptr<const VectorStore> vectors_;
    ExecutorRef executor_;
};

static_assert(VectorIndex<ExactIndex>);

}  // namespace flashback::inline FLASHBACK_ISA

#if !defined(FLASHBACK_COMPILED_ONCE)
#include "flashback/dense/detail/exact_index.hpp"
#endif
