/// \file The activations of feed-forward layers, element by element.
#pragma once

#include "flashback/simd/detail/exp.hpp"
#include "flashback/simd/detail/lanes.hpp"

#include <cstddef>

namespace flashback::inline FLASHBACK_ISA::simd {

/// x / (1 + e^-x) in every lane; NaN for -infinity, -0 below -88.7.
FLASHBACK_SIMD_INLINE Lanes silu(const Lanes& x) noexcept { return x / (Lanes::all(1.0f) + exp(Lanes::all(0.0f) - x)); }

/// x = silu(x), where silu(x) = x / (1 + e^-x).
/// Shape     x (n)
/// Source    Elfwing, Uchibe and Doya 2017, Sigmoid-weighted linear units, equation 4
inline void silu(float* x, std::size_t n) noexcept {
    each_lanes(n, [&](std::size_t i, auto count)
                      FLASHBACK_SIMD_LAMBDA { silu(Lanes::load_first(x + i, count)).store_first(x + i, count); });
}

/// gate = silu(gate) · up.
/// Shape     gate, up (n)
/// Source    Shazeer 2020, GLU variants improve transformer, equation 6 (SwiGLU)
inline void silu_times(float* gate, const float* up, std::size_t n) noexcept {
    each_lanes(n, [&](std::size_t i, auto count) FLASHBACK_SIMD_LAMBDA {
        const Lanes activated = silu(Lanes::load_first(gate + i, count));
        (activated * Lanes::load_first(up + i, count)).store_first(gate + i, count);
    });
}

/// x = gelu(x) in the form of GPT-2: x / (1 + e^(-2u)), u = sqrt(2/pi) · (x + 0.044715 x³); equal to x/2 · (1 + tanh(u)). NaN
/// for -infinity.
/// Shape     x (n)
/// Source    Hendrycks and Gimpel 2016, Gaussian error linear units, section 2
inline void gelu(float* x, std::size_t n) noexcept {
    const Lanes linear = Lanes::all(-1.5957691216f);  // -2 sqrt(2/pi)
    const Lanes cubic = Lanes::all(-0.07135481283f);  // 0.044715 times that
    each_lanes(n, [&](std::size_t i, auto count) FLASHBACK_SIMD_LAMBDA {
        const Lanes value = Lanes::load_first(x + i, count);
        const Lanes exponent = value * fma(cubic, value * value, linear);
        (value / (Lanes::all(1.0f) + exp(exponent))).store_first(x + i, count);
    });
}

/// x = max(x, 0); NaN stays NaN, -0 stays -0.
/// Shape     x (n)
inline void relu(float* x, std::size_t n) noexcept {
    const Lanes zero = Lanes::all(0.0f);
    each_lanes(n, [&](std::size_t i, auto count) FLASHBACK_SIMD_LAMBDA {
        const Lanes value = Lanes::load_first(x + i, count);
        where_less(value, zero, zero, value).store_first(x + i, count);
    });
}

}  // namespace flashback::inline FLASHBACK_ISA::simd
