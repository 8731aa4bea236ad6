/// \file The forward pass over one piece of tokens.
#pragma once

#include "flashback/core/aligned_buffer.hpp"
#include "flashback/core/executor.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/kv/kv_cache.hpp"
#include "flashback/model/transformer.hpp"
#include "flashback/simd/plain/attention.hpp"
#include "flashback/simd/plain/matmul.hpp"
#include "flashback/simd/plain/rows.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace flashback::inline FLASHBACK_ISA {

/// The activations of a piece of up to `rows` tokens. Rows are padded to whole panels; the padding of `x` stays 0 (rule R3).
struct Workspace {
    Workspace(const TransformerConfig& c, std::size_t piece)
        : rows(piece),
          width(simd::padded(c.width)),
          q_width(simd::padded(c.heads * c.head_dim)),
          kv_width(simd::padded(c.kv_heads * c.head_dim)),
          hidden(simd::padded(c.hidden)),
          x(rows * width),
          normed(rows * width),
          q(rows * q_width),
          k(rows * kv_width),
          v(rows * kv_width),
          attended(rows * q_width),
          gate(rows * hidden),
          up(rows * hidden),
          cosine(rows * c.rotary_dim / 2),
          sine(rows * c.rotary_dim / 2) {
        std::fill_n(x.data(), x.size(), 0.0f);
    }

    std::size_t rows;
    std::size_t width, q_width, kv_width, hidden;  ///< strides
    AlignedBuffer<float> x, normed;                ///< (rows, width): the residual stream, and what a block reads or adds
    AlignedBuffer<float> q, k, v, attended;        ///< (rows, q_width or kv_width)
    AlignedBuffer<float> gate, up;                 ///< (rows, hidden)
    AlignedBuffer<float> cosine, sine;             ///< (rows, rotary_dim / 2)
};

namespace detail {

// Work on elements is cut between threads at multiples of 64 only (rule R4): 4 panels.
inline constexpr std::size_t panel_grain = 4;

/// y = x Wᵀ for `rows` rows.
inline void project(const ExecutorRef& executor, const simd::PackedMatrix& w, const float* x, std::size_t rows,
                    std::size_t x_stride, float* y, std::size_t y_stride) {
    executor.run_ranges(w.panels(), panel_grain, [&](std::size_t first, std::size_t last) {
        simd::plain::matmul(w, first, last, x, rows, x_stride, y, y_stride);
    });
}

/// Angles depend on the absolute position alone: computed in double, rounded once (rule R5).
inline void rotary_angles(const Transformer& model, std::size_t first_position, std::size_t rows, Workspace& work) {
    const std::size_t pairs = model.rotary_frequencies.size();
    for (std::size_t r = 0; r < rows; ++r) {
        for (std::size_t i = 0; i < pairs; ++i) {
            const double angle = static_cast<double>(first_position + r) * model.rotary_frequencies[i];
            work.cosine[r * pairs + i] = static_cast<float>(std::cos(angle));
            work.sine[r * pairs + i] = static_cast<float>(std::sin(angle));
        }
    }
}

inline void normalise(const ExecutorRef& executor, const std::vector<float>& weight, float epsilon, std::size_t rows,
                      Workspace& work) {
    executor.run_ranges(rows, 1, [&](std::size_t first, std::size_t last) {
        for (std::size_t r = first; r < last; ++r) {
            simd::plain::rms_norm(work.x.data() + r * work.width, weight.data(), weight.size(), epsilon,
                                  work.normed.data() + r * work.width);
        }
    });
}

inline void add_to_residual(std::size_t rows, Workspace& work, std::size_t width) {
    for (std::size_t r = 0; r < rows; ++r)
        simd::plain::add(work.x.data() + r * work.width, work.normed.data() + r * work.width, width);
}

/// Rotates queries and keys, scales queries by 1/sqrt(head_dim), and writes keys and values to the cache (rule R6).
template <KVCache Cache>
void rotate_and_store(const ExecutorRef& executor, const Transformer& model, std::size_t layer, std::size_t first_position,
                      std::size_t rows, Workspace& work, Cache& cache) {
    const TransformerConfig& c = model.config;
    const std::size_t pairs = model.rotary_frequencies.size();
    const float scale = 1.0f / std::sqrt(static_cast<float>(c.head_dim));
    executor.run_ranges(rows, 1, [&](std::size_t first, std::size_t last) {
        for (std::size_t r = first; r < last; ++r) {
            const float* cosine = work.cosine.data() + r * pairs;
            const float* sine = work.sine.data() + r * pairs;
            float* q = work.q.data() + r * work.q_width;
            float* k = work.k.data() + r * work.kv_width;
            for (std::size_t h = 0; h < c.heads; ++h) simd::plain::rotate_pairs(q + h * c.head_dim, cosine, sine, pairs);
            for (std::size_t i = 0; i < c.heads * c.head_dim; ++i) q[i] *= scale;
            for (std::size_t h = 0; h < c.kv_heads; ++h) {
                simd::plain::rotate_pairs(k + h * c.head_dim, cosine, sine, pairs);
                cache.write(layer, h, first_position + r, k + h * c.head_dim,
                            work.v.data() + r * work.kv_width + h * c.head_dim);
            }
        }
    });
}

template <KVCache Cache>
void attend_all(const ExecutorRef& executor, const TransformerConfig& c, std::size_t layer, std::size_t first_position,
                std::size_t rows, Workspace& work, const Cache& cache) {
    executor.run_ranges(rows * c.heads, 1, [&](std::size_t first, std::size_t last) {
        for (std::size_t i = first; i < last; ++i) {
            const std::size_t r = i / c.heads;
            const std::size_t h = i % c.heads;
            const std::size_t at = r * work.q_width + h * c.head_dim;
            const auto tile = [&](std::size_t t) { return cache.tile(layer, h / (c.heads / c.kv_heads), t); };
            simd::plain::attend(work.q.data() + at, tile, c.head_dim, first_position + r, work.attended.data() + at);
        }
    });
}

inline void feed_forward(const ExecutorRef& executor, const TransformerLayer& layer, std::size_t rows, Workspace& work) {
    executor.run_ranges(layer.gate.panels(), panel_grain, [&](std::size_t first, std::size_t last) {
        simd::plain::matmul(layer.gate, first, last, work.normed.data(), rows, work.width, work.gate.data(), work.hidden);
        simd::plain::matmul(layer.up, first, last, work.normed.data(), rows, work.width, work.up.data(), work.hidden);
        const std::size_t begin = first * simd::panel_outputs;
        const std::size_t count = (last - first) * simd::panel_outputs;
        for (std::size_t r = 0; r < rows; ++r) {
            const std::size_t at = r * work.hidden + begin;
            simd::plain::silu_times(work.gate.data() + at, work.up.data() + at, count);
        }
    });
    project(executor, layer.down, work.gate.data(), rows, work.hidden, work.normed.data(), work.width);
}

}  // namespace detail

