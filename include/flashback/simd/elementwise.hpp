/// \file Sums, scaling and rotation of a row, element by element.
#pragma once

#include "flashback/simd/detail/exp.hpp"
#include "flashback/simd/detail/lanes.hpp"

#include <algorithm>
#include <cstddef>

namespace flashback::inline FLASHBACK_ISA::simd {

/// x = x + y.
/// Shape     x, y (n)
inline void add(float* x, const float* y, std::size_t n) noexcept {
    each_lanes(n, [&](std::size_t i, auto count) FLASHBACK_SIMD_LAMBDA {
        (Lanes::load_first(x + i, count) + Lanes::load_first(y + i, count)).store_first(x + i, count);
    });
}

/// x = x · factor.
/// Shape     x (n)
inline void scale(float* x, float factor, std::size_t n) noexcept {
    const Lanes factors = Lanes::all(factor);
    each_lanes(n, [&](std::size_t i, auto count)
                      FLASHBACK_SIMD_LAMBDA { (Lanes::load_first(x + i, count) * factors).store_first(x + i, count); });
}

/// Rotates the adjacent pairs (x[2i], x[2i+1]) by angles given as cosine and sine: (a cos - b sin, b cos + a sin).
/// Shape     x (2 pairs)   cosine, sine (pairs)
/// Source    Su et al. 2021, RoFormer, equation 34
inline void rotate_pairs(float* x, const float* cosine, const float* sine, std::size_t pairs) noexcept {
    constexpr std::size_t together = panel_outputs / 2;
    constexpr float signs[panel_outputs]{-1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1};
    const auto turn = [&](const Lanes& value, const float* c, const float* s) {
        return fma(value, load_twice(c), swap_neighbours(value) * (load_twice(s) * Lanes::load(signs)));
    };
    std::size_t i = 0;
    for (; i + together <= pairs; i += together) turn(Lanes::load(x + 2 * i), cosine + i, sine + i).store(x + 2 * i);
    if (i == pairs) return;
    float last_cosine[together] = {};
    float last_sine[together] = {};
    std::copy(cosine + i, cosine + pairs, last_cosine);
    std::copy(sine + i, sine + pairs, last_sine);
    const std::size_t left = 2 * (pairs - i);
    turn(Lanes::load_first(x + 2 * i, left), last_cosine, last_sine).store_first(x + 2 * i, left);
}

/// Rotates the pairs (x[i], x[pairs + i]): the order of GPT-NeoX and of Hugging Face's Llama.
/// Shape     x (2 pairs)   cosine, sine (pairs)
/// Source    Su et al. 2021, RoFormer, equation 34; Black et al. 2022, GPT-NeoX-20B, section 2.1.1
inline void rotate_halves(float* x, const float* cosine, const float* sine, std::size_t pairs) noexcept {
    const Lanes minus_one = Lanes::all(-1.0f);
    each_lanes(pairs, [&](std::size_t i, auto count) FLASHBACK_SIMD_LAMBDA {
        const Lanes a = Lanes::load_first(x + i, count);
        const Lanes b = Lanes::load_first(x + pairs + i, count);
        const Lanes c = Lanes::load_first(cosine + i, count);
        const Lanes s = Lanes::load_first(sine + i, count);
        fma(a, c, b * (s * minus_one)).store_first(x + i, count);
        fma(b, c, a * s).store_first(x + pairs + i, count);
    });
}

/// y = e^x, element by element.
/// Shape     x, y (n); they may be the same row
FLASHBACK_SIMD_INLINE void exp(const float* x, std::size_t n, float* y) noexcept {
    each_lanes(n, [&](std::size_t i, auto count)
                      FLASHBACK_SIMD_LAMBDA { exp(Lanes::load_first(x + i, count)).store_first(y + i, count); });
}

}  // namespace flashback::inline FLASHBACK_ISA::simd
