/// \file What a transformer does to one row at a time: norm, rotation, activation, sums (rule R4), as plain loops.
#pragma once

#include "flashback/simd/fma.hpp"
#include "flashback/simd/packed_matrix.hpp"
#include "flashback/simd/plain/exp.hpp"

#include <cmath>
#include <cstddef>

namespace flashback::inline FLASHBACK_ISA::simd::plain {

/// The sum of 16 partial sums by one fixed tree.
inline float tree_sum(const float (&part)[panel_outputs]) noexcept {
    float sum[panel_outputs];
    for (std::size_t j = 0; j < panel_outputs; ++j) sum[j] = part[j];
    for (std::size_t width = panel_outputs / 2; width > 0; width /= 2) {
        for (std::size_t j = 0; j < width; ++j) sum[j] += sum[j + width];
    }
    return sum[0];
}

/// y = x / sqrt(mean(x²) + epsilon) · weight.
/// Shape     x, y, weight (n); x is read up to padded(n), where it must be 0
/// Source    Zhang and Sennrich 2019, Root mean square layer normalization, equation 4
inline void rms_norm(const float* x, const float* weight, std::size_t n, float epsilon, float* y) noexcept {
    float squares[panel_outputs] = {};
    for (std::size_t i = 0; i < n; i += panel_outputs) {
        for (std::size_t j = 0; j < panel_outputs; ++j) squares[j] = fma(x[i + j], x[i + j], squares[j]);
    }
    const float scale = 1.0f / std::sqrt(tree_sum(squares) / static_cast<float>(n) + epsilon);
    for (std::size_t i = 0; i < n; ++i) y[i] = x[i] * scale * weight[i];
}

/// Rotates the adjacent pairs (x[2i], x[2i+1]) by angles given as cosine and sine.
/// Shape     x (2 pairs)   cosine, sine (pairs)
/// Source    Su et al. 2021, RoFormer, equation 34
inline void rotate_pairs(float* x, const float* cosine, const float* sine, std::size_t pairs) noexcept {
    for (std::size_t i = 0; i < pairs; ++i) {
        const float a = x[2 * i];
        const float b = x[2 * i + 1];
        const float b_sine = b * sine[i];
        const float a_sine = a * sine[i];
        x[2 * i] = fma(a, cosine[i], -b_sine);
        x[2 * i + 1] = fma(b, cosine[i], a_sine);
    }
}

/// gate = silu(gate) · up, where silu(z) = z / (1 + e^-z).
/// Shape     gate, up (n)
/// Source    Shazeer 2020, GLU variants improve transformer, equation 6 (SwiGLU)
inline void silu_times(float* gate, const float* up, std::size_t n) noexcept {
    for (std::size_t i = 0; i < n; ++i) gate[i] = gate[i] / (1.0f + exp(-gate[i])) * up[i];
}

/// x = x + y.
/// Shape     x, y (n)
inline void add(float* x, const float* y, std::size_t n) noexcept {
    for (std::size_t i = 0; i < n; ++i) x[i] += y[i];
}

}  // namespace flashback::inline FLASHBACK_ISA::simd::plain