/// Evaluates a piece of tokens: writes their keys and values to the cache, without committing them, and leaves the residual
/// stream behind the last block in `work.x`.
/// Requires  tokens.size() <= work.rows; all ids are rows of the embedding; the cache holds `first_position` positions and
///           has room for the piece
/// Cost      allocates nothing
template <KVCache Cache>
void forward(const Transformer& model, TokenSpan tokens, std::size_t first_position, Cache& cache, Workspace& work,
             const ExecutorRef& executor) {
    const TransformerConfig& c = model.config;
    const std::size_t rows = tokens.size();
    for (std::size_t r = 0; r < rows; ++r) {
        for (std::size_t i = 0; i < c.width; ++i)
            work.x[r * work.width + i] = model.embedding.at(static_cast<std::size_t>(tokens[r]), i);
    }
    detail::rotary_angles(model, first_position, rows, work);
    for (std::size_t l = 0; l < c.layers; ++l) {
        const TransformerLayer& layer = model.layers[l];
        detail::normalise(executor, layer.attention_norm, c.norm_epsilon, rows, work);
        detail::project(executor, layer.q, work.normed.data(), rows, work.width, work.q.data(), work.q_width);
        detail::project(executor, layer.k, work.normed.data(), rows, work.width, work.k.data(), work.kv_width);
        detail::project(executor, layer.v, work.normed.data(), rows, work.width, work.v.data(), work.kv_width);
        detail::rotate_and_store(executor, model, l, first_position, rows, work, cache);
        detail::attend_all(executor, c, l, first_position, rows, work, cache);
        detail::project(executor, layer.output, work.attended.data(), rows, work.q_width, work.normed.data(), work.width);
        detail::add_to_residual(rows, work, c.width);
        detail::normalise(executor, layer.ffn_norm, c.norm_epsilon, rows, work);
        detail::feed_forward(executor, layer, rows, work);
        detail::add_to_residual(rows, work, c.width);
    }
}

/// The logits of one row that `forward` left in `work.x`.
/// Shape     logits (padded(vocab))
inline void logits_of(const Transformer& model, std::size_t row, Workspace& work, const ExecutorRef& executor, float* logits) {
    const simd::PackedMatrix& head = model.output_matrix();
    simd::plain::rms_norm(work.x.data() + row * work.width, model.output_norm.data(), model.config.width,
                          model.config.norm_epsilon, work.normed.data());
    detail::project(executor, head, work.normed.data(), 1, work.width, logits, simd::padded(head.outputs()));
}

}  // namespace flashback::inline FLASHBACK_ISA
