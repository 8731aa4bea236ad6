/// \file Attention of query heads that share keys and values, over key tiles of 64 positions (rule R7).
#pragma once

#include "flashback/simd/detail/attention_tile.hpp"
#include "flashback/tensor/kv_tile.hpp"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <span>

namespace flashback::inline FLASHBACK_ISA::simd {

/// One query head at one position.
struct AttentionQuery {
    const float* q;        ///< (d), scaled by 1/sqrt(d) already
    float* out;            ///< (d)
    std::size_t position;  ///< it attends to this position and to all before
};

/// How many queries go over the tiles together: keys and values are read once for all of them.
inline constexpr std::size_t attention_queries = 16;

/// Each query attends to all positions up to its own: out = softmax(q Kᵀ) V. The bits are those of testing::plain::attend for
/// each query alone. A score that is NaN or +infinity makes every element of its out NaN. Later positions are not used in any
/// way.
/// Shape     q, out of each query (d)   `tile(t)` gives the keys and values of the positions [64 t, 64 t + 64), each an Element
/// Requires  at most attention_queries of them, positions ascending
/// Cost      2 · (position + 1) · d multiply-adds for each query
/// Source    Vaswani et al. 2017, Attention is all you need, equation 1; Milakov and Gimelshein 2018, Online normalizer
///           calculation for softmax, algorithm 3
template <class Element, class Tiles>
inline void attend(std::span<const AttentionQuery> queries, const Tiles& tile, std::size_t d) noexcept {
    detail::QueryState states[attention_queries];
    const std::size_t count = queries.size();
    if (count == 0) return;
    for (std::size_t a = 0; a < count; ++a) {
        states[a] = {queries[a].q, queries[a].out, queries[a].position, -std::numeric_limits<float>::infinity(), 0};
        std::fill_n(queries[a].out, d, 0.0f);
    }
    std::size_t first = 0;
    for (std::size_t start = 0; start <= queries.back().position; start += tile_positions) {
        while (queries[first].position < start) ++first;  // these have seen all that they may see
        const KVTile keys_and_values = tile(start / tile_positions);
        detail::QueryState* query = states + first;
        detail::QueryState* const end = states + count;
        for (; end - query >= std::ptrdiff_t{detail::tile_queries}; query += detail::tile_queries)
            detail::attend_tile<detail::tile_queries, Element>(query, keys_and_values, d, start);
        for (; query != end; ++query) detail::attend_tile<1, Element>(query, keys_and_values, d, start);
    }
    for (std::size_t a = 0; a < count; ++a) {
        const Lanes total = Lanes::all(states[a].total);
        for (std::size_t i = 0; i < d; i += panel_outputs)
            (Lanes::load_first(states[a].out + i, d - i) / total).store_first(states[a].out + i, d - i);
    }
}

}  // namespace flashback::inline FLASHBACK_ISA::simd
