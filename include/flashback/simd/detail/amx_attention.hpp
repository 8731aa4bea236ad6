/// \file Attention to keys and values of bf16 under the tag `amx`: the arithmetic of tiles, in tiles or in vectors.
///
/// Queries and weights are rounded to bf16, as the cache is, and 32 elements of a key, or 32 positions, are one step of a tile:
/// testing::plain::attend says what is computed. A row must have the same bits alone and among others (rule R1), so this holds
/// for every number of queries. Three ways give these bits:
/// - Tiles, if at least three queries share the keys and the values. A step of a tile costs the same for 1 query and for 16, but
///   the pairs that it wants must be put together first. For heads of 64 elements and 16 queries, 64 positions take 16 products
///   of tiles (256 cycles) and 256 lines of pairs (about as long), where 8,192 multiply-adds of 16 lanes take 4,096 cycles.
///   Measured on a Zen 5, which has no tiles: all but their instructions takes a third of the time of multiply-adds.
/// - Vectors (amx_attention_lanes.hpp) for fewer queries: they need no pairs, and memory is the limit. They also take the steps
///   of which some queries see more positions than others: a tile would multiply what a query may not see by 0, which rule R7
///   forbids.
/// - The twin of tiles, in programs that emulate them.
///
/// Caches of f16 stay with multiply-adds. Tiles multiply no f16 (before AMX-FP16). A number of f16 is exactly the sum of two of
/// bf16, but then a query needs two parts as well, if it is to be as exact as the keys: three products instead of one. With the
/// same figures this is 768 cycles of tiles, and about 3,000 instructions to take keys and values apart (12 for 32 numbers).
/// That would halve the time for 16 queries, and be slower than multiply-adds for the 4 that share keys in many decoders.
#pragma once

#include "flashback/simd/detail/amx_attention_lanes.hpp"
#include "flashback/simd/detail/amx_matmul.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>

#if defined(FLASHBACK_SIMD_AMX)
namespace flashback::inline FLASHBACK_ISA::simd::detail {

/// What queries make of a tile of positions on their way: scores, which become weights.
struct TileWeights {
    alignas(64) float score[tile_rows * tile_positions];              ///< then the weights, rounded to bf16
    alignas(64) ActivationPair pairs[tile_rows][tile_positions / 2];  ///< the weights

    /// Turns the scores of the queries `first` to `end` into weights, and brings their sums to the new greatest score. The row of
    /// a query is its place behind `all`.
    void weigh(QueryState* all, QueryState* first, QueryState* end, std::size_t d, std::size_t start) noexcept {
        float scale[tile_rows] = {};
        for (QueryState* query = first; query != end; ++query) {
            const auto a = static_cast<std::size_t>(query - all);
            const float most = greatest_score(score + a * tile_positions, visible(*query, start), query->most);
            scale[a] = query->most - most;
            query->most = most;
        }
        static_assert(tile_rows == panel_outputs);
        exp(Lanes::load(scale)).store(scale);
        for (QueryState* query = first; query != end; ++query) {
            const auto a = static_cast<std::size_t>(query - all);
            const std::size_t count = visible(*query, start);
            float* const weight = score + a * tile_positions;
            (void)weigh_scores(query->most, count, weight);
            const std::size_t whole = (count + key_group - 1) / key_group * key_group;
            round_pairs(weight, whole, pairs[a]);
            // The weights that are summed are those that are multiplied: so the weights of all positions add to 1.
            Lanes part = Lanes::all(0.0f);
            for (std::size_t t = 0; t < whole; t += panel_outputs) {
                const Lanes rounded = load_lanes(reinterpret_cast<const BFloat16*>(pairs[a]) + t);
                rounded.store(weight + t);
                part = part + rounded;
            }
            query->total = fma(query->total, scale[a], tree_sum(part));
            const Lanes factor = Lanes::all(scale[a]);
            each_lanes(d, [&](std::size_t i, std::size_t some) FLASHBACK_SIMD_LAMBDA {
                (Lanes::load_first(query->out + i, some) * factor).store_first(query->out + i, some);
            });
        }
    }
    static std::size_t visible(const QueryState& query, std::size_t start) noexcept {
        return std::min(tile_positions, query.position + 1 - start);
    }
};

/// Queries go over the tiles of a cache in vectors.
class AttendInLanes {
public:
    /// The queries `first` to `end` go over one tile, whose first position is `start`; all of them see that.
    void operator()(QueryState* first, QueryState* end, const KVTile& tile, std::size_t d, std::size_t start) noexcept {
        const auto* keys = reinterpret_cast<const BFloat16*>(tile.keys);
        const auto* values = reinterpret_cast<const BFloat16*>(tile.values);
        score_all_as_tiles(first, end, keys, d, TileWeights::visible(end[-1], start), weights_.score);
        weights_.weigh(first, first, end, d, start);
        for (std::size_t t = 0; t < tile_positions; t += bf16_group)
            add_step_as_tiles(first, end, {values + t * d, d, weights_.score + t}, start + t);
    }

private:
    TileWeights weights_;
};

/// Two rows of sixteen numbers become one line of sixteen pairs.
/// Shape     even, odd (16), at any address   to (64 bytes)
FLASHBACK_SIMD_INLINE void interleave(const BFloat16* even, const BFloat16* odd, std::byte* to) noexcept {
#if FLASHBACK_SIMD_FLOATS == 16
    const __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(even));
    const __m256i high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(odd));
    alignas(64) static constexpr std::uint16_t places[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                             8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    _mm512_storeu_si512(
        to, _mm512_permutexvar_epi16(_mm512_load_si512(places), _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1)));
