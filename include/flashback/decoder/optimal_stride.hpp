/// \file How many guesses are worth making before they are checked.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/fwd.hpp"

#include <algorithm>
#include <array>
#include <cstddef>

namespace flashback::inline FLASHBACK_ISA {

/// The number of guesses k that a round of them is to have, from what the last rounds came to: the smallest k with
/// (1 - g^(k+1)) L(k) < (1 - g^k) L(k+1), beyond which a round gains less than it costs. g is the share of guesses that matched, a the
/// seconds of a step (the tokens between two searches), b those of a search. A round takes L(k) = k a + b; if the search runs while the
/// last step does, g^k ((k-1) a + max(a, b)) + (1 - g^k) (k a + b).
///
/// All three are those of the last 5 rounds. Without rounds, or if these had no steps, k is 1; if no k fits, it is the greatest allowed.
/// Source    Zhang et al. 2024, RaLMSpec (arXiv 2401.14021), section 4: OS3, and the window and the cap of g in its official code
class OptimalStride {
public:
    /// Throws    Error{contract} if not even 1 guess is allowed
    explicit OptimalStride(bool asynchronous = false, std::size_t greatest = 64)
        : asynchronous_(asynchronous), greatest_(greatest) {
        FLASHBACK_ASSERT(greatest > 0, "OptimalStride needs at least 1 guess, found 0");
    }

    /// A step took so many seconds. What is no number, or less than 0, is taken for 0.
    void step(double seconds) noexcept {
        step_seconds_ += sane(seconds);
        ++steps_;
    }

    /// A round ended: so many guesses matched, then one failed or none did, and the search took so many seconds.
    void round(std::size_t matches, bool failed, double search_seconds) noexcept {
        rounds_[count_ % rounds_.size()] = {matches, failed ? 1u : 0u, steps_, step_seconds_, sane(search_seconds)};
        ++count_;
        steps_ = 0;
        step_seconds_ = 0;
    }

    /// How many guesses the next round is to have.
    /// Cost      a few operations for each k up to the answer
    std::size_t stride() const noexcept {
        const std::size_t known = std::min(count_, rounds_.size());
        Round all;
        for (std::size_t i = 0; i < known; ++i) {
            all.matches += rounds_[i].matches;
            all.failures += rounds_[i].failures;
            all.steps += rounds_[i].steps;
            all.step_seconds += rounds_[i].step_seconds;
            all.search_seconds += rounds_[i].search_seconds;
        }
        if (all.steps == 0) return 1;
        const std::size_t guesses = all.matches + all.failures;
        const double g = guesses == 0 ? 0 : static_cast<double>(all.matches) / static_cast<double>(guesses);
        const double a = all.step_seconds / static_cast<double>(all.steps);
        return best(std::min(g, most_matched), a, all.search_seconds / static_cast<double>(known));
    }

    /// The same from g, a and b.
    std::size_t best(double g, double a, double b) const noexcept {
        double power = g;  // g^k
        for (std::size_t k = 1; k < greatest_; ++k, power *= g) {
            if ((1 - power * g) * seconds_of(k, power, a, b) < (1 - power) * seconds_of(k + 1, power * g, a, b)) return k;
        }
        return greatest_;
    }

    /// What g is at most.
    static constexpr double most_matched = 0.6;

private:
    struct Round {
        std::size_t matches = 0;
        std::size_t failures = 0;
        std::size_t steps = 0;
        double step_seconds = 0;
        double search_seconds = 0;
    };

    static double sane(double seconds) noexcept { return seconds > 0 && seconds < 1e9 ? seconds : 0; }

    /// L(k), where `power` is g^k.
    double seconds_of(std::size_t k, double power, double a, double b) const noexcept {
        const double in_turn = static_cast<double>(k) * a + b;
        if (!asynchronous_) return in_turn;
        return power * (static_cast<double>(k - 1) * a + std::max(a, b)) + (1 - power) * in_turn;
    }

    bool asynchronous_;
    std::size_t greatest_;
    std::array<Round, 5> rounds_{};
    std::size_t count_ = 0;
    std::size_t steps_ = 0;  // since the last round
    double step_seconds_ = 0;
};

}  // namespace flashback::inline FLASHBACK_ISA
