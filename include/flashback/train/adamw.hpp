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

/// One step of AdamW for some elements. The moments m and v follow the gradient times `factor`. Weight decay acts on the
/// parameter only, and does not enter m and v.
/// Shape     parameter, gradient, m, v (n)
/// Requires  step >= 1
/// Source    Loshchilov and Hutter 2019, Decoupled weight decay regularization, algorithm 2, in the form of PyTorch: the rate
///           multiplies the decay, and epsilon is added after the root of the corrected v
inline void adamw(const AdamWOptions& options, float rate, float decay, std::uint64_t step, float factor, const float* gradient,
                  std::size_t n, float* parameter, float* m, float* v) noexcept {
    using simd::Lanes;
    const auto corrected = [&](float beta) { return 1 - std::pow(static_cast<double>(beta), static_cast<double>(step)); };
    const Lanes beta1 = Lanes::all(options.beta1);
    const Lanes beta2 = Lanes::all(options.beta2);
    const Lanes rest1 = Lanes::all(1 - options.beta1);
    const Lanes rest2 = Lanes::all(1 - options.beta2);
    const Lanes kept = Lanes::all(1 - rate * decay);
    const Lanes minus_rate = Lanes::all(static_cast<float>(-static_cast<double>(rate) / corrected(options.beta1)));
    const Lanes root2 = Lanes::all(static_cast<float>(1 / std::sqrt(corrected(options.beta2))));
    const Lanes epsilon = Lanes::all(options.epsilon);
    const Lanes factors = Lanes::all(factor);
    simd::each_lanes(n, [&](std::size_t i, auto count) FLASHBACK_SIMD_LAMBDA {
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
