/// \file AdamW.
#pragma once

#include "flashback/simd/adamw.hpp"

#include <cmath>
#include <cstddef>
#include <cstdint>

namespace flashback::inline FLASHBACK_ISA {

/// The settings of AdamW. The defaults are those of Hugging Face's trainer.
struct AdamWOptions {
    float beta1 = 0.9f;      ///< how much of the mean gradient is kept
    float beta2 = 0.999f;    ///< how much of the mean square is kept
    float epsilon = 1e-8f;   ///< is added to the root of the mean square
    float weight_decay = 0;  ///< for matrices and embedding rows; norms do not decay
};

/// What one step has in common for all elements.
/// Requires  number >= 1
struct AdamWStep {
    std::uint64_t number = 1;  ///< of the step
    float rate = 0;            ///< the learning rate
    float factor = 1;          ///< gradients are first multiplied by it
};

/// One step of AdamW for some elements. The moments m and v follow the gradient times `factor`. Weight decay acts on the
/// parameter only, and does not enter m and v.
/// Source    Loshchilov and Hutter 2019, Decoupled weight decay regularization, algorithm 2, in the form of PyTorch: the rate
///           multiplies the decay, and epsilon is added after the root of the corrected v
inline void adamw(const AdamWOptions& options, const AdamWStep& step, const simd::AdamWElements& elements,
                  float decay) noexcept {
    const auto corrected = [&](float beta) {
        return 1 - std::pow(static_cast<double>(beta), static_cast<double>(step.number));
    };
    simd::adamw(elements, {.beta1 = options.beta1,
                           .beta2 = options.beta2,
                           .kept = 1 - step.rate * decay,
                           .minus_rate = static_cast<float>(-static_cast<double>(step.rate) / corrected(options.beta1)),
                           .root2 = static_cast<float>(1 / std::sqrt(corrected(options.beta2))),
                           .epsilon = options.epsilon,
                           .factor = step.factor});
}

}  // namespace flashback::inline FLASHBACK_ISA
