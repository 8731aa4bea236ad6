/// \file The forward pass over one piece of tokens.
#pragma once

#include "flashback/core/aligned_buffer.hpp"
#include "flashback/core/executor.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/kv/kv_cache.hpp"
#include "flashback/model/detail/run_lora.hpp"
#include "flashback/model/packed_adapter.hpp"
#include "flashback/model/transformer.hpp"
#include "flashback/simd/activation.hpp"
#include "flashback/simd/attention.hpp"
#include "flashback/simd/elementwise.hpp"
#include "flashback/simd/matmul.hpp"
#include "flashback/simd/norm.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <initializer_list>
#include <span>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// The activations of a piece of up to `rows` tokens. Rows are padded to whole panels and kept apart in the cache.
struct Workspace {
    Workspace(const TransformerConfig& c, std::size_t piece, std::size_t lora_rank = 0)
        : rows(piece),
          width(simd::row_stride(c.width)),
          q_width(simd::row_stride(c.heads * c.head_dim)),
          kv_width(simd::row_stride(c.kv_heads * c.head_dim)),
          hidden(simd::row_stride(c.hidden)),
          low_width(lora_rank == 0 ? 0 : simd::row_stride(lora_rank)),
          x(rows * width),
          normed(rows * width),
          q(rows * q_width),
          k(rows * kv_width),
          v(rows * kv_width),
          attended(rows * q_width),
          gate(rows * hidden),
          up(rows * hidden),
          low(3 * rows * low_width),
          cosine(rows * c.rotary_dim / 2),
          sine(rows * c.rotary_dim / 2),
          inputs(rows, std::max(c.width, c.heads * c.head_dim)),
          hidden_inputs(rows, c.hidden) {}

    std::size_t rows;
    std::size_t width, q_width, kv_width, hidden;  ///< strides
    std::size_t low_width;                         ///< stride of `low`; 0 without an adapter
    AlignedBuffer<float> x, normed;                ///< (rows, width): the residual stream, and what a block reads or adds
    AlignedBuffer<float> q, k, v, attended;        ///< (rows, q_width or kv_width)
    AlignedBuffer<float> gate, up;                 ///< (rows, hidden)
    AlignedBuffer<float> low;                      ///< (3, rows, low_width): A x for up to three products
    AlignedBuffer<float> cosine, sine;             ///< (rows, rotary_dim / 2)
    simd::ActivationBuffer inputs;                 ///< `normed` or `attended`, converted for the weights that follow
    simd::ActivationBuffer hidden_inputs;          ///< `gate`, converted
};

