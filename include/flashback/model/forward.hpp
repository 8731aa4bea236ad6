/// \file The forward pass over one piece of tokens.
#pragma once

#include "flashback/core/executor.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/kv/kv_cache.hpp"
#include "flashback/model/detail/attention_half.hpp"
#include "flashback/model/detail/feed_forward_half.hpp"
#include "flashback/model/observer.hpp"
#include "flashback/model/workspace.hpp"

#include <algorithm>
#include <cstddef>

namespace flashback::inline FLASHBACK_ISA {

namespace detail {

/// y = W x for some rows that are converted already.
inline void project(const ExecutorRef& executor, const simd::PackedMatrix& w, const simd::Activations& x, std::size_t rows,
                    float* y, std::size_t y_stride) {
    executor.run_ranges(w.panels(), panel_grain,
                        [&](std::size_t first, std::size_t last) { simd::matmul(w, first, last, x, rows, y, y_stride); });
}

/// The residual stream before the first block: rows of the embedding, or the rows that an adapter puts in their place. They are
/// projected if they have another width, and rows of the table of positions are added if there is one.
template <class Observer>
void embed(const Transformer& model, TokenSpan tokens, std::size_t first_position, Workspace& work, const ExecutorRef& executor,
           const AdapterUse& use, const Observer& observer) {
    const TransformerConfig& c = model.config;
    const bool projects = c.embedding_width > 0;
    const auto each_row = [&](const auto& work_on) {
        executor.run_ranges(tokens.size(), 1, [&](std::size_t first, std::size_t last) {
            for (std::size_t r = first; r < last; ++r) work_on(r);
        });
    };
    each_row([&](std::size_t r) {
        float* to = projects ? work.projected.data() + r * work.row_width : work.x.data() + r * work.width;
        if (const float* row = use.adapter ? use.adapter->embedding_row(tokens[r]) : nullptr) {
            std::copy_n(row, c.row_width(), to);
        } else {
            model.embedding.row(static_cast<std::size_t>(tokens[r]), to);
        }
        if (projects) convert({&model.project_in}, work.inputs, r, to, 0, c.embedding_width);
    });
    if (projects) {
        project(executor, model.project_in, work.inputs.view(work.projected.data(), work.row_width), tokens.size(),
                work.x.data(), work.width);
    }
    show(observer, Stage::token, 0, tokens.size(), work.x.data(), work.width, 0, c.width);
    if (c.positions != Positions::learned) return;
    each_row([&](std::size_t r) {
        float* row = work.normed.data() + r * work.width;
        model.positions.row(first_position + r + c.position_offset, row);
        simd::add(work.x.data() + r * work.width, row, c.width);
    });
    show(observer, Stage::position, 0, tokens.size(), work.normed.data(), work.width, 0, c.width);
}

}  // namespace detail

/// Evaluates a piece of tokens. It writes their keys and values to the cache without committing them, and leaves the residual
/// stream after the last block in `work.x`. An observer sees all values on the way (detail::show says how it is called).
/// Requires  tokens.size() <= work.rows; all ids are rows of the embedding; the cache holds `first_position` positions and has
///           room for the piece, and so has the table of positions; the adapter fits the model, and `work` was made for its
///           greatest rank
/// Cost      allocates nothing
template <KVCache Cache, class Observer = NoObserver>
void forward(const Transformer& model, TokenSpan tokens, std::size_t first_position, Cache& cache, Workspace& work,
             const ExecutorRef& executor, const AdapterUse& use = {}, const Observer& observer = {}) {
    const std::size_t rows = tokens.size();
    detail::embed(model, tokens, first_position, work, executor, use, observer);
    detail::show(observer, Stage::stream, 0, rows, work.x.data(), work.width, 0, model.config.width);
    detail::rotary_angles(model, first_position, rows, work);
    for (std::size_t l = 0; l < model.layers.size(); ++l) {
        detail::attention_half(executor, model, use, l, first_position, rows, work, cache, observer);
        detail::feed_forward_half(executor, model, use, l, rows, work, observer);
    }
}

/// The logits of some rows that `forward` left in `work.x`.
/// Shape     logits (rows, padded(vocab))
/// Requires  first_row + rows <= work.rows
template <class Observer = NoObserver>
void logits_of(const Transformer& model, std::size_t first_row, std::size_t rows, Workspace& work, const ExecutorRef& executor,
               float* logits, const Observer& observer = {}) {
    const TransformerConfig& c = model.config;
    const simd::PackedMatrix& head = model.output_matrix();
    const bool projects = c.embedding_width > 0;
    for (std::size_t r = 0; r < rows; ++r) {
        const float* x = work.x.data() + (first_row + r) * work.width;
        float* normed = work.normed.data() + r * work.width;
        if (c.final_norm) {
            detail::norm_row(c, model.output_norm, model.output_norm_bias, x, normed);
        } else {
            std::copy_n(x, c.width, normed);
        }
        detail::convert({projects ? &model.project_out : &head}, work.inputs, r, normed, 0, c.width);
    }
    detail::show(observer, Stage::final_norm, 0, rows, work.normed.data(), work.width, 0, c.width);
    simd::Activations last = work.inputs.view(work.normed.data(), work.width);
    if (projects) {
        detail::project(executor, model.project_out, last, rows, work.projected.data(), work.row_width);
        for (std::size_t r = 0; r < rows; ++r)
            detail::convert({&head}, work.inputs, r, work.projected.data() + r * work.row_width, 0, c.embedding_width);
        last = work.inputs.view(work.projected.data(), work.row_width);
    }
    detail::project(executor, head, last, rows, logits, simd::padded(head.outputs()));
}

}  // namespace flashback::inline FLASHBACK_ISA
