/// \file What a transformer does to one row at a time: norm, rotation, activation, sums (rule R4), as plain loops.
#pragma once

#include "flashback/simd/fma.hpp"
#include "flashback/simd/packed_panel.hpp"
#include "flashback/testing/plain/exp.hpp"

#include <cmath>
#include <cstddef>
#include <iterator>

namespace flashback::inline FLASHBACK_ISA::testing::plain {

/// The sum of 16 partial sums by one fixed tree.
inline float tree_sum(const float (&part)[simd::panel_outputs]) noexcept {
    float sum[simd::panel_outputs];
    for (std::size_t j = 0; j < simd::panel_outputs; ++j) sum[j] = part[j];
    for (std::size_t width = simd::panel_outputs / 2; width > 0; width /= 2) {
        for (std::size_t j = 0; j < width; ++j) sum[j] += sum[j + width];
    }
    return sum[0];
}

/// y = x / sqrt(mean(x²) + epsilon) · weight.
/// Shape     x, y, weight (n)
/// Source    Zhang and Sennrich 2019, Root mean square layer normalization, equation 4
inline void rms_norm(const float* x, const float* weight, std::size_t n, float epsilon, float* y) noexcept {
    float squares[simd::panel_outputs] = {};
    for (std::size_t i = 0; i < n; i += simd::panel_outputs) {
        for (std::size_t j = 0; j < simd::panel_outputs && i + j < n; ++j)
            squares[j] = simd::fma(x[i + j], x[i + j], squares[j]);
    }
    const float scale = 1.0f / std::sqrt(tree_sum(squares) / static_cast<float>(n) + epsilon);
    for (std::size_t i = 0; i < n; ++i) y[i] = x[i] * scale * weight[i];
}

/// y = (x - mean(x)) / sqrt(variance(x) + epsilon) · weight + bias.
/// Shape     x, y, weight, bias (n)
/// Source    Ba, Kiros and Hinton 2016, Layer normalization, equation 4
inline void layer_norm(const float* x, const float* weight, const float* bias, std::size_t n, float epsilon,
                       float* y) noexcept {
    float total[simd::panel_outputs] = {};
    for (std::size_t i = 0; i < n; ++i) total[i % simd::panel_outputs] += x[i];
    const float mean = tree_sum(total) / static_cast<float>(n);
    float squares[simd::panel_outputs] = {};
    for (std::size_t i = 0; i < n; ++i) {
        const float off = x[i] - mean;
        squares[i % simd::panel_outputs] = simd::fma(off, off, squares[i % simd::panel_outputs]);
    }
    const float scale = 1.0f / std::sqrt(tree_sum(squares) / static_cast<float>(n) + epsilon);
    for (std::size_t i = 0; i < n; ++i) y[i] = simd::fma(simd::rounded((x[i] - mean) * scale), weight[i], bias[i]);
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
        x[2 * i] = simd::fma(a, cosine[i], -b_sine);
        x[2 * i + 1] = simd::fma(b, cosine[i], a_sine);
    }
}

/// Rotates the pairs (x[i], x[pairs + i]).
/// Shape     x (2 pairs)   cosine, sine (pairs)
/// Source    Su et al. 2021, RoFormer, equation 34
inline void rotate_halves(float* x, const float* cosine, const float* sine, std::size_t pairs) noexcept {
    for (std::size_t i = 0; i < pairs; ++i) {
        const float a = x[i];
        const float b = x[pairs + i];
        x[i] = simd::fma(a, cosine[i], -simd::rounded(b * sine[i]));
        x[pairs + i] = simd::fma(b, cosine[i], simd::rounded(a * sine[i]));
    }
}

/// y = e^(x - max(x)) / sum of them.
/// Shape     x, y (n)
inline void softmax(const float* x, std::size_t n, float* y) noexcept {
    float most = -__builtin_inff();
    for (std::size_t i = 0; i < n; ++i) most = most < x[i] ? x[i] : most;
    float sums[simd::panel_outputs] = {};
    for (std::size_t i = 0; i < n; ++i) {
        y[i] = exp(x[i] - most);
        sums[i % simd::panel_outputs] += y[i];
    }
    const float total = tree_sum(sums);
    for (std::size_t i = 0; i < n; ++i) y[i] = y[i] / total;
}

/// x = silu(x), where silu(z) = z / (1 + e^-z).
/// Shape     x (n)
/// Source    Elfwing, Uchibe and Doya 2017, Sigmoid-weighted linear units, equation 4
inline void silu(float* x, std::size_t n) noexcept {
    for (std::size_t i = 0; i < n; ++i) x[i] = x[i] / (1.0f + exp(-x[i]));
}

/// x = gelu(x) in the form of GPT-2: x / (1 + e^(-2u)), u = sqrt(2/pi) · (x + 0.044715 x³).
/// Shape     x (n)
/// Source    Hendrycks and Gimpel 2016, Gaussian error linear units, section 2
inline void gelu(float* x, std::size_t n) noexcept {
    for (std::size_t i = 0; i < n; ++i) {
        const float exponent = x[i] * simd::fma(-0.07135481283f, x[i] * x[i], -1.5957691216f);
        x[i] = x[i] / (1.0f + exp(exponent));
    }
}

/// x = gelu(x) = x · Phi(x), with a polynomial for the tail of the normal distribution.
/// Shape     x (n)
/// Source    Hendrycks and Gimpel 2016, Gaussian error linear units, equation 1
inline void gelu_erf(float* x, std::size_t n) noexcept {
    constexpr float fit[]{-0.0249155262f, 0.143107625f, -0.308723128f, 0.272387828f, -0.0897454621f,
                          0.136102787f,   0.107365064f, 0.132830313f,  0.131590505f};
    for (std::size_t i = 0; i < n; ++i) {
        const float magnitude = x[i] < 0.0f - x[i] ? 0.0f - x[i] : x[i];
        const float a = magnitude < 20.0f ? magnitude : 20.0f;
        const float t = 1.0f / simd::fma(a, 0.33f, 1.0f);
        float tail = fit[0];
        for (std::size_t k = 1; k < std::size(fit); ++k) tail = simd::fma(tail, t, fit[k]);
        tail = simd::rounded(tail * t) * exp(simd::rounded(a * a) * -0.5f);
        const float above = x[i] < 0.0f ? 0.0f : x[i];
        x[i] = above - simd::rounded(a * simd::rounded(tail));
    }
}

/// x = max(x, 0); NaN stays NaN, -0 stays -0.
/// Shape     x (n)
inline void relu(float* x, std::size_t n) noexcept {
    for (std::size_t i = 0; i < n; ++i) x[i] = x[i] < 0.0f ? 0.0f : x[i];
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

}  // namespace flashback::inline FLASHBACK_ISA::testing::plain
