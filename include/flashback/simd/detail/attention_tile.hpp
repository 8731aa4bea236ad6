/// \file The inner loops of attention: up to four queries with the keys and values of one tile (rule R7).
#pragma once

#include "flashback/simd/detail/exp.hpp"
#include "flashback/simd/detail/half_lanes.hpp"
#include "flashback/simd/detail/reduce.hpp"
#include "flashback/tensor/kv_tile.hpp"

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <limits>

namespace flashback::inline FLASHBACK_ISA::simd::detail {

// Accumulators of a tile: queries times groups of keys, or queries times groups of 16 elements of a value.
#if FLASHBACK_SIMD_FLOATS == 16
inline constexpr std::size_t tile_queries = 4;
inline constexpr std::size_t tile_groups = 4;
#elif FLASHBACK_SIMD_FLOATS == 8 || defined(__aarch64__)
inline constexpr std::size_t tile_queries = 4;
inline constexpr std::size_t tile_groups = 1;
#else
inline constexpr std::size_t tile_queries = 2;
inline constexpr std::size_t tile_groups = 1;
#endif

/// One query head at one position, and its sums on the way over the tiles.
struct QueryState {
    const float* q;        ///< (d)
    float* out;            ///< (d)
    std::size_t position;  ///< it sees this position and all before
    float most;            ///< the greatest score so far
    float total;           ///< sum of e^(score - most)

