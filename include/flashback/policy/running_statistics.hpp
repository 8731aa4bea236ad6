/// \file Mean and deviation of numbers that come one by one, and may be taken back.
#pragma once

#include "flashback/core/config.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// Mean and deviation of what was pushed so far. It keeps the state after each number, so that numbers are taken back exactly.
/// Source    Welford 1962, Note on a method for calculating corrected sums of squares and products
class RunningStatistics {
public:
    /// Forgets all numbers, and keeps their memory.
    void reset() noexcept { states_.clear(); }

    /// Adds a number. One that is not finite can be taken back as others are, but counts for nothing.
    /// Cost      constant
    void push(double value) {
        State next = now();
        if (std::isfinite(value)) {
            ++next.count;
            const double off = value - next.mean;
            next.mean += off / static_cast<double>(next.count);
            next.squares += off * (value - next.mean);
        }
        states_.push_back(next);
    }

    /// Takes the newest n numbers back, or all if there are fewer.
    /// Cost      constant
    void rewind(std::size_t n) { states_.resize(states_.size() - std::min(n, states_.size())); }

    /// How many numbers there are, finite or not.
    std::size_t pushed() const noexcept { return states_.size(); }

    /// How many finite numbers there are.
    std::size_t count() const noexcept { return now().count; }

    /// Their mean; 0 if there are none.
    double mean() const noexcept { return now().mean; }

    /// Their standard deviation, as of a whole population: the root of the mean squared distance from the mean.
    double deviation() const noexcept {
        const State state = now();
        return state.count == 0 ? 0 : std::sqrt(state.squares / static_cast<double>(state.count));
    }

    /// How many deviations a number is above the mean; 0 if all numbers so far are the same.
    double z(double value) const noexcept {
        const double one = deviation();
        return one > 0 ? (value - mean()) / one : 0;
    }

private:
    struct State {
        std::size_t count = 0;
        double mean = 0;
        double squares = 0;  // sum of the squared distances from the mean
    };

    State now() const noexcept { return states_.empty() ? State{} : states_.back(); }

    std::vector<State> states_;
};

}  // namespace flashback::inline FLASHBACK_ISA
