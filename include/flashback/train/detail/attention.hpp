/// \file Causal attention of training: forward and backward, in blocks of 64 queries.
#pragma once

#include "flashback/data/example.hpp"
#include "flashback/simd/backward.hpp"
#include "flashback/simd/elementwise.hpp"
#include "flashback/simd/gemm.hpp"
#include "flashback/simd/softmax.hpp"
#include "flashback/simd/transpose.hpp"
#include "flashback/train/detail/rows.hpp"

#include <algorithm>
#include <cstddef>
#include <limits>

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
          keys_across(d, rows),
          values_across(d, rows),
          keys_gradient(rows, d),
          values_gradient(rows, d),
          weights(block, rows),
          weights_gradient(block, rows),
          q(block, d),
          out(block, d),
          out_gradient(block, d) {}

    static constexpr std::size_t block = 64;  // queries
    Rows keys, values;                        ///< (rows, head_dim)
    Rows keys_across, values_across;          ///< (head_dim, rows)
    Rows keys_gradient, values_gradient;      ///< (rows, head_dim)
    Rows weights, weights_gradient;           ///< (block, rows)
    Rows q, out, out_gradient;                ///< (block, head_dim)

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

/// The rows from `begin` to `end`, and what is beside the text among all rows up to `end`.
struct AttendingRows {
    std::size_t begin, end;
    PassageRows beside = {};
};

/// Leaves softmax(q Kᵀ) of a block of queries in `weights`, with zeros for the keys that a query does not see.
inline void attention_weights(ConstRowSpan q, std::size_t column, const AttendingRows& block, std::size_t d,
                              AttentionScratch& s) noexcept {
    const auto& [first, last, beside] = block;
    simd::GemmRows queries = q.left();
    queries.data = q.row(first) + column;
    simd::gemm(queries, s.keys_across.right(), s.weights.result(), {last - first, panels_of(last), d});
    for (std::size_t r = first; r < last; ++r) {
        float* row = s.weights.row(r - first);
        const auto [hidden, seen] = beside.hidden_from(r);
        std::fill(row + hidden, row + seen, -std::numeric_limits<float>::infinity());
        simd::softmax(row, r + 1, row);
        std::fill(row + r + 1, row + simd::padded(last), 0.0f);
    }
}

/// out = softmax(q Kᵀ) V for every head; each row of the range sees itself and all before, but a passage beside the text does not
/// see the text.
/// Shape     q, out (rows, heads · head_dim), those of the range   k, v (rows, kv_heads · head_dim)
/// Requires  q is scaled by 1/sqrt(head_dim) already
/// Cost      with begin = 0, 2 · heads · head_dim · rows² / 2 multiply-adds, and for each row half a block of queries more
/// Source    Vaswani et al. 2017, Attention is all you need, equation 1; Ainslie et al. 2023, GQA, section 2.2
inline void attention_forward(const AttentionShape& shape, const Attending<ConstRowSpan>& x, const AttendingRows& range,
                              RowSpan out, AttentionScratch& s) noexcept {
    const auto& [q, k, v] = x;
    const auto& [begin, rows, beside] = range;
    const std::size_t d = shape.head_dim;
    const std::size_t sharing = shape.heads / shape.kv_heads;
    for (std::size_t g = 0; g < shape.kv_heads; ++g) {
        copy_columns({v, 0, g * d}, rows, d, {s.values});
        simd::transpose(k.row(0) + g * d, k.stride, rows, d, s.keys_across.row(0), s.keys_across.stride());
        for (std::size_t h = g * sharing; h < (g + 1) * sharing; ++h) {
            for (std::size_t first = begin; first < rows; first += AttentionScratch::block) {
                const std::size_t last = std::min(first + AttentionScratch::block, rows);
                attention_weights(q, h * d, {first, last, beside}, d, s);
                simd::gemm(s.weights.left(), s.values.right(), s.out.result(), {last - first, panels_of(d), last});
                copy_columns({s.out}, last - first, d, {out, first, h * d});
            }
        }
    }
}

/// The derivative: q, k and v become their gradients. With P the weights and dP = dout Vᵀ: dV = Pᵀ dout,
/// dS = P · (dP - rowsum(dout · out)), dq = dS K, dK = dSᵀ q. P is computed anew.
/// Shape     q, out, dout (rows, heads · head_dim), from row `begin` on; out is what attention_forward gave
/// Cost      2.5 times that of attention_forward
/// Source    Dao et al. 2022, FlashAttention, algorithm 4
inline void attention_backward(const AttentionShape& shape, const Attending<RowSpan>& x, ConstRowSpan out, ConstRowSpan dout,
                               const AttendingRows& range, AttentionScratch& s) noexcept {
    const auto& [q, k, v] = x;
    const auto& [begin, rows, beside] = range;
    using simd::GemmStart;
    const std::size_t d = shape.head_dim;
    const std::size_t sharing = shape.heads / shape.kv_heads;
    for (std::size_t g = 0; g < shape.kv_heads; ++g) {
        copy_columns({k, 0, g * d}, rows, d, {s.keys});
        simd::transpose(k.row(0) + g * d, k.stride, rows, d, s.keys_across.row(0), s.keys_across.stride());
        simd::transpose(v.row(0) + g * d, v.stride, rows, d, s.values_across.row(0), s.values_across.stride());
        s.keys_gradient.clear(rows);
        s.values_gradient.clear(rows);
        for (std::size_t h = g * sharing; h < (g + 1) * sharing; ++h) {
            for (std::size_t first = begin; first < rows; first += AttentionScratch::block) {
                const std::size_t last = std::min(first + AttentionScratch::block, rows);
                const std::size_t count = last - first;
                attention_weights(q, h * d, {first, last, beside}, d, s);
                copy_columns({q, first, h * d}, count, d, {s.q});
                copy_columns({dout, first, h * d}, count, d, {s.out_gradient});
                simd::gemm(s.weights.left_transposed(), s.out_gradient.right(), s.values_gradient.result(),
                           {last, panels_of(d), count}, GemmStart::accumulate);
                simd::gemm(s.out_gradient.left(), s.values_across.right(), s.weights_gradient.result(),
                           {count, panels_of(last), d});
                for (std::size_t r = 0; r < count; ++r) {
                    simd::attention_scores_backward(out.row(first + r) + h * d, s.out_gradient.row(r), d, s.weights.row(r),
                                                    s.weights_gradient.row(r), last);
                }
                simd::gemm(s.weights_gradient.left_transposed(), s.q.right(), s.keys_gradient.result(),
                           {last, panels_of(d), count}, GemmStart::accumulate);
                simd::gemm(s.weights_gradient.left(), s.keys.right(), s.out.result(), {count, panels_of(d), last});
                copy_columns({s.out}, count, d, {q, first, h * d});
            }
        }
        copy_columns({s.keys_gradient}, rows, d, {k, 0, g * d});
        copy_columns({s.values_gradient}, rows, d, {v, 0, g * d});
    }
}

}  // namespace flashback::inline FLASHBACK_ISA::detail