namespace detail {

// Work on elements is cut between threads at multiples of 64 only (rule R4): 4 panels.
inline constexpr std::size_t panel_grain = 4;

/// Converts a range of a row for all of some matrices, which may be of different types.
inline void convert(std::initializer_list<const simd::PackedMatrix*> matrices, simd::ActivationBuffer& to, std::size_t row,
                    const float* x, std::size_t first, std::size_t count) noexcept {
    bool bf16 = false;
    bool int8 = false;
    for (const simd::PackedMatrix* w : matrices) {
        bf16 |= simd::operand_of(w->type()) == simd::Operand::bf16;
        int8 |= simd::operand_of(w->type()) == simd::Operand::int8;
    }
    if (bf16) to.convert(simd::Operand::bf16, row, x, first, count);
    if (int8) to.convert(simd::Operand::int8, row, x, first, count);
}

/// The adapter's part of a product of a layer; `slot` says where in `work.low`.
inline RunLora lora_of(const AdapterUse& use, std::size_t layer, LinearModule module, Workspace& work, std::size_t slot = 0) {
    return {use, layer, module, work.low.data() + slot * work.rows * work.low_width, work.low_width};
}

/// x += y Wᵀ, where x is the residual stream; the product itself is left in `work.normed`.
inline void project_to_residual(const ExecutorRef& executor, const simd::PackedMatrix& w, const RunLora& lora,
                                const simd::Activations& y, std::size_t rows, Workspace& work) {
    run_down(executor, y.x, y.x_stride, rows, lora);
    executor.run_ranges(w.panels(), panel_grain, [&](std::size_t first, std::size_t last) {
        simd::matmul(w, first, last, y, rows, work.normed.data(), work.width);
        lora.up(first, last, rows, work.normed.data(), work.width);
        const std::size_t begin = first * simd::panel_outputs;
        const std::size_t end = std::min(last * simd::panel_outputs, w.outputs());
        for (std::size_t r = 0; r < rows; ++r)
            simd::add(work.x.data() + r * work.width + begin, work.normed.data() + r * work.width + begin, end - begin);
    });
}

/// Queries, keys and values of all rows, as one range of panels: one fork and join for three products.
inline void project_qkv(const ExecutorRef& executor, const TransformerLayer& layer, const AdapterUse& use, std::size_t number,
                        std::size_t rows, Workspace& work) {
    struct Part {
        const simd::PackedMatrix& w;
        RunLora lora;
        float* y;
        std::size_t stride, start;
    };
    const std::size_t q = layer.q.panels();
    const std::size_t k = layer.k.panels();
    const Part parts[]{{layer.q, lora_of(use, number, LinearModule::q, work, 0), work.q.data(), work.q_width, 0},
                       {layer.k, lora_of(use, number, LinearModule::k, work, 1), work.k.data(), work.kv_width, q},
                       {layer.v, lora_of(use, number, LinearModule::v, work, 2), work.v.data(), work.kv_width, q + k}};
    const simd::Activations x = work.inputs.view(work.normed.data(), work.width);
    run_down(executor, x.x, x.x_stride, rows, parts[0].lora, parts[1].lora, parts[2].lora);
    executor.run_ranges(q + k + layer.v.panels(), panel_grain, [&](std::size_t first, std::size_t last) {
        for (const Part& part : parts) {
            const std::size_t begin = std::max(first, part.start);
            const std::size_t end = std::min(last, part.start + part.w.panels());
            if (begin >= end) continue;
            simd::matmul(part.w, begin - part.start, end - part.start, x, rows, part.y, part.stride);
            part.lora.up(begin - part.start, end - part.start, rows, part.y, part.stride);
        }
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

/// Leaves the normed rows in `work.normed` and, converted for `readers`, in `work.inputs`.
inline void normalise(const ExecutorRef& executor, const std::vector<float>& weight, float epsilon, std::size_t rows,
                      std::initializer_list<const simd::PackedMatrix*> readers, Workspace& work) {
    executor.run_ranges(rows, 1, [&](std::size_t first, std::size_t last) {
        for (std::size_t r = first; r < last; ++r) {
            float* normed = work.normed.data() + r * work.width;
            simd::rms_norm(work.x.data() + r * work.width, weight.data(), weight.size(), epsilon, normed);
            convert(readers, work.inputs, r, normed, 0, weight.size());
        }
    });
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
            for (std::size_t h = 0; h < c.heads; ++h) simd::rotate_pairs(q + h * c.head_dim, cosine, sine, pairs);
            simd::scale(q, scale, c.heads * c.head_dim);
            for (std::size_t h = 0; h < c.kv_heads; ++h) {
                simd::rotate_pairs(k + h * c.head_dim, cosine, sine, pairs);
                cache.write(layer, h, first_position + r, k + h * c.head_dim,
                            work.v.data() + r * work.kv_width + h * c.head_dim);
            }
        }
    });
}

/// Heads that share keys and values, and rows beside each other, attend together; which ones, changes no bit.
template <KVCache Cache>
void attend_all(const ExecutorRef& executor, const TransformerConfig& c, std::size_t layer, std::size_t first_position,
                std::size_t rows, Workspace& work, const Cache& cache) {
    const std::size_t sharing = c.heads / c.kv_heads;
    const std::size_t rows_together = std::max<std::size_t>(simd::attention_queries / sharing, 1);
    const std::size_t blocks = (rows + rows_together - 1) / rows_together;
    const DType element = cache.shape().element;
    const auto attend = [&](std::span<const simd::AttentionQuery> queries, const auto& tile) {
        simd::with_element(element, [&](auto e) { simd::attend<decltype(e)>(queries, tile, c.head_dim); });
    };
    // Later rows cost more. Tasks that are dealt out in turn leave every thread about as many of each.
    executor.run(c.kv_heads * blocks, [&](std::size_t task) {
        const std::size_t kv_head = task % c.kv_heads;
        const std::size_t begin = task / c.kv_heads * rows_together;
        const std::size_t end = std::min(begin + rows_together, rows);
        const auto tile = [&](std::size_t t) { return cache.tile(layer, kv_head, t); };
        simd::AttentionQuery queries[simd::attention_queries];
        std::size_t count = 0;
        for (std::size_t r = begin; r < end; ++r) {
            for (std::size_t h = kv_head * sharing; h < (kv_head + 1) * sharing; ++h) {
                const std::size_t at = r * work.q_width + h * c.head_dim;
                queries[count++] = {work.q.data() + at, work.attended.data() + at, first_position + r};
                if (count == simd::attention_queries) {
                    attend({queries, count}, tile);
                    count = 0;
                }
            }
        }
        attend({queries, count}, tile);
    });
}

inline void feed_forward(const ExecutorRef& executor, const TransformerLayer& layer, const AdapterUse& use, std::size_t number,
                         std::size_t rows, Workspace& work) {
    const simd::Activations x = work.inputs.view(work.normed.data(), work.width);
    const RunLora gate_lora = lora_of(use, number, LinearModule::gate, work, 0);
    const RunLora up_lora = lora_of(use, number, LinearModule::up, work, 1);
    run_down(executor, x.x, x.x_stride, rows, gate_lora, up_lora);
    executor.run_ranges(layer.gate.panels(), panel_grain, [&](std::size_t first, std::size_t last) {
        simd::matmul(layer.gate, first, last, x, rows, work.gate.data(), work.hidden);
        gate_lora.up(first, last, rows, work.gate.data(), work.hidden);
        simd::matmul(layer.up, first, last, x, rows, work.up.data(), work.hidden);
        up_lora.up(first, last, rows, work.up.data(), work.hidden);
        const std::size_t begin = first * simd::panel_outputs;
        const std::size_t count = (last - first) * simd::panel_outputs;
        for (std::size_t r = 0; r < rows; ++r) {
            float* gate = work.gate.data() + r * work.hidden;
            simd::silu_times(gate + begin, work.up.data() + r * work.hidden + begin, count);
            convert({&layer.down}, work.hidden_inputs, r, gate, begin, std::min(count, layer.down.inputs() - begin));
        }
    });
    project_to_residual(executor, layer.down, lora_of(use, number, LinearModule::down, work),
                        work.hidden_inputs.view(work.gate.data(), work.hidden), rows, work);
}

}  // namespace detail

