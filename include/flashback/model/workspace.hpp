/// \file The memory of a forward pass.
#pragma once

#include "flashback/model/transformer_config.hpp"
#include "flashback/simd/activations.hpp"
#include "flashback/simd/attention.hpp"
#include "flashback/simd/matmul.hpp"
#include "flashback/tensor/aligned_buffer.hpp"

#include <algorithm>
#include <cstddef>

namespace flashback::inline FLASHBACK_ISA {

/// The activations of a piece of up to `rows` tokens. Rows are padded to whole panels, and their distance keeps them from
/// evicting each other from the cache.
struct Workspace {
    /// Room for `piece` tokens, with adapters of up to `lora_rank`. Threads may share the keys of a single token that sees up to
    /// `seen` positions.
    Workspace(const TransformerConfig& c, std::size_t piece, std::size_t lora_rank = 0, std::size_t seen = 0)
        : rows(piece),
          parts(seen > simd::AttentionParts::positions ? 1 + simd::AttentionParts::within(seen) : 0),
          stream_stride(simd::row_stride(c.width)),
          q_stride(simd::row_stride(c.heads * c.head_dim)),
          kv_stride(simd::row_stride(c.kv_heads * c.head_dim)),
          hidden_stride(simd::row_stride(c.hidden)),
          lora_stride(lora_rank == 0 ? 0 : simd::row_stride(lora_rank)),
          embedding_stride(c.embedding_width == 0 ? 0 : simd::row_stride(c.embedding_width)),
          stream(rows * stream_stride),
          normed(rows * stream_stride),
          added(rows * stream_stride),
          queries(rows * q_stride),
          keys(rows * kv_stride),
          values(rows * kv_stride),
          attended(rows * q_stride),
          part_sums(parts * c.heads * simd::AttentionParts::sums(c.head_dim)),
          gate(c.gated ? rows * hidden_stride : 0),
          up(rows * hidden_stride),
          lora_down(3 * rows * lora_stride),
          cosine(rows * c.rotary_dim / 2),
          sine(rows * c.rotary_dim / 2),
          positions(rows),
          embedding_rows(rows * embedding_stride),
          converted(rows, std::max({c.width, c.heads * c.head_dim, c.embedding_width})),
          converted_hidden(rows, c.hidden) {}

    /// How much memory it takes.
    std::size_t bytes() const noexcept {
        std::size_t floats = 0;
        for (const AlignedBuffer<float>* buffer : {&stream, &normed, &added, &queries, &keys, &values, &attended, &part_sums,
                                                   &gate, &up, &lora_down, &cosine, &sine, &embedding_rows})
            floats += buffer->size();
        return floats * sizeof(float) + positions.size() * sizeof(std::size_t) + converted.bytes() + converted_hidden.bytes();
    }

    std::size_t rows;                                               ///< the most tokens of a piece
    std::size_t parts;                                              ///< the most parts of what a single token sees
    std::size_t stream_stride, q_stride, kv_stride, hidden_stride;  ///< from one row to the next
    std::size_t lora_stride;                                        ///< of `lora_down`; 0 without an adapter
    std::size_t embedding_stride;  ///< of `embedding_rows`; 0 if embedding and stream have the same width

    AlignedBuffer<float> stream;   ///< (rows, stream_stride): the residual stream
    AlignedBuffer<float> normed;   ///< (rows, stream_stride): its norm, which a half of a block or the head reads
    AlignedBuffer<float> added;    ///< (rows, stream_stride): what was added to it last: positions, or the product of a half
    AlignedBuffer<float> queries;  ///< (rows, q_stride)
    AlignedBuffer<float> keys, values;     ///< (rows, kv_stride)
    AlignedBuffer<float> attended;         ///< (rows, q_stride): means of values
    AlignedBuffer<float> part_sums;        ///< (heads, parts, AttentionParts::sums): what threads have of a single token
    AlignedBuffer<float> gate, up;         ///< (rows, hidden_stride): both products, then one is activated; `gate` may be empty
    AlignedBuffer<float> lora_down;        ///< (3, rows, lora_stride): A x for up to three products
    AlignedBuffer<float> cosine, sine;     ///< (rows, rotary_dim / 2)
    AlignedBuffer<std::size_t> positions;  ///< (rows): what rotary angles and the table of positions are asked for
    AlignedBuffer<float> embedding_rows;   ///< (rows, embedding_stride): before they become the stream, or what the head reads
    simd::ActivationBuffer converted;      ///< what a half of a block reads, or `attended`, for the weights that follow
    simd::ActivationBuffer converted_hidden;  ///< `gate`, or `up` if there is no gate, for the weights that follow
};

}  // namespace flashback::inline FLASHBACK_ISA