#else
    for (std::size_t j = 0; j < panel_outputs; ++j) {
        std::memcpy(to + 4 * j, even + j, 2);
        std::memcpy(to + 4 * j + 2, odd + j, 2);
    }
#endif
}

/// Queries go over the tiles of a cache in tiles.
template <class Tiles>
class AttendInTiles {
public:
    static constexpr std::size_t fewest_queries = 3;
    static constexpr std::size_t most_elements = 256;  ///< of a head: what there is room for

    /// Requires  fewest_queries to 16 of them, d <= most_elements; their sums lie one after another, each padded to whole lines
    AttendInTiles(QueryState* queries, std::size_t count, std::size_t d) noexcept : queries_(queries), stride_(padded(d)) {
        tiles_.configure({count, count});
        for (std::size_t a = 0; a < count; ++a) {
            for (std::size_t i = 0; i < d; i += bf16_group)
                round_pairs(queries[a].q + i, std::min(bf16_group, d - i), rounded_[i / bf16_group][a]);
        }
        std::fill_n(queries->out, count * stride_, 0.0f);  // what no query has, too: tiles take whole lines
    }

    /// As AttendInLanes.
    void operator()(QueryState* first, QueryState* end, const KVTile& tile, std::size_t d, std::size_t start) noexcept {
        const auto* values = reinterpret_cast<const BFloat16*>(tile.values);
        const std::size_t most = TileWeights::visible(end[-1], start);
        score(reinterpret_cast<const BFloat16*>(tile.keys), d, most);
        weights_.weigh(queries_, first, end, d, start);
        // What all rows of the tiles see: whole steps, or everything if no one sees more.
        const std::size_t least = first == queries_ ? TileWeights::visible(*first, start) : 0;
        const std::size_t common = least == most ? most : least / bf16_group * bf16_group;
        if (common > 0) add(values, d, common);
        const auto row = static_cast<std::size_t>(first - queries_) * tile_positions;
        for (std::size_t t = common; t < most && least != most; t += bf16_group)
            add_step_as_tiles(first, end, {values + t * d, d, weights_.score + row + t}, start + t);
    }

private:
    static constexpr BFloat16 zeros[panel_outputs] = {};
    using Lines = std::byte[tile_rows][tile_row_bytes];

