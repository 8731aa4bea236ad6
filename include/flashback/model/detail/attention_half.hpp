/// \file The half of a block that does attention.
#pragma once

#include "flashback/core/executor.hpp"
#include "flashback/kv/kv_cache.hpp"
#include "flashback/model/detail/block_parts.hpp"
#include "flashback/model/observer.hpp"
#include "flashback/simd/attention.hpp"
#include "flashback/simd/elementwise.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

/// Queries, keys and values of all rows, as one range of panels: threads fork and join once for three products.
inline void project_qkv(const ExecutorRef& executor, const TransformerLayer& layer, const AdapterUse& use, std::size_t number,
                        const float* from, std::size_t rows, Workspace& work) {
    struct Part {
        const simd::PackedMatrix& w;
        const std::vector<float>& bias;
        RunLora lora;
        float* y;
        std::size_t stride, start;
    };
    const std::size_t q = layer.q.panels();
    const std::size_t k = layer.k.panels();
    const Part parts[]{
        {layer.q, layer.bias(LinearModule::q), lora_of(use, number, LinearModule::q, work, 0), work.q.data(), work.q_width, 0},
        {layer.k, layer.bias(LinearModule::k), lora_of(use, number, LinearModule::k, work, 1), work.k.data(), work.kv_width, q},
        {layer.v, layer.bias(LinearModule::v), lora_of(use, number, LinearModule::v, work, 2), work.v.data(), work.kv_width,
         q + k}};
    const simd::Activations x = work.inputs.view(from, work.width);
    run_down(executor, x.x, x.x_stride, rows, parts[0].lora, parts[1].lora, parts[2].lora);
    executor.run_ranges(q + k + layer.v.panels(), panel_grain, [&](std::size_t first, std::size_t last) {
        for (const Part& part : parts) {
            const std::size_t begin = std::max(first, part.start);
            const std::size_t end = std::min(last, part.start + part.w.panels());
            if (begin >= end) continue;
            simd::matmul(part.w, begin - part.start, end - part.start, x, rows, part.y, part.stride);
            part.lora.up(begin - part.start, end - part.start, rows, part.y, part.stride);
            add_bias(part.bias, begin - part.start, end - part.start, rows, part.y, part.stride);
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

/// Heads that share keys and values, and neighbouring rows, attend together. How they are grouped changes no bit.
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
    // Later rows cost more. Dealing tasks out in turn gives every thread about as many of each.
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

/// x += attention(x).
template <KVCache Cache, class Observer>
void attention_half(const ExecutorRef& executor, const Transformer& model, const AdapterUse& use, std::size_t number,
                    std::size_t first_position, std::size_t rows, Workspace& work, Cache& cache, const Observer& observer) {
    const auto see = [&](Stage stage, const float* values, std::size_t stride, std::size_t count) {
        show(observer, stage, number, rows, values, stride, 0, count);
    };
    const TransformerConfig& c = model.config;
    const TransformerLayer& layer = model.layers[number];
    const float* x =
        read_stream(executor, c, layer.attention_norm, layer.attention_norm_bias, rows, {&layer.q, &layer.k, &layer.v}, work);
    if (!c.post_norm) see(Stage::attention_norm, x, work.width, c.width);
    project_qkv(executor, layer, use, number, x, rows, work);
    see(Stage::query, work.q.data(), work.q_width, c.outputs(LinearModule::q));
    see(Stage::key, work.k.data(), work.kv_width, c.outputs(LinearModule::k));
    see(Stage::value, work.v.data(), work.kv_width, c.outputs(LinearModule::v));
    rotate_and_store(executor, model, number, first_position, rows, work, cache);
    attend_all(executor, c, number, first_position, rows, work, cache);
    see(Stage::attended, work.attended.data(), work.q_width, c.outputs(LinearModule::q));
    executor.run_ranges(rows, 1, [&](std::size_t first, std::size_t last) {
        for (std::size_t r = first; r < last; ++r) {
            convert({&layer.output}, work.inputs, r, work.attended.data() + r * work.q_width, 0, layer.output.inputs());
        }
    });
    project_to_residual(executor, layer, LinearModule::output, lora_of(use, number, LinearModule::output, work),
                        work.inputs.view(work.attended.data(), work.q_width), rows, work);
    see(Stage::attention_output, work.normed.data(), work.width, c.width);
    norm_stream(executor, c, layer.attention_norm, layer.attention_norm_bias, rows, work);
    see(Stage::attention_stream, work.x.data(), work.width, c.width);
}

}  // namespace flashback::inline FLASHBACK_ISA::detail
