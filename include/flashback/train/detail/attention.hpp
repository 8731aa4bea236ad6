/// \file Attention of training: forward and backward, in blocks of queries.
#pragma once

#include "flashback/data/example.hpp"
#include "flashback/simd/backward.hpp"
#include "flashback/simd/elementwise.hpp"
#include "flashback/simd/gemm.hpp"
#include "flashback/simd/softmax.hpp"
#include "flashback/simd/transpose.hpp"
#include "flashback/train/detail/rows.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <limits>
#include <span>

namespace flashback::inline FLASHBACK_ISA::detail {

/// How heads lie in a row of queries, and which of them share keys and values.
struct AttentionShape {
    std::size_t heads = 0, kv_heads = 0, head_dim = 0;
};

/// Memory of attention: one head of keys and values, and one block of queries.
struct AttentionScratch {
    AttentionScratch() = default;
    AttentionScratch(std::size_t rows, std::size_t d)
        : keys(rows, d),
          values(rows, d),
          keys_across(d, rows + simd::panel_outputs),
          values_across(d, rows + simd::panel_outputs),
          keys_gradient(rows, d),
          values_gradient(rows, d),
          weights(block, rows + 3 * simd::panel_outputs),
          weights_gradient(block, rows + 3 * simd::panel_outputs),
          q(block, d),
          out(block, d),
          out_gradient(block, d) {}

    static constexpr std::size_t block = 72;  // queries at most; a passage of 128 tokens and its marker make two equal blocks
    static constexpr std::size_t part = 16;   // queries of a block for which no more keys are read than the last of them sees
    Rows keys, values;                        ///< (rows, head_dim)
    Rows keys_across, values_across;          ///< (head_dim, rows), and a panel of zeros
    Rows keys_gradient, values_gradient;      ///< (rows, head_dim)
    /// (block, keys): those of each KeySpan from a panel of its own on; rows as close together as the keys of a block allow
    Rows weights, weights_gradient;
    Rows q, out, out_gradient;              ///< (block, head_dim)
    std::array<float, block> inverse = {};  ///< 1 / the sum of the weights of a query

    std::size_t bytes() const noexcept {
        return keys.bytes() + values.bytes() + keys_across.bytes() + values_across.bytes() + keys_gradient.bytes() +
               values_gradient.bytes() + weights.bytes() + weights_gradient.bytes() + q.bytes() + out.bytes() +
               out_gradient.bytes();
    }
};

/// A place in some rows.
template <class Span>
struct PlaceIn {
    Span rows;
    std::size_t row = 0;
    std::size_t column = 0;
};

inline void copy_columns(const PlaceIn<ConstRowSpan>& from, std::size_t rows, std::size_t columns,
                         const PlaceIn<RowSpan>& to) noexcept {
    for (std::size_t r = 0; r < rows; ++r)
        std::copy_n(from.rows.row(from.row + r) + from.column, columns, to.rows.row(to.row + r) + to.column);
}

/// Queries, keys and values; the same three for gradients.
/// Shape     q (rows, heads · head_dim)   k, v (rows, kv_heads · head_dim)
template <class Span>
struct Attending {
    Span q, k, v;
};

/// The rows from `begin` on, and what each sees: the runs are those of all rows, one after the other.
struct AttendingRows {
    std::size_t begin;
    std::span<const TokenRun> runs;

    std::size_t rows() const noexcept { return runs.back().end; }
};

/// Rows of keys that a block of queries sees, and where their weights begin in the rows of weights.
struct KeySpan {
    std::size_t row = 0, count = 0, column = 0;

    std::size_t panels() const noexcept { return panels_of(count); }
};

/// A block of queries, all of one run, and the keys that they see: shared rows, the passage, and the run itself up to the block's
/// end. The last query sees all of the own ones, each other as many fewer as it stands in front of it.
struct QueryBlock {
    QueryBlock(const AttendingRows& range, const TokenRun& of, std::size_t from, std::size_t to) noexcept
        : run(&of), first(from), last(to) {
        add(0, of.shared);
        if (of.passage < range.runs.size()) {
            passage = &range.runs[of.passage];
            add(passage->begin, passage->size());
        }
        add(of.begin, to - of.begin);
    }

    std::size_t count() const noexcept { return last - first; }
    std::span<const KeySpan> spans() const noexcept { return {of_keys.data(), used}; }
    const KeySpan& own() const noexcept { return of_keys[used - 1]; }
    std::size_t columns() const noexcept { return own().column + simd::padded(own().count); }
    /// The block's rows in memory for weights. Those of a short block lie close together.
    RowSpan rows_in(Rows& weights) const noexcept { return {weights.row(0), simd::row_stride(columns())}; }
    /// What the queries of the rows up to `row` see of a span.
    KeySpan seen(KeySpan span, std::size_t row) const noexcept {
        if (span.column == own().column) span.count -= last - row;
        return span;
    }

    const TokenRun* run;
    const TokenRun* passage = nullptr;
    std::size_t first, last;

private:
    void add(std::size_t row, std::size_t keys) noexcept {
        if (keys > 0) of_keys[used++] = {row, keys, end};
        end += simd::padded(keys);
    }

