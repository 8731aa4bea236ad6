/// \file A linear layer of training: forward and backward, with LoRA or without.
#pragma once

#include "flashback/simd/elementwise.hpp"
#include "flashback/simd/gemm.hpp"
#include "flashback/simd/gemm_bf16.hpp"
#include "flashback/simd/transpose.hpp"
#include "flashback/train/detail/dropout.hpp"
#include "flashback/train/detail/rows.hpp"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <optional>

namespace flashback::inline FLASHBACK_ISA::detail {

/// In place of an offset of a gradient: this is frozen and has none.
inline constexpr std::size_t frozen = std::numeric_limits<std::size_t>::max();

/// A matrix of f32 in panels, as in simd::PackedMatrix, and where its gradient lies if it trains.
struct Matrix {
    const float* data = nullptr;  ///< (panels, inputs, 16)
    std::size_t outputs = 0;
    std::size_t inputs = 0;
    std::size_t gradient = frozen;  ///< offset in the array of gradients

    bool trains() const noexcept { return gradient != frozen; }
    std::size_t panel_floats() const noexcept { return inputs * simd::panel_outputs; }
    simd::GemmPanels right() const noexcept { return {data, panel_floats(), simd::panel_outputs}; }
};

/// A row of numbers: the weight of a norm, a bias.
struct Vector {
    const float* data = nullptr;  ///< null if there is none
    std::size_t gradient = frozen;

    bool trains() const noexcept { return gradient != frozen; }
};

/// A linear layer and what LoRA adds to it: y = W x + scale · B A dropout(x) + bias, summed in this order.
struct Linear {
    Matrix w;
    Matrix a, b;  ///< (rank, inputs), (outputs, rank); without LoRA they have no outputs
    float scale = 0;
    Vector bias = {};  ///< (outputs)

    bool has_lora() const noexcept { return a.outputs > 0; }
    bool trains() const noexcept { return w.trains() || a.trains(); }  // a bias trains if w does
};

/// Memory that linear layers share.
struct LinearScratch {
    LinearScratch() = default;
    LinearScratch(std::size_t rows, std::size_t most_inputs, std::size_t most_outputs, std::size_t rank)
        : columns(in_huge_pages(AlignedBuffer<float>{panels_at_once * simd::padded(most_outputs) * simd::panel_outputs})) {
        if (rank == 0) return;
        dropped = Rows{rows, most_inputs};
        dropped_gradient = Rows{rows, most_inputs};
        low = Rows{rows, rank};
        low_gradient = Rows{rows, rank};
    }

    static constexpr std::size_t panels_at_once = 4;
    AlignedBuffer<float> columns;               ///< (4, outputs, 16): some columns of a matrix
    Rows dropped, dropped_gradient;             ///< (rows, inputs)
    Rows low, low_gradient;                     ///< (rows, rank): scale · A x, and the gradient of A x
    std::optional<simd::GemmBF16Scratch> bf16;  ///< if products round their factors to bf16

