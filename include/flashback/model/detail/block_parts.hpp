/// \file What both halves of a block consist of: conversion, biases, norms, and the sum of the residual stream.
#pragma once

#include "flashback/core/executor.hpp"
#include "flashback/model/detail/cuts.hpp"
#include "flashback/model/detail/run_lora.hpp"
#include "flashback/model/forward_parts.hpp"
#include "flashback/model/packed_adapter.hpp"
#include "flashback/model/transformer.hpp"
#include "flashback/model/workspace.hpp"
#include "flashback/simd/elementwise.hpp"
#include "flashback/simd/matmul.hpp"
#include "flashback/simd/norm.hpp"

#include <algorithm>
#include <cstddef>
#include <initializer_list>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

/// What a forward pass works with, and on how many rows; `work.positions` has their positions.
struct Piece : ForwardParts {
    std::size_t rows;
};

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

/// The adapter's part of a product of a layer; `slot` tells where in `work.lora_down`.
inline RunLora lora_of(const Piece& piece, std::size_t layer, LinearModule module, std::size_t slot = 0) {
    Workspace& work = piece.work;
    return {piece.adapter, layer, module, work.lora_down.data() + slot * work.rows * work.lora_stride, work.lora_stride};
}

/// A part of a product, what LoRA adds to it, and then the biases.
inline void multiply_part(const simd::PackedMatrix& w, const ProductPart& part, const simd::Activations& x, const RunLora& lora,
                          const std::vector<float>& bias, const simd::MatmulResult& y) noexcept {
    simd::matmul(w, {part.first, part.last}, x.row(part.first_row), part.last_row - part.first_row,
                 {y.data + part.first_row * y.stride, y.stride});
    lora.up(part, y.data, y.stride);
    const std::size_t begin = part.first * simd::panel_outputs;
    const std::size_t end = std::min(part.last * simd::panel_outputs, bias.size());
    for (std::size_t r = part.first_row; begin < end && r < part.last_row; ++r)
        simd::add(y.data + r * y.stride + begin, bias.data() + begin, end - begin);
}

/// y = norm(x); x and y may be the same row.
inline void norm_row(const TransformerConfig& c, const std::vector<float>& weight, const std::vector<float>& bias,
                     const float* x, float* y) noexcept {
    if (c.norm == Norm::layer) return simd::layer_norm(x, weight.data(), bias.data(), c.width, c.norm_epsilon, y);
    simd::rms_norm(x, weight.data(), c.width, c.norm_epsilon, y);
}

/// Converts what a half of a block reads for `readers`. That is the norm of the residual stream, left in `work.normed`; or the
/// stream itself if norms come after the sums.
/// Shape     gives (rows, work.stream_stride)
inline const float* read_stream(const Piece& piece, const std::vector<float>& weight, const std::vector<float>& bias,
                                std::initializer_list<const simd::PackedMatrix*> readers) {
    const TransformerConfig& c = piece.model.config;
    Workspace& work = piece.work;
    run_rows(piece.executor, piece.rows, c.width, [&](std::size_t r) {
        const float* x = work.stream.data() + r * work.stream_stride;
        if (!c.post_norm) {
            float* normed = work.normed.data() + r * work.stream_stride;
            norm_row(c, weight, bias, x, normed);
            x = normed;
        }
        convert(readers, work.converted, r, x, 0, c.width);
    });
    return c.post_norm ? work.stream.data() : work.normed.data();
}

/// If norms come after the sums: x = norm(x).
inline void norm_stream(const Piece& piece, const std::vector<float>& weight, const std::vector<float>& bias) {
    const TransformerConfig& c = piece.model.config;
    Workspace& work = piece.work;
    if (!c.post_norm) return;
    run_rows(piece.executor, piece.rows, c.width, [&](std::size_t r) {
        float* x = work.stream.data() + r * work.stream_stride;
        norm_row(c, weight, bias, x, x);
    });
}

/// x += m(y), where x is the residual stream; the product itself stays in `work.added`.
inline void project_to_stream(const Piece& piece, std::size_t number, LinearModule m, const simd::Activations& y) {
    const TransformerLayer& layer = piece.model.layers[number];
    const simd::PackedMatrix& w = layer[m];
    const RunLora lora = lora_of(piece, number, m);
    Workspace& work = piece.work;
    run_down(piece.executor, y.x, y.x_stride, piece.rows, lora);
    run_product(piece.executor, whole_product(w, piece.rows), [&](const ProductPart& part) {
        multiply_part(w, part, y, lora, layer.bias(m), {work.added.data(), work.stream_stride});
        const std::size_t begin = part.first * simd::panel_outputs;
        const std::size_t end = std::min(part.last * simd::panel_outputs, w.outputs());
        for (std::size_t r = part.first_row; r < part.last_row; ++r) {
            const std::size_t at = r * work.stream_stride + begin;
            simd::add(work.stream.data() + at, work.added.data() + at, end - begin);
        }
    });
}

}  // namespace flashback::inline FLASHBACK_ISA::detail
