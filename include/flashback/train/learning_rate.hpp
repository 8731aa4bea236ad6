/// \file Learning rates by step.
#pragma once

#include "flashback/core/config.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numbers>

namespace flashback::inline FLASHBACK_ISA {

/// How the learning rate falls after the warm-up.
enum class Decay : std::uint8_t { constant, linear, cosine };

/// A linear warm-up from 0, then a decay to 0 at the last step. The numbers are those of Hugging Face's
/// get_*_schedule_with_warmup.
/// Source    Loshchilov and Hutter 2017, SGDR, equation 5, without restarts (cosine)
struct LearningRate {
    float peak = 1e-4f;           ///< the greatest rate
    Decay decay = Decay::cosine;  ///< how it falls after the warm-up
    double warmup_ratio = 0.1;    ///< share of all steps, rounded up
    std::uint64_t steps = 1000;   ///< of the whole run

    /// Steps in which the rate rises.
    std::uint64_t warmup_steps() const noexcept {
        return static_cast<std::uint64_t>(std::ceil(static_cast<double>(steps) * warmup_ratio));
    }

    /// The rate of a step, counted from 0. With a warm-up, that of step 0 is 0.
    float at(std::uint64_t step) const noexcept {
        const auto warmup = static_cast<double>(warmup_steps());
        const auto now = static_cast<double>(step);
        double factor = 1;
        if (now < warmup) {
            factor = now / warmup;
        } else if (decay != Decay::constant) {
            const double progress = std::min((now - warmup) / std::max(1.0, static_cast<double>(steps) - warmup), 1.0);
            factor = decay == Decay::linear ? 1 - progress : 0.5 * (1 + std::cos(std::numbers::pi * progress));
        }
        return static_cast<float>(static_cast<double>(peak) * factor);
    }
};

}  // namespace flashback::inline FLASHBACK_ISA
