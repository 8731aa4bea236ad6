/// \file The forward pass over one piece of tokens.
#pragma once

#include "flashback/core/executor.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/kv/kv_cache.hpp"
#include "flashback/model/detail/attention_half.hpp"
#include "flashback/model/detail/feed_forward_half.hpp"
#include "flashback/model/forward_parts.hpp"
#include "flashback/model/observer.hpp"
#include "flashback/model/piece_place.hpp"
#include "flashback/model/workspace.hpp"

#include <algorithm>
#include <cstddef>

namespace flashback::inline FLASHBACK_ISA {

namespace detail {

/// y = W x for some rows that are converted already.
inline void project(const ExecutorRef& executor, const simd::PackedMatrix& w, const simd::Activations& x, std::size_t rows,
                    const simd::MatmulResult& y) {
    run_product(executor, whole_product(w, rows), [&](const ProductPart& part) { multiply_part(w, part, x, {}, {}, y); });
}

/// The residual stream before the first block: rows of the embedding, or the rows that an adapter puts in their place. They are
/// projected if they have another width, and rows of the tables of token types and positions are added if there are any.
template <class Observer>
void embed(const Piece& piece, TokenSpan tokens, const Observer& observer) {
    const Transformer& model = piece.model;
    Workspace& work = piece.work;
    const TransformerConfig& c = model.config;
    const bool projects = c.embedding_width > 0;
    const auto each_row = [&](const auto& work_on) { run_rows(piece.executor, tokens.size(), c.width, work_on); };
    each_row([&](std::size_t r) {
        float* to =
            projects ? work.embedding_rows.data() + r * work.embedding_stride : work.stream.data() + r * work.stream_stride;
        if (const float* row = piece.adapter.adapter ? piece.adapter.adapter->embedding_row(tokens[r]) : nullptr) {
            std::copy_n(row, c.row_width(), to);
        } else {
            model.embedding.row(static_cast<std::size_t>(tokens[r]), to);
        }
        if (projects) convert({&model.project_in}, work.converted, r, to, 0, c.embedding_width);
    });
    if (projects) {
        project(piece.executor, model.project_in, work.converted.view(work.embedding_rows.data(), work.embedding_stride),
                tokens.size(), {work.stream.data(), work.stream_stride});
    }
    show(observer, Stage::token, 0, {tokens.size(), work.stream.data(), work.stream_stride, 0, c.width});
    if (c.positions != Positions::learned) return;
    each_row([&](std::size_t r) {
        float* x = work.stream.data() + r * work.stream_stride;
        float* row = work.added.data() + r * work.stream_stride;
        if (c.token_types > 0) {
            model.token_types.row(0, row);
            simd::add(x, row, c.width);
        }
        model.positions.row(work.positions[r] + c.position_offset, row);
        simd::add(x, row, c.width);
        if (c.token_types > 0) norm_row(c, model.embedding_norm, model.embedding_norm_bias, x, x);
    });
    show(observer, Stage::position, 0, {tokens.size(), work.added.data(), work.stream_stride, 0, c.width});
}

}  // namespace detail

/// Evaluates a piece of tokens, of one sequence or of several. It writes their keys and values to the caches without committing them,
/// and leaves the residual stream after the last block in `work.stream`. What a row comes to does not depend on the other places. An
/// observer sees all values on the way (detail::show says how it is called).
/// Requires  at most work.rows tokens, which are those of the places; all ids are rows of the embedding; each cache holds the
///           `first_row` positions of its place, and the rows are reserved in it; no cache has two places; the table of positions has those of
///           the piece
/// Cost      allocates nothing
template <KVCache Cache, class Observer = NoObserver>
void forward(const ForwardParts& parts, TokenSpan tokens, PiecePlaces<Cache> places, const Observer& observer = {}) {
    const detail::Piece piece{parts, tokens.size()};
    Workspace& work = parts.work;
    std::size_t row = 0;
    for (const PiecePlace<Cache>& place : places)
        for (std::size_t r = 0; r < place.rows; ++r) work.positions[row++] = place.first_position + r;
    detail::embed(piece, tokens, observer);
    detail::show(observer, Stage::stream, 0,
                 {tokens.size(), work.stream.data(), work.stream_stride, 0, parts.model.config.width});
    detail::rotary_angles(piece);
    for (std::size_t l = 0; l < parts.model.layers.size(); ++l) {
        detail::attention_half(piece, l, places, observer);
        detail::feed_forward_half(piece, l, observer);
    }
}

/// The logits of some rows that `forward` left in `work.stream`.
/// Shape     logits (rows, padded(vocab))
/// Requires  first_row + rows <= work.rows
template <class Observer = NoObserver>
void logits_of(const ForwardParts& parts, std::size_t first_row, std::size_t rows, float* logits,
               const Observer& observer = {}) {
    const Transformer& model = parts.model;
    Workspace& work = parts.work;
    const TransformerConfig& c = model.config;
    const simd::PackedMatrix& head = model.output_matrix();
    const bool projects = c.embedding_width > 0;
    detail::run_rows(parts.executor, rows, c.width, [&](std::size_t r) {
        const float* x = work.stream.data() + (first_row + r) * work.stream_stride;
        float* normed = work.normed.data() + r * work.stream_stride;
        if (c.final_norm) {
            detail::norm_row(c, model.output_norm, model.output_norm_bias, x, normed);
        } else {
            std::copy_n(x, c.width, normed);
        }
        detail::convert({projects ? &model.project_out : &head}, work.converted, r, normed, 0, c.width);
    });
    detail::show(observer, Stage::final_norm, 0, {rows, work.normed.data(), work.stream_stride, 0, c.width});
    simd::Activations last = work.converted.view(work.normed.data(), work.stream_stride);
    if (projects) {
        float* out = work.embedding_rows.data();
        detail::project(parts.executor, model.project_out, last, rows, {out, work.embedding_stride});
        for (std::size_t r = 0; r < rows; ++r)
            detail::convert({&head}, work.converted, r, out + r * work.embedding_stride, 0, c.embedding_width);
        last = work.converted.view(out, work.embedding_stride);
    }
    detail::project(parts.executor, head, last, rows, {logits, simd::padded(head.outputs())});
}

}  // namespace flashback::inline FLASHBACK_ISA
