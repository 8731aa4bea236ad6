/// \file What a search among vectors gives, and the concept VectorIndex.
#pragma once

#include "flashback/core/config.hpp"

#include <concepts>
#include <cstddef>
#include <span>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// A vector by its number, and its dot product with the query.
struct DenseHit {
    std::size_t row;  ///< number of the vector in its index
    float score;      ///< its inner product with the query
    bool operator==(const DenseHit&) const = default;
};

/// Something that finds the vectors that have the greatest dot products with a query.
///
/// | expression                   | result                               | meaning                                          |
/// |------------------------------|--------------------------------------|--------------------------------------------------|
/// | `i.size()`                   | `std::size_t`                        | number of vectors                                 |
/// | `i.dimension()`              | `std::size_t`                        | of each vector                                    |
/// | `i.search(query, k)`         | `std::vector<DenseHit>`              | at most k vectors, the best first                 |
/// | `i.search_batch(queries, k)` | `std::vector<std::vector<DenseHit>>` | the answers to queries that lie one after another |
template <class I>
concept VectorIndex = requires(const I& index, std::span<const float> queries, std::size_t k) {
    { index.size() } -> std::same_as<std::size_t>;
    { index.dimension() } -> std::same_as<std::size_t>;
    { index.search(queries, k) } -> std::same_as<std::vector<DenseHit>>;
    { index.search_batch(queries, k) } -> std::same_as<std::vector<std::vector<DenseHit>>>;
};

/// The order of answers: the greater score first, and of equal ones the smaller number.
constexpr bool better(const DenseHit& a, const DenseHit& b) noexcept {
    return a.score != b.score ? a.score > b.score : a.row < b.row;
}

}  // namespace flashback::inline FLASHBACK_ISA
