/// \file Retrieving when the model is in doubt: when a signal passes a threshold, or is unusual for this text.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/policy/running_statistics.hpp"
#include "flashback/policy/schedule.hpp"
#include "flashback/policy/step_view.hpp"

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <limits>

namespace flashback::inline FLASHBACK_ISA {

/// A number that says how the model stood to the newest token: `Signal::of(step)`, and `Signal::low_is_doubt`, which is true if
/// a low one, not a high one, is a doubt. A type of your own will do.
template <class S>
concept DoubtSignal = requires(const StepView& step) {
    { S::of(step) } -> std::same_as<double>;
    { S::low_is_doubt } -> std::convertible_to<bool>;
};

/// The entropy, in nats, of the distribution that the newest token was taken from.
struct EntropySignal {
    /// In nats.
    static double of(const StepView& step) { return step.entropy(); }
    static constexpr bool low_is_doubt = false;  ///< doubt is a high value
};

/// -ln of the probability of the newest token.
struct SurprisalSignal {
    /// In nats.
    static double of(const StepView& step) { return step.surprisal(); }
    static constexpr bool low_is_doubt = false;  ///< doubt is a high value
};

/// How far the likeliest token was ahead of the second, as a difference of probabilities.
struct MarginSignal {
    /// From 0 to 1.
    static double of(const StepView& step) { return step.margin(); }
    static constexpr bool low_is_doubt = true;  ///< doubt is a low value
};

/// Retrieves before the first token, and again whenever the signal is at the threshold or beyond it: a high entropy or
/// surprisal, a low margin. Between two retrievals there are at least `apart` tokens: 4 by default, the stride of In-Context RALM.
/// Cost      that of the signal, from `apart` tokens after a retrieval on
template <class Signal>
class OnSignal {
    static_assert(DoubtSignal<Signal>,
                  "flashback: a signal must have of(const StepView&), which returns double, and low_is_doubt");

public:
    /// Throws    Error{contract} if the threshold is not a number or `apart` is 0
    constexpr explicit OnSignal(double threshold, std::size_t apart = 4) : threshold_(threshold), apart_(apart) {
        FLASHBACK_ASSERT(threshold == threshold, "a threshold of a signal is not a number");
        FLASHBACK_ASSERT(apart > 0, "retrievals on a signal need at least 1 token between them, found 0");
    }

    bool operator()(const StepView& step) const {
        if (step.retrievals == 0) return true;
        if (step.since_retrieval < apart_) return false;
        return Signal::low_is_doubt ? Signal::of(step) <= threshold_ : Signal::of(step) >= threshold_;
    }

private:
    double threshold_;
    std::size_t apart_;
};

/// Doubt by entropy.
using OnEntropy = OnSignal<EntropySignal>;
/// Doubt by surprisal.
using OnSurprisal = OnSignal<SurprisalSignal>;
/// Doubt by margin.
using OnMargin = OnSignal<MarginSignal>;

/// Retrieves before the first token, and again whenever the signal of the newest token is at least z standard deviations on the
/// doubtful side of its mean over the tokens before it; `warm_up` of them are needed. Tokens between two retrievals as in OnSignal.
/// Cost      that of the signal at every token
template <class Signal>
class OnUnusual {
    static_assert(DoubtSignal<Signal>,
                  "flashback: a signal must have of(const StepView&), which returns double, and low_is_doubt");

public:
    /// Throws    Error{contract} if z is no positive number, or a number of tokens is 0
    explicit OnUnusual(double z, std::size_t warm_up = 16, std::size_t apart = 4) : z_(z), warm_up_(warm_up), apart_(apart) {
        FLASHBACK_ASSERT(z > 0, "what is unusual must be more than 0 standard deviations away, found ", z);
        FLASHBACK_ASSERT(warm_up > 0, "a mean needs a warm-up of at least 1 token, found 0");
        FLASHBACK_ASSERT(apart > 0, "retrievals on a signal need at least 1 token between them, found 0");
    }

    void reset() noexcept { before_.reset(); }

    bool operator()(const StepView& step) {
        bool unusual = false;
        if (step.generated() > 0) {
            meet(step.generated() - 1);
            const double value = Signal::of(step);
            if (before_.count() >= warm_up_) unusual = (Signal::low_is_doubt ? -before_.z(value) : before_.z(value)) >= z_;
            before_.push(value);
        }
        return step.retrievals == 0 || (unusual && step.since_retrieval >= apart_);
    }

private:
    /// Knows of so many tokens before the newest: what was taken back since is forgotten, and what it was not asked about, such as
    /// last words that another schedule had go on, counts for nothing.
    void meet(std::size_t tokens) {
        before_.rewind(before_.pushed() - std::min(tokens, before_.pushed()));
        while (before_.pushed() < tokens) before_.push(std::numeric_limits<double>::quiet_NaN());
    }

    double z_;
    std::size_t warm_up_;
    std::size_t apart_;
    RunningStatistics before_;
};

/// More entropy than usual in this text.
using OnUnusualEntropy = OnUnusual<EntropySignal>;
/// More surprisal than usual in this text.
using OnUnusualSurprisal = OnUnusual<SurprisalSignal>;
/// Less margin than usual in this text.
using OnUnusualMargin = OnUnusual<MarginSignal>;

}  // namespace flashback::inline FLASHBACK_ISA
