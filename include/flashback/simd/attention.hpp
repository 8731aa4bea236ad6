/// \file Attention of query heads that share keys and values, over key tiles of 64 positions (rule R7).
#pragma once

#include "flashback/simd/detail/amx_attention.hpp"
#include "flashback/simd/detail/attention_tile.hpp"
#include "flashback/tensor/kv_tile.hpp"

#include <algorithm>
#include <concepts>
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

/// For queries that see no other span of positions than their own.
struct SeesNoOther {
    template <class Visit>
    void operator()(const Visit& /*visit*/) const noexcept {}
};

namespace detail {

/// Whether attention to keys and values of a type has the arithmetic of tiles (amx_attention.hpp).
#if defined(FLASHBACK_SIMD_AMX)
template <class Element>
inline constexpr bool attends_in_tiles = std::same_as<Element, BFloat16>;
#else
template <class Element>
inline constexpr bool attends_in_tiles = false;
#endif

/// All queries go over one tile.
template <class Element>
struct AttendTile {
    void operator()(QueryState* query, const QueryState* end, const KVTile& tile, std::size_t d,
                    std::size_t start) const noexcept {
        for (; end - query >= std::ptrdiff_t{tile_queries}; query += tile_queries)
            attend_tile<tile_queries, Element>(query, tile, d, start);
        for (; query != end; ++query) attend_tile<1, Element>(query, tile, d, start);
    }
};

/// Calls `call` with what takes queries over a tile of such elements.
template <class Element, class Call>
void with_way(QueryState* queries, std::size_t count, std::size_t d, const Call& call) noexcept {
#if defined(FLASHBACK_SIMD_AMX)
    if constexpr (attends_in_tiles<Element>) return with_tiles_or_lanes(queries, count, d, call);
#endif
    (void)queries, (void)count, (void)d;
    call(AttendTile<Element>{});
}

/// The queries before they have seen anything.
inline void begin_queries(std::span<const AttentionQuery> queries, QueryState* states) noexcept {
    for (const AttentionQuery& query : queries)
        *states++ = {query.q, query.out, query.position, -std::numeric_limits<float>::infinity(), 0};
}

/// What `attend` does, with what takes queries over a tile.
template <class AttendTile, class Tiles, class Others>
void attend_by(AttendTile& attend_tile, QueryState* states, std::span<const AttentionQuery> queries, const Tiles& tile,
               std::size_t d, const Others& others) noexcept {
    const std::size_t count = queries.size();
    for (std::size_t a = 0; a < count; ++a) std::fill_n(states[a].out, d, 0.0f);
    others([&](const auto& other, std::size_t positions) {
        for (std::size_t a = 0; a < count; ++a) states[a].position = positions - 1;
        for (std::size_t start = 0; start < positions; start += tile_positions)
            attend_tile(states, states + count, other(start / tile_positions), d, start);
    });
    for (std::size_t a = 0; a < count; ++a) states[a].position = queries[a].position;
    std::size_t first = 0;
    for (std::size_t start = 0; start <= queries.back().position; start += tile_positions) {
        while (queries[first].position < start) ++first;  // these have seen all that they may see
        attend_tile(states + first, states + count, tile(start / tile_positions), d, start);
    }
    for (std::size_t a = 0; a < count; ++a) {
        const Lanes total = Lanes::all(states[a].total);
        for (std::size_t i = 0; i < d; i += panel_outputs)
            (Lanes::load_first(states[a].out + i, d - i) / total).store_first(queries[a].out + i, d - i);
    }
}

}  // namespace detail

/// Each query attends to some other spans of positions, to all of each, and then to the positions of its own span up to its own:
/// out = softmax(q Kᵀ) V. Tiles are counted in each span, so that a sum does not depend on where the span is stored. Under the
/// tag `amx`, q and the weights are rounded to bf16 if the elements are bf16. The bits are those of testing::plain::attend for
/// each query alone. If a score is NaN or +infinity, every element of its out is NaN. Later positions are not used in any way.
/// Shape     q, out of each query (d)   `tile(t)` gives the keys and values of the positions [64 t, 64 t + 64), each an Element
///           `others(visit)` calls `visit(tile, positions)` for each other span, in order
/// Requires  at most attention_queries of them, positions ascending; the other spans have at least 1 position
/// Cost      2 · d multiply-adds for each query and each position that it sees
/// Source    Vaswani et al. 2017, Attention is all you need, equation 1; Milakov and Gimelshein 2018, Online normalizer
///           calculation for softmax, algorithm 3
template <class Element, class Tiles, class Others = SeesNoOther>
inline void attend(std::span<const AttentionQuery> queries, const Tiles& tile, std::size_t d,
                   const Others& others = {}) noexcept {
    if (queries.empty()) return;
    detail::QueryState states[attention_queries];
    detail::begin_queries(queries, states);
    detail::with_way<Element>(states, queries.size(), d,
                              [&](auto&& way) { detail::attend_by(way, states, queries, tile, d, others); });
}

/// The scores of one query with the first positions of a span, which `attend` weighs: the same bits.
/// Shape     q (d), scaled by 1/sqrt(d) already   `tile(t)` as for attend   score (positions)
/// Cost      d multiply-adds for each position
template <class Element, class Tiles>
inline void attention_scores(const float* q, const Tiles& tile, std::size_t d, std::size_t positions, float* score) noexcept {
    const detail::QueryState query{q, nullptr, 0, 0, 0};
    float scores[tile_positions];
    for (std::size_t start = 0; start < positions; start += tile_positions) {
        const std::size_t count = std::min(tile_positions, positions - start);
        const auto* keys = reinterpret_cast<const Element*>(KVTile{tile(start / tile_positions)}.keys);
#if defined(FLASHBACK_SIMD_AMX)
        if constexpr (detail::attends_in_tiles<Element>) {
            detail::score_tile_as_tiles<1>(&query, keys, d, count, scores);
        } else
#endif
            detail::score_tile<1>(&query, keys, d, count, scores);
        if constexpr (std::same_as<Element, Int8>) detail::times_steps(keys, d, count, scores);
        std::copy_n(scores, count, score + start);
    }
}

}  // namespace flashback::inline FLASHBACK_ISA::simd