    /// Shape     keys (4, d, 16)
    void score(const BFloat16* keys, std::size_t d, std::size_t count) noexcept {
        const std::size_t groups = (count + key_group - 1) / key_group;
        each_constant<4>([&](auto g) FLASHBACK_SIMD_LAMBDA { tiles_.template zero<g>(); });
        for (std::size_t i = 0; i < d; i += bf16_group) {
            tiles_.template load<activation_tile(0)>(rounded_[i / bf16_group], tile_row_bytes);
            each_constant<4>([&](auto g) FLASHBACK_SIMD_LAMBDA {
                if (g >= groups) return;
                load_pairs<weight_tile(g % 2)>(keys + (g * d + i) * key_group, key_group, std::min(bf16_group, d - i),
                                               key_group, lines_[g]);
                tiles_.template multiply<g, activation_tile(0), weight_tile(g % 2)>();
            });
        }
        each_constant<4>([&](auto g) FLASHBACK_SIMD_LAMBDA {
            if (g < groups) tiles_.template store<g>(weights_.score + g * key_group, tile_positions * sizeof(float));
        });
    }

    /// out += weight · value for the first `count` positions, for all queries.
    void add(const BFloat16* values, std::size_t d, std::size_t count) noexcept {
        constexpr std::size_t stride = sizeof weights_.pairs[0];
        tiles_.template load<activation_tile(0)>(weights_.pairs[0], stride);
        if (count > bf16_group) tiles_.template load<activation_tile(1)>(weights_.pairs[0] + bf16_group / 2, stride);
        for (std::size_t from = 0; from < d; from += 4 * panel_outputs) {
            each_constant<4>([&](auto p) FLASHBACK_SIMD_LAMBDA {
                const std::size_t at = from + p * panel_outputs;
                if (at >= d) return;
                tiles_.template load<p>(queries_->out + at, stride_ * sizeof(float));
                each_constant<2>([&](auto step) FLASHBACK_SIMD_LAMBDA {
                    constexpr std::size_t first = step * bf16_group;
                    if (first >= count) return;
                    load_pairs<weight_tile(step)>(values + first * d + at, d, std::min(bf16_group, count - first),
                                                  std::min(panel_outputs, d - at), lines_[2 * (p % 2) + step]);
                    tiles_.template multiply<p, activation_tile(step), weight_tile(step)>();
                });
                tiles_.template store<p>(queries_->out + at, stride_ * sizeof(float));
            });
        }
    }

    /// Puts rows in pairs and loads them; what is missing of 32 rows or 16 numbers is zero.
    /// Shape     from (rows, stride), of which `numbers` are read
    template <std::size_t Tile>
    FLASHBACK_SIMD_INLINE void load_pairs(const BFloat16* from, std::size_t stride, std::size_t rows, std::size_t numbers,
                                          Lines& lines) noexcept {
        if (numbers == panel_outputs) {
            for (std::size_t i = 0; i + 1 < rows; i += 2) interleave(from + i * stride, from + (i + 1) * stride, lines[i / 2]);
            if (rows % 2 != 0) interleave(from + (rows - 1) * stride, zeros, lines[rows / 2]);
        } else {
            BFloat16 some[2][panel_outputs] = {};
            for (std::size_t i = 0; i < rows; i += 2) {
                std::copy_n(from + i * stride, numbers, some[0]);
                std::copy_n(i + 1 < rows ? from + (i + 1) * stride : zeros, numbers, some[1]);
                interleave(some[0], some[1], lines[i / 2]);
            }
        }
        for (std::size_t i = (rows + 1) / 2; i < tile_rows; ++i) std::memset(lines[i], 0, tile_row_bytes);
        tiles_.template load<Tile>(lines, tile_row_bytes);
    }

    Tiles tiles_;
    QueryState* queries_;
    std::size_t stride_;
    TileWeights weights_;
    alignas(64) Lines lines_[4];
    alignas(64) ActivationPair rounded_[most_elements / bf16_group][tile_rows][bf16_group / 2];
};

/// Calls `call` with the way by which queries go over the tiles.
template <class Call>
void with_tiles_or_lanes(QueryState* queries, std::size_t count, std::size_t d, const Call& call) noexcept {
#if defined(FLASHBACK_AMX_EMULATE)
    using Way = AttendInTiles<AmxTwin>;
    constexpr bool can = true;
#else
    using Way = AttendInTiles<AmxTiles>;
    const bool can = tiles().use == TileUse::tiles;
#endif
    if (can && count >= Way::fewest_queries && d <= Way::most_elements) {
        call(Way{queries, count, d});
    } else {
        call(AttendInLanes{});
    }
}

}  // namespace flashback::inline FLASHBACK_ISA::simd::detail
#endif