    /// It has seen nothing.
    void begin(std::size_t d) noexcept {
        std::fill_n(out, d, 0.0f);
        most = -std::numeric_limits<float>::infinity();
        total = 0;
    }
};

/// Scores of `Queries` queries with `Groups` groups of keys. Each score is one chain over d.
/// Shape     keys (Groups, d, 16)   score (Queries, 64), of which 16 · Groups are written
template <std::size_t Queries, std::size_t Groups, class Element>
inline void score_groups(const QueryState* queries, const Element* keys, std::size_t d, float* score) noexcept {
    Lanes sum[Queries][Groups];
#pragma GCC unroll 16
    for (std::size_t a = 0; a < Queries; ++a) {
#pragma GCC unroll 16
        for (std::size_t g = 0; g < Groups; ++g) sum[a][g] = Lanes::all(0.0f);
    }
    const float* q[Queries];
    for (std::size_t a = 0; a < Queries; ++a) q[a] = queries[a].q;
    for (std::size_t i = 0; i < d; ++i) {
        Lanes key[Groups];
#pragma GCC unroll 16
        for (std::size_t g = 0; g < Groups; ++g) key[g] = load_lanes(keys + (g * d + i) * key_group);
#pragma GCC unroll 16
        for (std::size_t a = 0; a < Queries; ++a) {
            const Lanes value = Lanes::all(q[a][i]);
#pragma GCC unroll 16
            for (std::size_t g = 0; g < Groups; ++g) sum[a][g] = fma(key[g], value, sum[a][g]);
        }
    }
#pragma GCC unroll 16
    for (std::size_t a = 0; a < Queries; ++a) {
#pragma GCC unroll 16
        for (std::size_t g = 0; g < Groups; ++g) sum[a][g].store(score + a * tile_positions + g * key_group);
    }
}

/// Scores of `Queries` queries with the first `count` keys of a tile. Those of i8 are still to be multiplied by their steps.
/// Shape     keys (4, d, 16)   score (Queries, 64), of which whole groups of 16 are written
template <std::size_t Queries, class Element>
FLASHBACK_SIMD_INLINE void score_tile(const QueryState* queries, const Element* keys, std::size_t d, std::size_t count,
                                      float* score) noexcept {
    const std::size_t groups = (count + key_group - 1) / key_group;
    std::size_t g = 0;
    for (; g + tile_groups <= groups; g += tile_groups)
        score_groups<Queries, tile_groups>(queries, keys + g * d * key_group, d, score + g * key_group);
    if constexpr (tile_groups > 1) {
        for (; g < groups; ++g) score_groups<Queries, 1>(queries, keys + g * d * key_group, d, score + g * key_group);
    }
}

/// The greatest of the first `count` scores and `most`; no NaN counts.
inline float greatest_score(const float* score, std::size_t count, float most) noexcept {
    constexpr float infinity = std::numeric_limits<float>::infinity();
    Lanes part = Lanes::all(-infinity);
    for (std::size_t t = 0; t < count; t += key_group) part = max(part, Lanes::load_first(score + t, count - t, -infinity));
    return std::max(most, tree_max(part));
}

/// Turns the first `count` scores into weights e^(score - most); returns their sum.
/// Shape     score (64), of which whole groups of 16 are written; the positions from `count` on count as -infinity
inline float weigh_scores(float most, std::size_t count, float* score) noexcept {
    const Lanes least = Lanes::all(most);
    Lanes part = Lanes::all(0.0f);
    for (std::size_t t = 0; t < count; t += key_group) {
        const Lanes scores = Lanes::load_first(score + t, count - t, -std::numeric_limits<float>::infinity());
        const Lanes weight = exp(scores - least);  // 0 for positions that are not visible, which leaves the sum as it is
        weight.store(score + t);
        part = part + weight;
    }
    return tree_sum(part);
}

/// The values of a tile, their weights for some queries, and the factor by which each query's sum is multiplied first.
/// Shape     values (64, d)   weight (queries, 64)   scale (queries)
template <class Element>
struct WeightedValues {
    const Element* values;
    std::size_t d;
    const float* weight;
    const float* scale;
};

/// If `first` is 0, out = out · scale. Then out += weight · value for the positions [first, count), ascending. This is for
/// `Parts` times 16 elements from the one at `from` on; with Parts = 1, for only `elements` of them.
template <std::size_t Queries, std::size_t Parts, class Element>
FLASHBACK_SIMD_INLINE void add_values(QueryState* queries, const WeightedValues<Element>& v, std::size_t from,
                                      std::size_t elements, std::size_t first, std::size_t count) noexcept {
    Lanes sum[Queries][Parts];
#pragma GCC unroll 16
    for (std::size_t a = 0; a < Queries; ++a) {
        const Lanes factor = Lanes::all(v.scale[a]);
#pragma GCC unroll 16
        for (std::size_t p = 0; p < Parts; ++p) {
            const float* out = queries[a].out + from + p * panel_outputs;
            sum[a][p] = Lanes::load_first(out, Parts == 1 ? elements : panel_outputs);
            if (first == 0) sum[a][p] = sum[a][p] * factor;
        }
    }
    for (std::size_t t = first; t < count; ++t) {
        Lanes value[Parts];
#pragma GCC unroll 16
        for (std::size_t p = 0; p < Parts; ++p) {
            const Element* row = v.values + t * v.d + from + p * panel_outputs;
            value[p] = load_first_lanes(row, Parts == 1 ? elements : panel_outputs);
        }
#pragma GCC unroll 16
        for (std::size_t a = 0; a < Queries; ++a) {
            const Lanes w = Lanes::all(v.weight[a * tile_positions + t]);
#pragma GCC unroll 16
            for (std::size_t p = 0; p < Parts; ++p) sum[a][p] = fma(w, value[p], sum[a][p]);
        }
    }
#pragma GCC unroll 16
    for (std::size_t a = 0; a < Queries; ++a) {
#pragma GCC unroll 16
        for (std::size_t p = 0; p < Parts; ++p)
            sum[a][p].store_first(queries[a].out + from + p * panel_outputs, Parts == 1 ? elements : panel_outputs);
    }
}

template <std::size_t Queries, class Element>
inline void add_all_values(QueryState* queries, const WeightedValues<Element>& v, std::size_t first,
                           std::size_t count) noexcept {
    const std::size_t d = v.d;
    std::size_t from = 0;
    if constexpr (tile_groups > 1) {
        for (; from + tile_groups * panel_outputs <= d; from += tile_groups * panel_outputs)
            add_values<Queries, tile_groups>(queries, v, from, 0, first, count);
    }
    for (; from < d; from += panel_outputs)
        add_values<Queries, 1>(queries, v, from, std::min(panel_outputs, d - from), first, count);
}

/// Multiplies the numbers of the first positions of a tile by their steps.
/// Shape     elements (64, d), behind which the steps stand   numbers (64)
inline void times_steps(const Int8* elements, std::size_t d, std::size_t count, float* numbers) noexcept {
    const auto* steps = reinterpret_cast<const float*>(elements + tile_positions * d);
    for (std::size_t t = 0; t < count; t += panel_outputs) {
        const std::size_t some = std::min(panel_outputs, count - t);
        (Lanes::load_first(numbers + t, some) * Lanes::load_first(steps + t, some)).store_first(numbers + t, some);
    }
}

/// `Queries` queries, positions ascending, go over one tile that starts at `tile_start`; all of them see its first position.
template <std::size_t Queries, class Element>
void attend_tile(QueryState* queries, const KVTile& tile, std::size_t d, std::size_t tile_start) noexcept {
    float score[Queries * tile_positions];
    const auto visible = [&](std::size_t a) { return std::min(tile_positions, queries[a].position + 1 - tile_start); };
    const auto* keys = reinterpret_cast<const Element*>(tile.keys);
    const auto* values = reinterpret_cast<const Element*>(tile.values);
    score_tile<Queries>(queries, keys, d, visible(Queries - 1), score);
    float scale[panel_outputs] = {};  // what was added before now counts so many times: e^(most before - most)
    for (std::size_t a = 0; a < Queries; ++a) {
        if constexpr (std::same_as<Element, Int8>) times_steps(keys, d, visible(a), score + a * tile_positions);
        const float most = greatest_score(score + a * tile_positions, visible(a), queries[a].most);
        scale[a] = queries[a].most - most;
        queries[a].most = most;
    }
    exp(Lanes::load(scale)).store(scale);
    for (std::size_t a = 0; a < Queries; ++a) {
        const float total = weigh_scores(queries[a].most, visible(a), score + a * tile_positions);
        queries[a].total = fma(queries[a].total, scale[a], total);
        if constexpr (std::same_as<Element, Int8>) times_steps(values, d, visible(a), score + a * tile_positions);
    }
    // First the positions that all queries see, then those that only the later ones see.
    const std::size_t common = visible(0);
    add_all_values<Queries, Element>(queries, {values, d, score, scale}, 0, common);
    if constexpr (Queries > 1) {
        for (std::size_t a = 1; a < Queries; ++a) {
            if (visible(a) > common)
                add_all_values<1, Element>(queries + a, {values, d, score + a * tile_positions, scale}, common, visible(a));
        }
    }
}

#define FLASHBACK_DETAIL_ATTEND(kind, queries, Element) \
    kind template void attend_tile<queries, Element>(QueryState*, const KVTile&, std::size_t, std::size_t) noexcept;
/// Every kind of attention; `kind` is `extern` or nothing.
#define FLASHBACK_DETAIL_ATTENDS(kind)                    \
    FLASHBACK_DETAIL_ATTEND(kind, 1, float)               \
    FLASHBACK_DETAIL_ATTEND(kind, 1, Half)                \
    FLASHBACK_DETAIL_ATTEND(kind, 1, BFloat16)            \
    FLASHBACK_DETAIL_ATTEND(kind, 1, Int8)                \
    FLASHBACK_DETAIL_ATTEND(kind, tile_queries, float)    \
    FLASHBACK_DETAIL_ATTEND(kind, tile_queries, Half)     \
    FLASHBACK_DETAIL_ATTEND(kind, tile_queries, BFloat16) \
    FLASHBACK_DETAIL_ATTEND(kind, tile_queries, Int8)
#if defined(FLASHBACK_COMPILED_ONCE)
FLASHBACK_DETAIL_ATTENDS(extern)
#endif

}  // namespace flashback::inline FLASHBACK_ISA::simd::detail
