/// \file The norms of a row (rule R4).
#pragma once

#include "flashback/simd/detail/lanes.hpp"
#include "flashback/simd/detail/reduce.hpp"

#include <cmath>
#include <cstddef>

namespace flashback::inline FLASHBACK_ISA::simd {

/// y = x / sqrt(mean(x²) + epsilon) · weight. A NaN or an infinity in x makes every y NaN or 0.
/// Shape     x, y, weight (n); x and y may be the same row
/// Requires  n > 0
/// Source    Zhang and Sennrich 2019, Root mean square layer normalization, equation 4
inline void rms_norm(const float* x, const float* weight, std::size_t n, float epsilon, float* y) noexcept {
    Lanes squares = Lanes::all(0.0f);
    each_lanes(n, [&](std::size_t i, auto count) FLASHBACK_SIMD_LAMBDA {
        const Lanes values = Lanes::load_first(x + i, count);
        squares = fma(values, values, squares);
    });
    const Lanes scale = Lanes::all(1.0f / std::sqrt(tree_sum(squares) / static_cast<float>(n) + epsilon));
    each_lanes(n, [&](std::size_t i, auto count) FLASHBACK_SIMD_LAMBDA {
        const Lanes scaled = Lanes::load_first(x + i, count) * scale;
        (scaled * Lanes::load_first(weight + i, count)).store_first(y + i, count);
    });
}

/// y = (x - mean(x)) / sqrt(variance(x) + epsilon) · weight + bias. A NaN or an infinity in x makes every y NaN.
/// Shape     x, y, weight, bias (n); x and y may be the same row
/// Requires  n > 0
/// Source    Ba, Kiros and Hinton 2016, Layer normalization, equation 4
inline void layer_norm(const float* x, const float* weight, const float* bias, std::size_t n, float epsilon,
                       float* y) noexcept {
    Lanes total = Lanes::all(0.0f);
    each_lanes(n, [&](std::size_t i, auto count) FLASHBACK_SIMD_LAMBDA { total = total + Lanes::load_first(x + i, count); });
    const float average = tree_sum(total) / static_cast<float>(n);
    const Lanes mean = Lanes::all(average);
    Lanes squares = Lanes::all(0.0f);
    each_lanes(n, [&](std::size_t i, auto count) FLASHBACK_SIMD_LAMBDA {
        // Lanes beyond the row hold the mean, so they add nothing.
        const Lanes off = Lanes::load_first(x + i, count, average) - mean;
        squares = fma(off, off, squares);
    });
    const Lanes scale = Lanes::all(1.0f / std::sqrt(tree_sum(squares) / static_cast<float>(n) + epsilon));
    each_lanes(n, [&](std::size_t i, auto count) FLASHBACK_SIMD_LAMBDA {
        const Lanes scaled = (Lanes::load_first(x + i, count) - mean) * scale;
        fma(scaled, Lanes::load_first(weight + i, count), Lanes::load_first(bias + i, count)).store_first(y + i, count);
    });
}

}  // namespace flashback::inline FLASHBACK_ISA::simd
