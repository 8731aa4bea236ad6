/// \file Attention of query heads that share keys and values, over key tiles of 64 positions (rule R7).
#pragma once

#include "flashback/simd/detail/amx_attention.hpp"
#include "flashback/simd/detail/attention_sums.hpp"
#include "flashback/simd/detail/attention_tile.hpp"
#include "flashback/tensor/aligned_buffer.hpp"
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

/// Some of the parts in which a query adds: a part begins with what the query sees first, and at every multiple of 512 positions
/// within a span (rule R7).
struct AttentionParts {
    std::size_t first = 0;                                       ///< the first one
    std::size_t last = std::numeric_limits<std::size_t>::max();  ///< the one behind the last

    static constexpr std::size_t positions = detail::part_positions;  ///< after how many of a span the next part begins

    /// How many parts begin within a span.
    /// Requires  span > 0
    static constexpr std::size_t within(std::size_t span) noexcept { return (span - 1) / positions; }
    /// How many floats the sums of a part are, whose query has `d` numbers.
    static constexpr std::size_t sums(std::size_t d) noexcept { return padded(d + 2); }
};

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

/// Queries go over the tiles of some parts by `attend_tile`, and begin with nothing in each. After each part, `take(part)` takes
/// what they have.
template <class AttendTile, class Tiles, class Others, class Take>
inline void attend_each_part(AttendTile& attend_tile, QueryState* states, std::span<const AttentionQuery> queries,
                             AttentionParts parts, const Tiles& tile, std::size_t d, const Others& others,
                             const Take& take) noexcept {
    const std::size_t count = queries.size();
    std::size_t part = 0;
    const auto is_wanted = [&] { return part >= parts.first && part < parts.last; };
    const auto begin = [&] {
        for (std::size_t a = 0; a < count; ++a) states[a].begin(d);
    };
    const auto attend = [&](std::size_t first, const auto& tiles, std::size_t start) {
        if (start > 0 && start % part_positions == 0) {
            if (is_wanted()) take(part);
            ++part;
            begin();
        }
        if (is_wanted()) attend_tile(states + first, states + count, tiles(start / tile_positions), d, start);
    };
    begin();
    others([&](const auto& other, std::size_t positions) {
        for (std::size_t a = 0; a < count; ++a) states[a].position = positions - 1;
        for (std::size_t start = 0; start < positions; start += tile_positions) attend(0, other, start);
    });
    for (std::size_t a = 0; a < count; ++a) states[a].position = queries[a].position;
    std::size_t first = 0;
    for (std::size_t start = 0; start <= queries.back().position; start += tile_positions) {
        while (queries[first].position < start) ++first;  // these have seen all that they may see
        attend(first, tile, start);
    }
    if (is_wanted()) take(part);
}

/// Queries with room for their sums.
class QueryStates {
public:
    /// How many queries of d numbers have room.
    static constexpr std::size_t most(std::size_t d) noexcept {
        return std::clamp<std::size_t>(room / padded(d), 1, attention_queries);
    }

    QueryStates(std::span<const AttentionQuery> queries, std::size_t d) noexcept {
        if (padded(d) > room) large_ = AlignedBuffer<float>{padded(d)};
        float* const sums = padded(d) > room ? large_.data() : sums_;
        for (std::size_t a = 0; a < queries.size(); ++a)
            states_[a] = {queries[a].q, sums + a * padded(d), queries[a].position, 0, 0};
    }
    QueryState* data() noexcept { return states_; }

private:
    static constexpr std::size_t room = 4096;  // sixteen heads of 256 numbers
    QueryState states_[attention_queries];
    alignas(64) float sums_[room];
    AlignedBuffer<float> large_;  // no model that we know of has such heads
};

}  // namespace detail

