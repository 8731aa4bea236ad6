/// \file A bound on what retrieval makes a model evaluate.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/policy/combined_schedules.hpp"
#include "flashback/policy/decision.hpp"
#include "flashback/policy/schedule.hpp"
#include "flashback/policy/step_view.hpp"
#include "flashback/policy/stop_reason.hpp"

#include <concepts>
#include <cstddef>
#include <type_traits>
#include <utility>

namespace flashback::inline FLASHBACK_ISA {

/// What a retrieval is expected to make the model evaluate: what the last one did.
struct CostOfLast {};

namespace detail {

template <class C>
concept PricesRetrievals = std::same_as<C, CostOfLast> || requires(Unwrapped<C>& cost, const StepView& step) {
    { cost(step) } -> std::convertible_to<double>;
};

/// A cost with a unit of its own.
template <class C>
concept PricesAllWork = PricesRetrievals<C> && requires(Unwrapped<C>& cost, const StepView& step) {
    { cost.spent(step) } -> std::convertible_to<double>;
};

}  // namespace detail

/// Lets a schedule retrieve or prefetch only if
///
///     spent + cost <= tokens * (generated + look_ahead)
///
/// `spent` is what the model has evaluated since the first token was there: neither the prompt nor what was found for it counts.
/// `cost` is what is expected of the retrieval: what the model evaluated from the last one to the token after it, whoever asked for
/// that, and 0 while there was none after the first token; or `cost(step)`, if a callable is given, such as a cost model. Without
/// retrievals `spent` grows by 1 a token, so that `tokens` up to 1 allow those of the look-ahead only. The schedule is asked even if
/// it may not retrieve. What was evaluated stays spent, also if tokens are taken back. It is what the model did: with another KVReuse, or
/// over a model that holds passages already, the decisions may be others. `within_budget` makes one.
///
/// If `cost` has a member `double spent(const StepView&)`, which is asked at each step what was spent up to now, the budget is in its unit:
/// seconds, say, with PredictedSeconds.
template <class Schedule, class Cost = CostOfLast>
class WithinBudget {
    static_assert(detail::checked_schedules<Schedule>());
    static_assert(detail::PricesRetrievals<Cost>,
                  "flashback: the cost of a budget must be callable as cost(const StepView&) and return a number of tokens");

public:
    /// Throws    Error{contract} if the budget is negative or not a number
    WithinBudget(double tokens, Schedule schedule, std::size_t look_ahead = 16, Cost cost = {})
        : tokens_(tokens), look_ahead_(look_ahead), schedule_(std::move(schedule)), cost_(std::move(cost)) {
        FLASHBACK_ASSERT(tokens >= 0, "a budget for each generated token is a number of at least 0, found ", tokens);
    }

    Decision operator()(const StepView& step) {
        learn(step);
        return bounded(step, members::unwrap(schedule_)(step));
    }
    Decision at_end(const StepView& step, StopReason reason) {
        learn(step);
        return bounded(step, at_end_of(schedule_, step, reason));
    }
    void reset() {
        forget();
        detail::News::start().tell(schedule_);
    }
    void rewind(std::size_t tokens) { detail::News::rewind(tokens).tell(schedule_); }
    void pass_on(detail::News& news, std::type_identity<WithinBudget>) {
        if (news.starts()) forget();
        news.tell(schedule_);
    }
    bool wants_surprisals() const { return detail::wants_surprisals(schedule_); }
    bool wants_attention() const { return detail::wants_attention(schedule_); }
    static constexpr bool looks_at_evaluated() noexcept { return true; }
    bool looks_at_ends() const { return detail::looks_at_ends(schedule_); }

    /// The schedule that is bounded.
    auto& inner() noexcept { return members::unwrap(schedule_); }

private:
    void forget() {
        started_ = false;
        start_ = spent_ = 0;
        asked_ = retrievals_ = last_ = 0;
    }

    void learn(const StepView& step) {
        if (started_ && step.retrievals > retrievals_) last_ = step.evaluated - asked_;
        spent_ = spent_by(step);
        if (!started_ && step.generated() > 0) {
            started_ = true;
            start_ = spent_;
        }
        asked_ = step.evaluated;
        retrievals_ = step.retrievals;
    }

    Decision bounded(const StepView& step, Decision decision) {
        if (!decision.retrieves() && !decision.prefetches()) return decision;
        const double spent = started_ ? spent_ - start_ : 0;
        const double most = tokens_ * static_cast<double>(step.generated() + look_ahead_);
        return spent + cost_of(step) <= most ? decision : Decision::go_on();
    }

    double spent_by(const StepView& step) {
        if constexpr (detail::PricesAllWork<Cost>) {
            return static_cast<double>(members::unwrap(cost_).spent(step));
        } else {
            return static_cast<double>(step.evaluated);
        }
    }

    double cost_of(const StepView& step) {
        if constexpr (std::same_as<Cost, CostOfLast>) {
            static_cast<void>(step);
            return static_cast<double>(last_);
        } else {
            return static_cast<double>(members::unwrap(cost_)(step));
        }
    }

    double tokens_;
    std::size_t look_ahead_;
    FLASHBACK_NO_UNIQUE_ADDRESS Schedule schedule_;
    FLASHBACK_NO_UNIQUE_ADDRESS Cost cost_;
    bool started_ = false;
    double start_ = 0;            // spent when the first token was there
    double spent_ = 0;            // when it was last asked
    std::size_t asked_ = 0;       // evaluated when it was last asked
    std::size_t retrievals_ = 0;  // and how many there were
    std::size_t last_ = 0;        // cost of the last one
};

/// Retrieves if the schedule does and the budget allows it: `tokens` evaluated tokens for each that is generated.
template <class Schedule, class Cost = CostOfLast>
auto within_budget(double tokens, Schedule schedule, std::size_t look_ahead = 16, Cost cost = {}) {
    static_assert(detail::checked_schedules<Schedule>());
    if constexpr (detail::FittingSchedule<members::Unwrapped<Schedule>>) {
        return WithinBudget<Schedule, Cost>{tokens, std::move(schedule), look_ahead, std::move(cost)};
    } else {
        return Never{};  // refused already: that sentence is the only error
    }
}

}  // namespace flashback::inline FLASHBACK_ISA
