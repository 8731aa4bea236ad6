/// \file What both halves of a block consist of: conversion, biases, norms, and the sum of the residual stream.
#pragma once

#include "flashback/core/executor.hpp"
#include "flashback/model/detail/run_lora.hpp"
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

/// The adapter's part of a product of a layer; `slot` tells where in `work.low`.
inline RunLora lora_of(const AdapterUse& use, std::size_t layer, LinearModule module, Workspace& work, std::size_t slot = 0) {
    return {use, layer, module, work.low.data() + slot * work.rows * work.low_width, work.low_width};
}

/// Adds the biases of some panels of outputs, after the product and what LoRA adds to it.
inline void add_bias(const std::vector<float>& bias, std::size_t first_panel, std::size_t last_panel, std::size_t rows,
                     float* y, std::size_t y_stride) noexcept {
    const std::size_t begin = first_panel * simd::panel_outputs;
    const std::size_t end = std::min(last_panel * simd::panel_outputs, bias.size());
    for (std::size_t r = 0; begin < end && r < rows; ++r) simd::add(y + r * y_stride + begin, bias.data() + begin, end - begin);
}

/// y = norm(x); x and y may be the same row.
inline void norm_row(const TransformerConfig& c, const std::vector<float>& weight, const std::vector<float>& bias,
                     const float* x, float* y) noexcept {
    if (c.norm == Norm::layer) return simd::layer_norm(x, weight.data(), bias.data(), c.width, c.norm_epsilon, y);
    simd::rms_norm(x, weight.data(), c.width, c.norm_epsilon, y);
}

/// Converts what a half of a block reads for `readers`. That is the norm of the residual stream, left in `work.normed`; or the
/// stream itself if norms come after the sums.
/// Shape     gives (rows, work.width)
inline const float* read_stream(const ExecutorRef& executor, const TransformerConfig& c, const std::vector<float>& weight,
                                const std::vector<float>& bias, std::size_t rows,
                                std::initializer_list<const simd::PackedMatrix*> readers, Workspace& work) {
    executor.run_ranges(rows, 1, [&](std::size_t first, std::size_t last) {
        for (std::size_t r = first; r < last; ++r) {
            const float* x = work.x.data() + r * work.width;
            if (!c.post_norm) {
                float* normed = work.normed.data() + r * work.width;
                norm_row(c, weight, bias, x, normed);
                x = normed;
            }
            convert(readers, work.inputs, r, x, 0, c.width);
        }
    });
    return c.post_norm ? work.x.data() : work.normed.data();
}

/// If norms come after the sums: x = norm(x).
inline void norm_stream(const ExecutorRef& executor, const TransformerConfig& c, const std::vector<float>& weight,
                        const std::vector<float>& bias, std::size_t rows, Workspace& work) {
    if (!c.post_norm) return;
    executor.run_ranges(rows, 1, [&](std::size_t first, std::size_t last) {
        for (std::size_t r = first; r < last; ++r) {
            float* x = work.x.data() + r * work.width;
            norm_row(c, weight, bias, x, x);
        }
    });
}

/// x += m(y), where x is the residual stream; the product itself stays in `work.normed`.
inline void project_to_residual(const ExecutorRef& executor, const TransformerLayer& layer, LinearModule m, const RunLora& lora,
                                const simd::Activations& y, std::size_t rows, Workspace& work) {
    const simd::PackedMatrix& w = layer[m];
    run_down(executor, y.x, y.x_stride, rows, lora);
    executor.run_ranges(w.panels(), panel_grain, [&](std::size_t first, std::size_t last) {
        simd::matmul(w, first, last, y, rows, work.normed.data(), work.width);
        lora.up(first, last, rows, work.normed.data(), work.width);
        add_bias(layer.bias(m), first, last, rows, work.normed.data(), work.width);
        const std::size_t begin = first * simd::panel_outputs;
        const std::size_t end = std::min(last * simd::panel_outputs, w.outputs());
        for (std::size_t r = 0; r < rows; ++r)
            simd::add(work.x.data() + r * work.width + begin, work.normed.data() + r * work.width + begin, end - begin);
    });
}

}  // namespace flashback::inline FLASHBACK_ISA::detail
