/// \file The activations of feed-forward layers, element by element.
#pragma once

#include "flashback/simd/detail/exp.hpp"
#include "flashback/simd/detail/lanes.hpp"

#include <cstddef>
#include <iterator>

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

/// x = gelu(x) as it was defined: x · Phi(x), where Phi is the distribution function of the standard normal; equal to
/// x/2 · (1 + erf(x / sqrt(2))). The error is at most (7 + x²) · 2^-24 of the result below 0, and 7 · 2^-24 of it above.
/// Shape     x (n)
/// Source    Hendrycks and Gimpel 2016, Gaussian error linear units, equation 1; the polynomial is a minimax fit of
///           Phi(-a) e^(a²/2) / t in t = 1 / (1 + 0.33 a) over 0 <= a <= 9, good to 2^-26
inline void gelu_erf(float* x, std::size_t n) noexcept {
    constexpr float fit[]{-0.0249155262f, 0.143107625f, -0.308723128f, 0.272387828f, -0.0897454621f,
                          0.136102787f,   0.107365064f, 0.132830313f,  0.131590505f};
    const Lanes zero = Lanes::all(0.0f);
    const Lanes one = Lanes::all(1.0f);
    const Lanes most = Lanes::all(20.0f);  // Phi(-20) is 0 in single precision; so infinities do no harm
    each_lanes(n, [&](std::size_t i, auto count) FLASHBACK_SIMD_LAMBDA {
        const Lanes value = Lanes::load_first(x + i, count);
        const Lanes magnitude = max(value, zero - value);
        const Lanes a = where_less(magnitude, most, magnitude, most);
        const Lanes t = one / fma(a, Lanes::all(0.33f), one);
        Lanes tail = Lanes::all(fit[0]);
        for (std::size_t k = 1; k < std::size(fit); ++k) tail = fma(tail, t, Lanes::all(fit[k]));
        tail = (tail * t) * exp((a * a) * Lanes::all(-0.5f));
        (max(value, zero) - a * tail).store_first(x + i, count);
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