    std::size_t bytes() const noexcept {
        return (bf16 ? bf16->bytes() : 0) + columns.size() * sizeof(float) + dropped.bytes() + dropped_gradient.bytes() +
               low.bytes() + low_gradient.bytes();
    }
};

/// C = A B or C += A B, in the precision of the training.
inline void product(const simd::GemmRows& a, const simd::GemmPanels& b, const simd::GemmResult& c, const simd::GemmShape& shape,
                    simd::GemmStart start, LinearScratch& scratch) noexcept {
    scratch.bf16 ? simd::gemm_bf16(a, b, c, shape, start, *scratch.bf16) : simd::gemm(a, b, c, shape, start);
}

/// y = x Wᵀ, or y += x Wᵀ.
inline void multiply(const Matrix& w, ConstRowSpan x, std::size_t rows, RowSpan y, simd::GemmStart start,
                     LinearScratch& scratch) noexcept {
    product(x.left(), w.right(), y.result(), {rows, panels_of(w.outputs), w.inputs}, start, scratch);
}

/// dx = dy W, or dx += dy W. The panels of W have their lanes across outputs; here they must lie across inputs. So some columns
/// at a time are transposed, which costs 1 % of the product with 500 rows.
inline void multiply_back(const Matrix& w, ConstRowSpan dy, std::size_t rows, RowSpan dx, simd::GemmStart start,
                          LinearScratch& scratch) noexcept {
    constexpr std::size_t lanes = simd::panel_outputs;
    const std::size_t depth = simd::padded(w.outputs);
    const std::size_t panels = panels_of(w.inputs);
    for (std::size_t first = 0; first < panels; first += LinearScratch::panels_at_once) {
        const std::size_t count = std::min(LinearScratch::panels_at_once, panels - first);
        for (std::size_t p = 0; p < count; ++p) {
            const std::size_t input = (first + p) * lanes;
            const std::size_t width = std::min(lanes, w.inputs - input);
            float* to = scratch.columns.data() + p * depth * lanes;
            if (width < lanes) std::fill_n(to, depth * lanes, 0.0f);
            for (std::size_t o = 0; o < depth; o += lanes)
                simd::transpose(w.data + o / lanes * w.panel_floats() + input * lanes, lanes, width, lanes, to + o * lanes,
                                lanes);
        }
        simd::GemmResult result = dx.result();
        result.data += first * lanes;
        product(dy.left(), {scratch.columns.data(), depth * lanes, lanes}, result, {rows, count, w.outputs}, start, scratch);
    }
}

/// dW = dyᵀ x, in the panels of W.
inline void weight_gradient(const Matrix& w, ConstRowSpan x, ConstRowSpan dy, std::size_t rows, float* gradients,
                            LinearScratch& scratch) noexcept {
    product(x.left_transposed(), dy.right(), {gradients + w.gradient, w.panel_floats(), simd::panel_outputs},
            {w.inputs, panels_of(w.outputs), rows}, simd::GemmStart::zero, scratch);
}

/// What enters A.
inline ConstRowSpan lora_input(const Linear& m, ConstRowSpan x, std::size_t rows, const Dropout& dropout,
                               LinearScratch& scratch) noexcept {
    if (!dropout.active()) return x;
    for (std::size_t r = 0; r < rows; ++r) dropout.apply(r, x.row(r), m.w.inputs, scratch.dropped.row(r));
    return scratch.dropped;
}

/// low = scale · A x.
inline void go_low(const Linear& m, ConstRowSpan x, std::size_t rows, LinearScratch& scratch) noexcept {
    multiply(m.a, x, rows, scratch.low, simd::GemmStart::zero, scratch);
    for (std::size_t r = 0; r < rows; ++r) simd::scale(scratch.low.row(r), m.scale, simd::padded(m.a.outputs));
}

/// How many rows go through a layer, whether what it gives is set or added, and what it works with.
struct LinearRun {
    std::size_t rows;
    simd::GemmStart start;
    const Dropout& dropout;
    LinearScratch& scratch;
};

/// y = m(x), or y += m(x).
inline void linear_forward(const Linear& m, ConstRowSpan x, RowSpan y, const LinearRun& run) noexcept {
    const auto& [rows, start, dropout, scratch] = run;
    multiply(m.w, x, rows, y, start, scratch);
    if (m.has_lora()) {
        go_low(m, lora_input(m, x, rows, dropout, scratch), rows, scratch);
        multiply(m.b, scratch.low, rows, y, simd::GemmStart::accumulate, scratch);
    }
    for (std::size_t r = 0; m.bias.data && r < rows; ++r) simd::add(y.row(r), m.bias.data, m.w.outputs);
}

/// The gradients of what trains in m, and of x if dx is wanted. They are set or added to what is there; the gradient of the
/// bias is added.
/// Source    Hu et al. 2021, LoRA, equation 3
inline void linear_backward(const Linear& m, ConstRowSpan x, ConstRowSpan dy, RowSpan dx, float* gradients,
                            const LinearRun& run) noexcept {
    const auto& [rows, start, dropout, scratch] = run;
    if (m.w.trains()) weight_gradient(m.w, x, dy, rows, gradients, scratch);
    for (std::size_t r = 0; m.bias.trains() && r < rows; ++r) simd::add(gradients + m.bias.gradient, dy.row(r), m.w.outputs);
    if (dx) multiply_back(m.w, dy, rows, dx, start, scratch);
    if (!m.has_lora()) return;
    const ConstRowSpan input = lora_input(m, x, rows, dropout, scratch);
    go_low(m, input, rows, scratch);
    weight_gradient(m.b, scratch.low, dy, rows, gradients, scratch);
    multiply_back(m.b, dy, rows, scratch.low_gradient, simd::GemmStart::zero, scratch);
    for (std::size_t r = 0; r < rows; ++r) simd::scale(scratch.low_gradient.row(r), m.scale, m.a.outputs);
    weight_gradient(m.a, input, scratch.low_gradient, rows, gradients, scratch);
    if (!dx) return;
    if (!dropout.active()) return multiply_back(m.a, scratch.low_gradient, rows, dx, simd::GemmStart::accumulate, scratch);
    multiply_back(m.a, scratch.low_gradient, rows, scratch.dropped_gradient, simd::GemmStart::zero, scratch);
    for (std::size_t r = 0; r < rows; ++r) {
        float* through = scratch.dropped_gradient.row(r);
        dropout.apply(r, through, m.w.inputs, through);
        simd::add(dx.row(r), through, m.w.inputs);
    }
}

}  // namespace flashback::inline FLASHBACK_ISA::detail