/// Each query attends to some other spans of positions, to all of each, and then to the positions of its own span up to its own:
/// out = softmax(q Kᵀ) V. Tiles are counted in each span, so that a sum does not depend on where the span is stored. The sums of
/// parts (AttentionParts) are taken by themselves and added in order. Under the tag `amx`, q and the weights are rounded to bf16 if
/// the elements are bf16. The bits are those of testing::plain::attend for each query alone. If a score is NaN or +infinity, every element of its out is NaN. Later positions are not used in any way.
/// Shape     q, out of each query (d)   `tile(t)` gives the keys and values of the positions [64 t, 64 t + 64), each an Element
///           `others(visit)` calls `visit(tile, positions)` for each other span, in order
/// Requires  at most attention_queries of them, positions ascending; the other spans have at least 1 position
/// Cost      2 · d multiply-adds for each query and each position that it sees
/// Source    Vaswani et al. 2017, Attention is all you need, equation 1; Milakov and Gimelshein 2018, Online normalizer
///           calculation for softmax, algorithm 3
template <class Element, class Tiles, class Others = SeesNoOther>
inline void attend(std::span<const AttentionQuery> queries, const Tiles& tile, std::size_t d,
                   const Others& others = {}) noexcept {
    while (!queries.empty()) {
        const auto some = queries.first(std::min(queries.size(), detail::QueryStates::most(d)));
        queries = queries.subspan(some.size());
        detail::QueryStates states{some, d};
        detail::AttentionSums sums[attention_queries];
        for (std::size_t a = 0; a < some.size(); ++a) sums[a].out = some[a].out;
        detail::with_way<Element>(states.data(), some.size(), d, [&](auto&& way) {
            detail::attend_each_part(way, states.data(), some, {}, tile, d, others, [&](std::size_t /*part*/) {
                detail::PartSums its[attention_queries];
                for (std::size_t a = 0; a < some.size(); ++a) {
                    const detail::QueryState& state = states.data()[a];
                    its[a] = {state.out, state.most, state.total};
                }
                detail::add_parts(sums, its, some.size(), d);
            });
        });
        for (std::size_t a = 0; a < some.size(); ++a) sums[a].divide(d);
    }
}

/// The sums of some parts of what `attend` adds: of each query in each part. `join_parts` makes them what `attend` gives.
/// Shape     as for attend, but out is not used; `sums_of(a, part)` gives room for AttentionParts::sums(d) floats of query a
/// Requires  as for attend; every query sees something in each of the parts
template <class Element, class Tiles, class Others, class SumsOf>
inline void attend_parts(std::span<const AttentionQuery> queries, AttentionParts parts, const Tiles& tile, std::size_t d,
                         const Others& others, const SumsOf& sums_of) noexcept {
    for (std::size_t done = 0; done < queries.size();) {
        const auto some = queries.subspan(done, std::min(queries.size() - done, detail::QueryStates::most(d)));
        detail::QueryStates states{some, d};
        detail::with_way<Element>(states.data(), some.size(), d, [&](auto&& way) {
            detail::attend_each_part(way, states.data(), some, parts, tile, d, others, [&](std::size_t part) {
                for (std::size_t a = 0; a < some.size(); ++a) {
                    const detail::QueryState& state = states.data()[a];
                    float* const to = sums_of(done + a, part);
                    std::copy_n(state.out, d, to);
                    to[d] = state.most;
                    to[d + 1] = state.total;
                }
            });
        });
        done += some.size();
    }
}

/// What a query attends to, from the sums of all its parts.
/// Shape     sums (parts, AttentionParts::sums(d))   out (d)
inline void join_parts(const float* sums, std::size_t parts, std::size_t d, float* out) noexcept {
    detail::AttentionSums all{out};
    for (std::size_t part = 0; part < parts; ++part) {
        const float* const from = sums + part * AttentionParts::sums(d);
        const detail::PartSums its{from, from[d], from[d + 1]};
        detail::add_parts(&all, &its, 1, d);
    }
    all.divide(d);
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
