/// \file Sums, scaling and rotation of a row, element by element.
#pragma once

#include "flashback/simd/lanes.hpp"

#include <cstddef>

namespace flashback::inline FLASHBACK_ISA::simd {

/// x = x + y.
/// Shape     x, y (n)
inline void add(float* x, const float* y, std::size_t n) noexcept {
    for (std::size_t i = 0; i < n; i += panel_outputs)
        (Lanes::load_first(x + i, n - i) + Lanes::load_first(y + i, n - i)).store_first(x + i, n - i);
}

/// x = x · factor.
/// Shape     x (n)
inline void scale(float* x, float factor, std::size_t n) noexcept {
    const Lanes factors = Lanes::all(factor);
    for (std::size_t i = 0; i < n; i += panel_outputs) (Lanes::load_first(x + i, n - i) * factors).store_first(x + i, n - i);
}

/// Rotates the adjacent pairs (x[2i], x[2i+1]) by angles given as cosine and sine: (a cos - b sin, b cos + a sin).
/// Shape     x (2 pairs)   cosine, sine (pairs)
/// Source    Su et al. 2021, RoFormer, equation 34
inline void rotate_pairs(float* x, const float* cosine, const float* sine, std::size_t pairs) noexcept {
    for (std::size_t i = 0; i < pairs; i += panel_outputs / 2) {
        const std::size_t count = pairs - i < panel_outputs / 2 ? pairs - i : panel_outputs / 2;
        float turned[panel_outputs] = {};
        float crossed[panel_outputs] = {};
        for (std::size_t j = 0; j < count; ++j) {
            turned[2 * j] = turned[2 * j + 1] = cosine[i + j];
            crossed[2 * j] = -sine[i + j];
            crossed[2 * j + 1] = sine[i + j];
        }
        const Lanes value = Lanes::load_first(x + 2 * i, 2 * count);
        fma(value, Lanes::load(turned), swap_neighbours(value) * Lanes::load(crossed)).store_first(x + 2 * i, 2 * count);
    }
}

/// Rotates the pairs (x[i], x[pairs + i]): the order of GPT-NeoX and of Hugging Face's Llama.
/// Shape     x (2 pairs)   cosine, sine (pairs)
/// Source    Su et al. 2021, RoFormer, equation 34; Black et al. 2022, GPT-NeoX-20B, section 2.1.1
inline void rotate_halves(float* x, const float* cosine, const float* sine, std::size_t pairs) noexcept {
    const Lanes minus_one = Lanes::all(-1.0f);
    for (std::size_t i = 0; i < pairs; i += panel_outputs) {
        const std::size_t count = pairs - i;
        const Lanes a = Lanes::load_first(x + i, count);
        const Lanes b = Lanes::load_first(x + pairs + i, count);
        const Lanes c = Lanes::load_first(cosine + i, count);
        const Lanes s = Lanes::load_first(sine + i, count);
        fma(a, c, b * (s * minus_one)).store_first(x + i, count);
        fma(b, c, a * s).store_first(x + pairs + i, count);
    }
}

}  // namespace flashback::inline FLASHBACK_ISA::simd
