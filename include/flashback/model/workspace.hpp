/// \file The memory of a forward pass.
#pragma once

#include "flashback/model/transformer_config.hpp"
#include "flashback/simd/activations.hpp"
#include "flashback/simd/matmul.hpp"
#include "flashback/tensor/aligned_buffer.hpp"

#include <algorithm>
#include <cstddef>

namespace flashback::inline FLASHBACK_ISA {

/// The activations of a piece of up to `rows` tokens. Rows are padded to whole panels, and their distance keeps them from
/// evicting each other from the cache.
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
          gate(c.gated ? rows * hidden : 0),
          up(rows * hidden),
          low(3 * rows * low_width),
          cosine(rows * c.rotary_dim / 2),
          sine(rows * c.rotary_dim / 2),
          row_width(c.embedding_width == 0 ? 0 : simd::row_stride(c.embedding_width)),
          projected(rows * row_width),
          inputs(rows, std::max({c.width, c.heads * c.head_dim, c.embedding_width})),
          hidden_inputs(rows, c.hidden) {}

    std::size_t rows;
    std::size_t width, q_width, kv_width, hidden;  ///< strides
    std::size_t low_width;                         ///< stride of `low`; 0 without an adapter
    AlignedBuffer<float> x, normed;                ///< (rows, width): the residual stream, and what a block reads or adds
    AlignedBuffer<float> q, k, v, attended;        ///< (rows, q_width or kv_width)
    AlignedBuffer<float> gate, up;                 ///< (rows, hidden); no gate if the model has none
    AlignedBuffer<float> low;                      ///< (3, rows, low_width): A x for up to three products
    AlignedBuffer<float> cosine, sine;             ///< (rows, rotary_dim / 2)
    std::size_t row_width;                         ///< stride of `projected`; 0 if embedding and stream have the same width
    AlignedBuffer<float> projected;                ///< (rows, row_width): rows of the embedding, and what the head reads
    simd::ActivationBuffer inputs;         ///< what a block reads, or `attended`, converted for the weights that come next
    simd::ActivationBuffer hidden_inputs;  ///< `gate`, or `up` if there is no gate, converted
};

}  // namespace flashback::inline FLASHBACK_ISA