    std::array<KeySpan, 3> of_keys;
    std::size_t used = 0, end = 0;
};

/// Calls `work(begin, end)` for as many equal pieces of a range as have at most `most` rows each.
template <class Work>
void each_piece(std::size_t begin, std::size_t end, std::size_t most, const Work& work) noexcept {
    const std::size_t rows = end - begin;
    const std::size_t pieces = (rows + most - 1) / most;
    for (std::size_t i = 0; i < pieces; ++i) work(begin + rows * i / pieces, begin + rows * (i + 1) / pieces);
}

/// Calls `work(block)` for each block of queries of the range.
template <class Work>
void each_block(const AttendingRows& range, const Work& work) noexcept {
    for (const TokenRun& run : range.runs) {
        each_piece(std::clamp(range.begin, run.begin, run.end), run.end, AttentionScratch::block,
                   [&](std::size_t first, std::size_t last) {
                       work(QueryBlock{range, run, first, last});
                   });
    }
}

/// Calls `work(row, rows, span)` for some queries of a block at a time, and the keys that the last of them sees.
template <class Work>
void each_part(const QueryBlock& block, const Work& work) noexcept {
    each_piece(block.first, block.last, AttentionScratch::part, [&](std::size_t row, std::size_t end) {
        for (const KeySpan& span : block.spans()) work(row - block.first, end - row, block.seen(span, end));
    });
}

inline RowSpan at(RowSpan rows, std::size_t row, std::size_t column) noexcept { return {rows.row(row) + column, rows.stride}; }

/// Leaves e^(q k - the most of these) of a block of queries in `weights`, with zeros for the keys that a query does not see, and 1 /
/// their sums in `inverse`.
inline void attention_weights(ConstRowSpan q, std::size_t column, const QueryBlock& block, std::size_t d,
                              AttentionScratch& s) noexcept {
    const RowSpan weights = block.rows_in(s.weights);
    each_part(block, [&](std::size_t row, std::size_t rows, const KeySpan& span) {
        const ConstRowSpan queries{q.row(block.first + row) + column, q.stride};
        const ConstRowSpan keys = at(s.keys_across, 0, span.row);
        simd::gemm(queries.left(), keys.right(), at(weights, row, span.column).result(), {rows, span.panels(), d});
    });
    constexpr float hidden = -std::numeric_limits<float>::infinity();
    for (std::size_t r = block.first; r < block.last; ++r) {
        float* row = weights.row(r - block.first);
        for (const KeySpan& span : block.spans().first(block.spans().size() - 1)) {
            std::size_t seen = span.count;
            if (block.passage && span.row == block.passage->begin)
                seen = std::min(seen, positions_seen(block.run->position_of(r), block.passage->position, block.run->gap));
            std::fill(row + span.column + seen, row + span.column + simd::padded(span.count), hidden);
        }
        const std::size_t seen = block.own().column + (r + 1 - block.run->begin);
        s.inverse[r - block.first] = 1.0f / simd::softmax_weights(row, seen, row);
        std::fill(row + seen, row + block.columns(), 0.0f);
    }
}

/// out = weights · values, for some rows of each span at a time.
inline void attend_rows(const QueryBlock& block, RowSpan weights, ConstRowSpan values, std::size_t d, Rows& out) noexcept {
    each_part(block, [&](std::size_t row, std::size_t rows, const KeySpan& span) {
        const ConstRowSpan left = at(weights, row, span.column);
        simd::gemm(left.left(), values.from(span.row).right(), out.from(row).result(), {rows, panels_of(d), span.count},
                   span.column == 0 ? simd::GemmStart::zero : simd::GemmStart::accumulate);
    });
}

/// Adds weightsᵀ · of_queries to the rows of keys. Keys of the block itself are seen only by the queries from theirs on.
inline void add_to_keys(const QueryBlock& block, RowSpan weights, ConstRowSpan of_queries, std::size_t d, Rows& keys) noexcept {
    const auto add = [&](const KeySpan& span, std::size_t from) {
        const ConstRowSpan left = at(weights, from, span.column);
        simd::gemm(left.left_transposed(), of_queries.from(from).right(), keys.from(span.row).result(),
                   {span.count, panels_of(d), block.count() - from}, simd::GemmStart::accumulate);
    };
    for (KeySpan span : block.spans()) {
        if (span.column == block.own().column) span.count -= block.count();
        add(span, 0);
    }
    each_piece(block.first, block.last, AttentionScratch::part, [&](std::size_t row, std::size_t end) {
        const std::size_t keys_in_front = row - block.run->begin;
        add({row, end - row, block.own().column + keys_in_front}, row - block.first);
    });
}

/// out = softmax(q Kᵀ) V for every head; each row of the range sees what its run sees, and the run up to itself.
/// Shape     q, out (rows, heads · head_dim), those of the range   k, v (rows, kv_heads · head_dim)
/// Requires  q is scaled by 1/sqrt(head_dim) already
/// Cost      with begin = 0 and one run, 2 · heads · head_dim · rows² / 2 multiply-adds, and for each row half a part of keys more
/// Source    Vaswani et al. 2017, Attention is all you need, equation 1; Ainslie et al. 2023, GQA, section 2.2
inline void attention_forward(const AttentionShape& shape, const Attending<ConstRowSpan>& x, const AttendingRows& range,
                              RowSpan out, AttentionScratch& s) noexcept {
    const auto& [q, k, v] = x;
    const std::size_t rows = range.rows();
    const std::size_t d = shape.head_dim;
    const std::size_t sharing = shape.heads / shape.kv_heads;
    for (std::size_t g = 0; g < shape.kv_heads; ++g) {
        copy_columns({v, 0, g * d}, rows, d, {s.values});
        simd::transpose(k.row(0) + g * d, k.stride, rows, d, s.keys_across.row(0), s.keys_across.stride());
        for (std::size_t h = g * sharing; h < (g + 1) * sharing; ++h) {
            each_block(range, [&, column = h * d, queries = q, result = out](const QueryBlock& block) {
                attention_weights(queries, column, block, d, s);
                attend_rows(block, block.rows_in(s.weights), s.values, d, s.out);
                for (std::size_t r = 0; r < block.count(); ++r) simd::scale(s.out.row(r), s.inverse[r], d);
                copy_columns({s.out}, block.count(), d, {result, block.first, column});
            });
        }
    }
}

/// The derivative: q, k and v become their gradients. With W the weights, P = W / their sums, dout' = dout / their sums and
/// dW = dout' Vᵀ: dV = Wᵀ dout', dS = W · (dW - rowsum(dout' · out)), dq = dS K, dK = dSᵀ q. W is computed anew. Dividing dout
/// saves a pass over the weights.
/// Shape     q, out, dout (rows, heads · head_dim), from row `begin` on; out is what attention_forward gave
/// Cost      2.5 times that of attention_forward
/// Source    Dao et al. 2022, FlashAttention, algorithm 4
inline void attention_backward(const AttentionShape& shape, const Attending<RowSpan>& x, ConstRowSpan out, ConstRowSpan dout,
                               const AttendingRows& range, AttentionScratch& s) noexcept {
    const RowSpan q = x.q;
    const RowSpan k = x.k;
    const RowSpan v = x.v;
    const std::size_t rows = range.rows();
    const std::size_t d = shape.head_dim;
    const std::size_t sharing = shape.heads / shape.kv_heads;
    for (std::size_t g = 0; g < shape.kv_heads; ++g) {
        copy_columns({k, 0, g * d}, rows, d, {s.keys});
        simd::transpose(k.row(0) + g * d, k.stride, rows, d, s.keys_across.row(0), s.keys_across.stride());
        simd::transpose(v.row(0) + g * d, v.stride, rows, d, s.values_across.row(0), s.values_across.stride());
        // The last panel of keys may reach behind the rows. Weights of 0 do not help against infinities from an example before.
        for (std::size_t i = 0; i < d; ++i) std::fill_n(s.values_across.row(i) + rows, simd::panel_outputs, 0.0f);
        s.keys_gradient.clear(rows);
        s.values_gradient.clear(rows);
        for (std::size_t h = g * sharing; h < (g + 1) * sharing; ++h) {
            each_block(range, [&, column = h * d](const QueryBlock& block) {
                const std::size_t count = block.count();
                const RowSpan weights = block.rows_in(s.weights);
                const RowSpan weights_gradient = block.rows_in(s.weights_gradient);
                attention_weights(q, column, block, d, s);
                copy_columns({q, block.first, column}, count, d, {s.q});
                copy_columns({dout, block.first, column}, count, d, {s.out_gradient});
                for (std::size_t r = 0; r < count; ++r) simd::scale(s.out_gradient.row(r), s.inverse[r], d);
                add_to_keys(block, weights, s.out_gradient, d, s.values_gradient);
                each_part(block, [&](std::size_t row, std::size_t part, const KeySpan& span) {
                    const ConstRowSpan values = at(s.values_across, 0, span.row);
                    simd::gemm(s.out_gradient.from(row).left(), values.right(), at(weights_gradient, row, span.column).result(),
                               {part, span.panels(), d});
                    if (span.column != block.own().column) return;
                    for (std::size_t r = row; r < row + part; ++r) {
                        simd::attention_scores_backward(out.row(block.first + r) + column, s.out_gradient.row(r), d,
                                                        weights.row(r), weights_gradient.row(r), span.column + span.count);
                    }
                });
                add_to_keys(block, weights_gradient, s.q, d, s.keys_gradient);
                attend_rows(block, weights_gradient, s.keys, d, s.out);
                copy_columns({s.out}, count, d, {q, block.first, column});
            });
        }
        copy_columns({s.keys_gradient}, rows, d, {k, 0, g * d});
        copy_columns({s.values_gradient}, rows, d, {v, 0, g * d});
    }
}

}  // namespace flashback::inline FLASHBACK_ISA::detail
