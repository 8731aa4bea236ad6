/// \file Attention of all heads of all rows of a piece, and how threads share it.
#pragma once

#include "flashback/core/executor.hpp"
#include "flashback/kv/kv_cache.hpp"
#include "flashback/model/detail/block_parts.hpp"
#include "flashback/model/detail/cuts.hpp"
#include "flashback/model/piece_place.hpp"
#include "flashback/simd/attention.hpp"

#include <algorithm>
#include <cstddef>

namespace flashback::inline FLASHBACK_ISA::detail {

/// The rows [begin, end) of a piece, counted in their place, whose first row in the piece is `place_row`.
struct PlaceRows {
    std::size_t place_row, begin, end;
};

/// The keys and values of a head that a place sees.
template <KVCache Cache>
struct KeysOfHead {
    const PiecePlace<Cache>& place;
    std::size_t layer, kv_head;

    auto tiles_of(const Cache& cache) const {
        return [&cache, l = layer, h = kv_head](std::size_t t) { return cache.tile(l, h, t); };
    }
    auto own() const { return tiles_of(*place.cache); }
    auto others() const {
        return [this](const auto& visit) {
            for (const SeenPositions<Cache>& one : place.seen) visit(tiles_of(*one.cache), one.positions);
        };
    }
    /// In how many parts one row adds.
    std::size_t parts() const {
        std::size_t parts = 1 + simd::AttentionParts::within(place.first_row + 1);
        for (const SeenPositions<Cache>& one : place.seen) parts += simd::AttentionParts::within(one.positions);
        return parts;
    }
};

/// Heads that share keys and values at some neighbouring rows of a place attend together. How they are grouped changes no bit.
template <KVCache Cache>
void attend_rows(const Piece& piece, std::size_t layer, std::size_t kv_head, const PiecePlace<Cache>& place,
                 const PlaceRows& rows) {
    const TransformerConfig& c = piece.model.config;
    Workspace& work = piece.work;
    const std::size_t sharing = c.heads / c.kv_heads;
    const KeysOfHead<Cache> keys{place, layer, kv_head};
    simd::AttentionQuery queries[simd::attention_queries];
    std::size_t count = 0;
    const auto attend = [&] {
        simd::with_element(place.cache->shape().element, [&](auto e) {
            simd::attend<decltype(e)>({queries, count}, keys.own(), c.head_dim, keys.others());
        });
        count = 0;
    };
    for (std::size_t r = rows.begin; r < rows.end; ++r) {
        for (std::size_t h = kv_head * sharing; h < (kv_head + 1) * sharing; ++h) {
            const std::size_t at = (rows.place_row + r) * work.q_stride + h * c.head_dim;
            const std::size_t last_seen = place.first_row + (c.causal ? r : place.rows - 1);
            queries[count++] = {work.queries.data() + at, work.attended.data() + at, last_seen};
            if (count == simd::attention_queries) attend();
        }
    }
    attend();
}

/// Every head of a single row attends, if there are so many more threads than heads with keys of their own that it saves time if
/// they share the parts of the keys. Tells whether they did. The bits are those of `attend_rows`.
template <KVCache Cache>
bool attend_row_in_parts(const Piece& piece, std::size_t layer, const PiecePlace<Cache>& place) {
    const TransformerConfig& c = piece.model.config;
    Workspace& work = piece.work;
    const std::size_t parts = KeysOfHead<Cache>{place, layer, 0}.parts();
    if (parts > work.parts) return false;
    const std::size_t threads = piece.executor.concurrency();
    const auto cost = [&](std::size_t s) { return ceil_div(c.kv_heads * s, threads) * ceil_div(parts, s); };
    std::size_t shares = 1;
    // The last part may have few positions: not worth a second round of threads.
    for (std::size_t s = 2; s <= std::min(parts - 1, ceil_div(threads, c.kv_heads)); ++s) {
        if (saves(cost(s), cost(shares))) shares = s;
    }
    if (shares == 1) return false;
    const std::size_t sharing = c.heads / c.kv_heads;
    const std::size_t stride = simd::AttentionParts::sums(c.head_dim);
    const auto sums_of = [&](std::size_t h, std::size_t part) {
        return work.part_sums.data() + (h * work.parts + part) * stride;
    };
    piece.executor.run(c.kv_heads * shares, [&](std::size_t task) {
        const std::size_t share = task / c.kv_heads;
        const simd::AttentionParts its{parts * share / shares, parts * (share + 1) / shares};
        const KeysOfHead<Cache> keys{place, layer, task % c.kv_heads};
        const std::size_t last = (keys.kv_head + 1) * sharing;
        for (std::size_t h = keys.kv_head * sharing; h < last; h += simd::attention_queries) {
            simd::AttentionQuery queries[simd::attention_queries];
            const std::size_t count = std::min(simd::attention_queries, last - h);
            for (std::size_t a = 0; a < count; ++a)
                queries[a] = {work.queries.data() + (h + a) * c.head_dim, nullptr, place.first_row};
            simd::with_element(place.cache->shape().element, [&](auto e) {
                simd::attend_parts<decltype(e)>({queries, count}, its, keys.own(), c.head_dim, keys.others(),
                                                [&](std::size_t a, std::size_t part) { return sums_of(h + a, part); });
            });
        }
    });
    piece.executor.run_ranges(c.heads, 1, [&](std::size_t first, std::size_t end) {
        for (std::size_t h = first; h < end; ++h)
            simd::join_parts(sums_of(h, 0), parts, c.head_dim, work.attended.data() + h * c.head_dim);
    });
    return true;
}

/// Converts some elements of a row of attended values for the product that follows.
inline void convert_attended(const Piece& piece, std::size_t layer, std::size_t row, std::size_t first, std::size_t count) {
    Workspace& work = piece.work;
    convert({&piece.model.layers[layer].output}, work.converted, row, work.attended.data() + row * work.q_stride, first, count);
}

/// Every head of every row attends to what its place sees; the output matrix reads that, converted.
template <KVCache Cache>
void attend_all(const Piece& piece, std::size_t layer, PiecePlaces<Cache> places) {
    const TransformerConfig& c = piece.model.config;
    const std::size_t width = c.heads * c.head_dim;
    if (piece.rows == 1 && attend_row_in_parts(piece, layer, places[0])) return convert_attended(piece, layer, 0, 0, width);
    const std::size_t sharing = c.heads / c.kv_heads;
    const std::size_t together = rows_together(piece.rows, c.kv_heads, sharing, piece.executor.concurrency());
    const auto blocks_of = [&](const PiecePlace<Cache>& place) { return ceil_div(place.rows, together); };
    // Whole blocks of converted elements belong to one head: the rows are ready for the product that follows.
    const bool converts = sharing * c.head_dim % simd::activation_block == 0;
    std::size_t blocks = 0;
    for (const PiecePlace<Cache>& place : places) blocks += blocks_of(place);
    // Later rows cost more. Dealing tasks out in turn gives every thread about as many of each.
    piece.executor.run(c.kv_heads * blocks, [&](std::size_t task) {
        std::size_t block = task / c.kv_heads;
        std::size_t row = 0;
        const PiecePlace<Cache>* place = places.data();
        for (; block >= blocks_of(*place); ++place) {
            block -= blocks_of(*place);
            row += place->rows;
        }
        const std::size_t begin = block * together;
        const std::size_t end = std::min(begin + together, place->rows);
        const std::size_t head = task % c.kv_heads;
        attend_rows(piece, layer, head, *place, {row, begin, end});
        for (std::size_t r = row + begin; converts && r < row + end; ++r)
            convert_attended(piece, layer, r, head * sharing * c.head_dim, sharing * c.head_dim);
    });
    if (converts) return;
    run_rows(piece.executor, piece.rows, width, [&](std::size_t r) { convert_attended(piece, layer, r, 0, width); });
}

}  // namespace flashback::inline FLASHBACK_ISA::detail