/// Evaluates a piece of tokens: writes their keys and values to the cache, without committing them, and leaves the residual
/// stream behind the last block in `work.x`.
/// Requires  tokens.size() <= work.rows; all ids are rows of the embedding; the cache holds `first_position` positions and
///           has room for the piece; the adapter fits the model, and `work` was made for its greatest rank
/// Cost      allocates nothing
template <KVCache Cache>
void forward(const Transformer& model, TokenSpan tokens, std::size_t first_position, Cache& cache, Workspace& work,
             const ExecutorRef& executor, const AdapterUse& use = {}) {
    const TransformerConfig& c = model.config;
    const std::size_t rows = tokens.size();
    executor.run_ranges(rows, 1, [&](std::size_t first, std::size_t last) {
        for (std::size_t r = first; r < last; ++r) {
            float* x = work.x.data() + r * work.width;
            if (const float* row = use.adapter ? use.adapter->embedding_row(tokens[r]) : nullptr) {
                std::copy_n(row, c.width, x);
            } else {
                model.embedding.row(static_cast<std::size_t>(tokens[r]), x);
            }
        }
    });
    detail::rotary_angles(model, first_position, rows, work);
    for (std::size_t l = 0; l < c.layers; ++l) {
        const TransformerLayer& layer = model.layers[l];
        detail::normalise(executor, layer.attention_norm, c.norm_epsilon, rows, {&layer.q, &layer.k, &layer.v}, work);
        detail::project_qkv(executor, layer, use, l, rows, work);
        detail::rotate_and_store(executor, model, l, first_position, rows, work, cache);
        detail::attend_all(executor, c, l, first_position, rows, work, cache);
        executor.run_ranges(rows, 1, [&](std::size_t first, std::size_t last) {
            for (std::size_t r = first; r < last; ++r) {
                detail::convert({&layer.output}, work.inputs, r, work.attended.data() + r * work.q_width, 0,
                                layer.output.inputs());
            }
        });
        detail::project_to_residual(executor, layer.output, detail::lora_of(use, l, LinearModule::output, work),
                                    work.inputs.view(work.attended.data(), work.q_width), rows, work);
        detail::normalise(executor, layer.ffn_norm, c.norm_epsilon, rows, {&layer.gate, &layer.up}, work);
        detail::feed_forward(executor, layer, use, l, rows, work);
    }
}

/// The logits of some rows that `forward` left in `work.x`.
/// Shape     logits (rows, padded(vocab))
/// Requires  first_row + rows <= work.rows
inline void logits_of(const Transformer& model, std::size_t first_row, std::size_t rows, Workspace& work,
                      const ExecutorRef& executor, float* logits) {
    const simd::PackedMatrix& head = model.output_matrix();
    for (std::size_t r = 0; r < rows; ++r) {
        float* normed = work.normed.data() + r * work.width;
        simd::rms_norm(work.x.data() + (first_row + r) * work.width, model.output_norm.data(), model.config.width,
                       model.config.norm_epsilon, normed);
        detail::convert({&head}, work.inputs, r, normed, 0, model.config.width);
    }
    executor.run_ranges(head.panels(), detail::panel_grain, [&](std::size_t first, std::size_t last) {
        simd::matmul(head, first, last, work.inputs.view(work.normed.data(), work.width), rows, logits,
                     simd::padded(head.outputs()));
    });
}

}  // namespace flashback::inline FLASHBACK_ISA
