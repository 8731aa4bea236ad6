/// \file Attention with the arithmetic of tiles, in vectors: keys and values of bf16 under the tag `amx`.
///
/// A step is 32 elements of a key, or 32 positions. It has two chains of multiply-adds, as TDPBF16PS does. Keys lie
/// dimension-major and vectors run across keys, so nothing has to be put in pairs.
#pragma once

#include "flashback/simd/detail/amx_tiles.hpp"
#include "flashback/simd/detail/attention_tile.hpp"
#include "flashback/simd/detail/bf16_lanes.hpp"

#include <algorithm>
#include <cstddef>
#include <type_traits>

#if defined(FLASHBACK_SIMD_AMX)
namespace flashback::inline FLASHBACK_ISA::simd::detail {

/// As TDPBF16PS computes while it lives: to nearest, and subnormal numbers are zeros. What computes stands in a function that is
/// not inlined, so that the compiler moves no arithmetic out of it.
class ModeOfTiles {
public:
    ModeOfTiles() noexcept : before_(_mm_getcsr()) { _mm_setcsr(0x9fc0); }
    ModeOfTiles(const ModeOfTiles&) = delete;
    ModeOfTiles& operator=(const ModeOfTiles&) = delete;
    ~ModeOfTiles() { _mm_setcsr(before_); }

private:
    unsigned before_;
};

/// The sums of some tiles on their way through one step of 32: two chains, which are added at its end.
template <std::size_t Queries, std::size_t Parts>
struct StepChains {
    Lanes chain[2][Queries][Parts];

