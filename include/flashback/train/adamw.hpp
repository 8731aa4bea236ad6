/// \file AdamW.
#pragma once

#include "flashback/simd/lanes.hpp"

#include <cmath>
#include <cstddef>
#include <cstdint>

namespace flashback::inline FLASHBACK_ISA {

/// The settings of AdamW. The defaults are those of Hugging Face's trainer.
struct AdamWOptions {
    float beta1 = 0.9f;
    float beta2 = 0.999f;
    float epsilon = 1e-8f;
    float weight_decay = 0;  ///< for matrices and embedding rows; norms do not decay
};

/// What one step has in common for all elements.
/// Requires  number >= 1
struct AdamWStep {
    std::uint64_t number = 1;  ///< of the step
    float rate = 0;            ///< of learning
    float factor = 1;          ///< that gradients are multiplied by first
};

/// Elements that train together.
/// Shape     gradient, parameter, m, v (n)
struct AdamWElements {
    const float* gradient;
    float* parameter;
    float* m;  ///< mean of the gradient
    float* v;  ///< and of its square
    std::size_t n;
    float decay = 0;
};

/// One step of AdamW for some elements: m and v follow the gradient, and the decay is no part of it.
/// Source    Loshchilov and Hutter 2019, Decoupled weight decay regularization, algorithm 2, in the form of PyTorch: the rate
///           multiplies the decay, and epsilon stands outside the root of the corrected v
inline void adamw(const AdamWOptions& options, const AdamWStep& step, const AdamWElements& elements) noexcept {
    using simd::Lanes;
    const float rate = step.rate;
    const auto corrected = [&](float beta) {
        return 1 - std::pow(static_cast<double>(beta), static_cast<double>(step.number));
    };
    const float* gradient = elements.gradient;
    float* parameter = elements.parameter;
    float* m = elements.m;
    float* v = elements.v;
    const Lanes beta1 = Lanes::all(options.beta1);
    const Lanes beta2 = Lanes::all(options.beta2);
    const Lanes rest1 = Lanes::all(1 - options.beta1);
    const Lanes rest2 = Lanes::all(1 - options.beta2);
    const Lanes kept = Lanes::all(1 - rate * elements.decay);
    const Lanes minus_rate = Lanes::all(static_cast<float>(-static_cast<double>(rate) / corrected(options.beta1)));
    const Lanes root2 = Lanes::all(static_cast<float>(1 / std::sqrt(corrected(options.beta2))));
    const Lanes epsilon = Lanes::all(options.epsilon);
    const Lanes factors = Lanes::all(step.factor);
    simd::each_lanes(elements.n, [&](std::size_t i, auto count) FLASHBACK_SIMD_LAMBDA {
        const Lanes g = Lanes::load_first(gradient + i, count) * factors;
        const Lanes first = simd::fma(beta1, Lanes::load_first(m + i, count), rest1 * g);
        const Lanes second = simd::fma(beta2, Lanes::load_first(v + i, count), rest2 * (g * g));
        first.store_first(m + i, count);
        second.store_first(v + i, count);
        const Lanes direction = first / simd::fma(simd::sqrt(second), root2, epsilon);
        simd::fma(minus_rate, direction, kept * Lanes::load_first(parameter + i, count)).store_first(parameter + i, count);
    });
}

}  // namespace flashback::inline FLASHBACK_ISA
