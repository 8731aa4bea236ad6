/// \file A step of AdamW, element by element.
#pragma once

#include "flashback/simd/detail/lanes.hpp"

#include <cstddef>

namespace flashback::inline FLASHBACK_ISA::simd {

/// Elements that train together.
/// Shape     gradient, parameter, m, v (n)
struct AdamWElements {
    const float* gradient;  ///< of the loss
    float* parameter;       ///< what trains
    float* m;               ///< mean of the gradient
    float* v;               ///< and of its square
    std::size_t n;          ///< how many elements there are
};

/// What a step has in common for all elements, computed in double and rounded once.
struct AdamWFactors {
    float beta1, beta2;  ///< how much of the old means is kept
    float kept;          ///< of a parameter, after decay
    float minus_rate;    ///< minus the rate, divided by the correction of m
    float root2;         ///< 1 over the root of the correction of v
    float epsilon;       ///< is added to the root
    float factor;        ///< gradients are first multiplied by it
};

/// One step: m and v follow the gradient, and the parameter moves against m divided by the root of v.
/// Source    Loshchilov and Hutter 2019, Decoupled weight decay regularization, algorithm 2
inline void adamw(const AdamWElements& elements, const AdamWFactors& f) noexcept {
    const Lanes beta1 = Lanes::all(f.beta1);
    const Lanes beta2 = Lanes::all(f.beta2);
    const Lanes rest1 = Lanes::all(1 - f.beta1);
    const Lanes rest2 = Lanes::all(1 - f.beta2);
    const Lanes kept = Lanes::all(f.kept);
    const Lanes minus_rate = Lanes::all(f.minus_rate);
    const Lanes root2 = Lanes::all(f.root2);
    const Lanes epsilon = Lanes::all(f.epsilon);
    const Lanes factors = Lanes::all(f.factor);
    const float* gradient = elements.gradient;
    float* parameter = elements.parameter;
    float* m = elements.m;
    float* v = elements.v;
    each_lanes(elements.n, [&](std::size_t i, auto count) FLASHBACK_SIMD_LAMBDA {
        const Lanes g = Lanes::load_first(gradient + i, count) * factors;
        const Lanes first = fma(beta1, Lanes::load_first(m + i, count), rest1 * g);
        const Lanes second = fma(beta2, Lanes::load_first(v + i, count), rest2 * (g * g));
        first.store_first(m + i, count);
        second.store_first(v + i, count);
        const Lanes direction = first / fma(sqrt(second), root2, epsilon);
        fma(minus_rate, direction, kept * Lanes::load_first(parameter + i, count)).store_first(parameter + i, count);
    });
}

}  // namespace flashback::inline FLASHBACK_ISA::simd