    FLASHBACK_SIMD_INLINE StepChains() noexcept {
        each([&](std::size_t a, std::size_t p) FLASHBACK_SIMD_LAMBDA { chain[0][a][p] = chain[1][a][p] = Lanes::all(0.0f); });
    }
    template <class Call>
    FLASHBACK_SIMD_INLINE static void each(const Call& call) noexcept {
#pragma GCC unroll 16
        for (std::size_t a = 0; a < Queries; ++a) {
#pragma GCC unroll 16
            for (std::size_t p = 0; p < Parts; ++p) call(a, p);
        }
    }
    /// Adds the place `k` of the step; `factor(a)` is that of a query, `other(p)` what stands in the cache.
    template <std::size_t Parity, class Factor>
    FLASHBACK_SIMD_INLINE void add(const Factor& factor, const Lanes (&other)[Parts]) noexcept {
#pragma GCC unroll 16
        for (std::size_t a = 0; a < Queries; ++a) {
            const Lanes value = Lanes::all(factor(a));
#pragma GCC unroll 16
            for (std::size_t p = 0; p < Parts; ++p) chain[Parity][a][p] = fma(value, other[p], chain[Parity][a][p]);
        }
    }
    /// Adds the chains to the sums. What is missing after the first `count` places is zero, and 0 · 0 turns -0 into 0.
    FLASHBACK_SIMD_INLINE void finish(std::size_t count, Lanes (&sum)[Queries][Parts]) noexcept {
        const Lanes zero = Lanes::all(0.0f);
        each([&](std::size_t a, std::size_t p) FLASHBACK_SIMD_LAMBDA {
            if (count < bf16_group - 1) chain[0][a][p] = chain[0][a][p] + zero;
            if (count < bf16_group) chain[1][a][p] = chain[1][a][p] + zero;
            sum[a][p] = sum[a][p] + (chain[0][a][p] + chain[1][a][p]);
        });
    }
};

/// A row rounded to bf16, as floats.
/// Shape     from (count), to (32); count <= 32, and what is missing becomes 0
inline void round_to_bf16(const float* from, std::size_t count, float* to) noexcept {
    ActivationPair pairs[bf16_group / 2];
    round_pairs(from, count, pairs);
    for (std::size_t i = 0; i < bf16_group; i += panel_outputs)
        load_lanes(reinterpret_cast<const BFloat16*>(pairs) + i).store(to + i);
}

/// Scores of `Queries` queries with `Groups` groups of keys, as tiles give them.
/// Shape     keys (Groups, d, 16)   score (Queries, 64), of which 16 · Groups are written
/// Requires  the mode of tiles
template <std::size_t Queries, std::size_t Groups>
[[gnu::noinline]] void score_groups_as_tiles(const QueryState* queries, const BFloat16* keys, std::size_t d,
                                             float* score) noexcept {
    using Chains = StepChains<Queries, Groups>;
    Lanes sum[Queries][Groups];
    Chains::each([&](std::size_t a, std::size_t g) FLASHBACK_SIMD_LAMBDA { sum[a][g] = Lanes::all(0.0f); });
    for (std::size_t first = 0; first < d; first += bf16_group) {
        const std::size_t count = std::min(bf16_group, d - first);
        float q[Queries][bf16_group];
        for (std::size_t a = 0; a < Queries; ++a) round_to_bf16(queries[a].q + first, count, q[a]);
        Chains chains;
        const auto add = [&](auto parity, std::size_t i) FLASHBACK_SIMD_LAMBDA {
            Lanes key[Groups];
#pragma GCC unroll 16
            for (std::size_t g = 0; g < Groups; ++g) key[g] = load_lanes(keys + (g * d + first + i) * key_group);
            chains.template add<parity>([&](std::size_t a) FLASHBACK_SIMD_LAMBDA { return q[a][i]; }, key);
        };
        for (std::size_t i = 0; i < count; i += 2) {
            add(std::integral_constant<std::size_t, 0>{}, i);
            if (i + 1 < count) add(std::integral_constant<std::size_t, 1>{}, i + 1);
        }
        chains.finish(count, sum);
    }
    Chains::each([&](std::size_t a, std::size_t g)
                     FLASHBACK_SIMD_LAMBDA { sum[a][g].store(score + a * tile_positions + g * key_group); });
}

/// Scores of `Queries` queries with the first `count` keys of a tile.
/// Shape     keys (4, d, 16)   score (Queries, 64), of which whole groups of 16 are written
template <std::size_t Queries>
inline void score_tile_as_tiles(const QueryState* queries, const BFloat16* keys, std::size_t d, std::size_t count,
                                float* score) noexcept {
    constexpr std::size_t together = Queries == 1 ? 4 : 1;  // eight chains hide how long a multiply-add takes
    const std::size_t groups = (count + key_group - 1) / key_group;
    const ModeOfTiles mode;
    std::size_t g = 0;
    for (; g + together <= groups; g += together)
        score_groups_as_tiles<Queries, together>(queries, keys + g * d * key_group, d, score + g * key_group);
    for (; g < groups; ++g) score_groups_as_tiles<Queries, 1>(queries, keys + g * d * key_group, d, score + g * key_group);
}

/// The values of 32 positions, and their weights for some queries, rounded to bf16.
/// Shape     values (32, d)   weight (queries, 64), from the first of these positions on
struct StepValues {
    const BFloat16* values;
    std::size_t d;
    const float* weight;
};

/// out += weight · value for `count` of 32 positions, as tiles add them, for `Parts` times 16 elements from the one at `from` on;
/// with Parts = 1, for only `elements` of them.
/// Requires  the mode of tiles
template <std::size_t Queries, std::size_t Parts>
[[gnu::noinline]] void add_values_as_tiles(const QueryState* queries, const StepValues& v, std::size_t from,
                                           std::size_t elements, std::size_t count) noexcept {
    using Chains = StepChains<Queries, Parts>;
    Lanes sum[Queries][Parts];
    const std::size_t each = Parts == 1 ? elements : panel_outputs;
    Chains::each([&](std::size_t a, std::size_t p)
                     FLASHBACK_SIMD_LAMBDA { sum[a][p] = Lanes::load_first(queries[a].out + from + p * panel_outputs, each); });
    Chains chains;
    const auto add = [&](auto parity, std::size_t t) FLASHBACK_SIMD_LAMBDA {
        Lanes value[Parts];
#pragma GCC unroll 16
        for (std::size_t p = 0; p < Parts; ++p)
            value[p] = load_first_lanes(v.values + t * v.d + from + p * panel_outputs, each);
        chains.template add<parity>([&](std::size_t a) FLASHBACK_SIMD_LAMBDA { return v.weight[a * tile_positions + t]; },
                                    value);
    };
    for (std::size_t t = 0; t < count; t += 2) {
        add(std::integral_constant<std::size_t, 0>{}, t);
        if (t + 1 < count) add(std::integral_constant<std::size_t, 1>{}, t + 1);
    }
    chains.finish(count, sum);
    Chains::each([&](std::size_t a, std::size_t p)
                     FLASHBACK_SIMD_LAMBDA { sum[a][p].store_first(queries[a].out + from + p * panel_outputs, each); });
}

/// The same for all elements, in that mode.
template <std::size_t Queries>
inline void add_all_values_as_tiles(const QueryState* queries, const StepValues& v, std::size_t count) noexcept {
    constexpr std::size_t together = Queries == 1 ? 4 : 1;
    const ModeOfTiles mode;
    std::size_t from = 0;
    for (; from + together * panel_outputs <= v.d; from += together * panel_outputs)
        add_values_as_tiles<Queries, together>(queries, v, from, panel_outputs, count);
    for (; from < v.d; from += panel_outputs)
        add_values_as_tiles<Queries, 1>(queries, v, from, std::min(panel_outputs, v.d - from), count);
}

/// The scores of all queries with the first `count` keys of a tile.
inline void score_all_as_tiles(const QueryState* query, const QueryState* end, const BFloat16* keys, std::size_t d,
                               std::size_t count, float* score) noexcept {
    for (; end - query >= std::ptrdiff_t{tile_queries}; query += tile_queries, score += tile_queries * tile_positions)
        score_tile_as_tiles<tile_queries>(query, keys, d, count, score);
    for (; query != end; ++query, score += tile_positions) score_tile_as_tiles<1>(query, keys, d, count, score);
}

/// One step for all queries, each with the positions that it sees. `start` is the first position of the step.
inline void add_step_as_tiles(const QueryState* query, const QueryState* end, StepValues v, std::size_t start) noexcept {
    const auto visible = [&](const QueryState& one) {
        return one.position < start ? 0 : std::min(bf16_group, one.position + 1 - start);
    };
    while (query != end) {
        const std::size_t count = visible(*query);
        const bool equal = end - query >= std::ptrdiff_t{tile_queries} && visible(query[tile_queries - 1]) == count;
        const std::size_t some = equal ? tile_queries : 1;
        if (count > 0) {
            equal ? add_all_values_as_tiles<tile_queries>(query, v, count) : add_all_values_as_tiles<1>(query, v, count);
        }
        query += some;
        v.weight += some * tile_positions;
    }
}

}  // namespace flashback::inline FLASHBACK_ISA::simd::detail
#endif
