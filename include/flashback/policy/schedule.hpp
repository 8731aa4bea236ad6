/// \file When to retrieve.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/policy/decision.hpp"
#include "flashback/policy/detail/optional_members.hpp"
#include "flashback/policy/step_view.hpp"
#include "flashback/policy/stop_reason.hpp"

#include <concepts>
#include <cstddef>

namespace flashback::inline FLASHBACK_ISA {

/// Decides when to retrieve: `schedule(step)` is asked before every token, the first included, and gives a Decision, or a bool,
/// of which true retrieves. What only converts to bool is refused. A schedule that changes when it is called has a `reset()`.
///
/// Optional members of policies in any slot. If one is there but does not fit, it is refused by name:
///
/// | expression                    | result | meaning                                                                      |
/// |-------------------------------|--------|------------------------------------------------------------------------------|
/// | `policy.reset()`              |        | a generation starts                                                          |
/// | `policy.rewind(n)`            |        | the newest n generated tokens are taken back                                 |
/// | `policy.wants_surprisals()`   | `bool` | const: whether `StepView::surprisals` is needed; it costs an exponential per logit |
/// | `policy.wants_attention()`    | `bool` | const: whether `StepView::attention` is needed; the model must be an AttentiveModel |
/// | `policy.looks_at_evaluated()` | `bool` | const: whether `StepView::evaluated` matters; then a SpeculativeDecoder does not guess |
///
/// If several `std::ref`s refer to one object, in slots or inside of policies that are made of others, it hears of each start
/// and each rewind once. A policy of your own that holds others must pass both on itself; what is also in a slot then hears of
/// them again.
///
/// And of schedules only; in other slots it is refused:
///
/// | expression                       | result     | meaning                                                                |
/// |----------------------------------|------------|------------------------------------------------------------------------|
/// | `schedule.at_end(step, reason)`  | `Decision` | the text is about to end for a StopReason: eos, stop_string or max_tokens. A decision to retrieve or to drop passages goes on instead; any other lets it end |
///
/// At eos the schedule has been asked after every token of the text; at other ends the newest token is new to it. At max_tokens
/// the text ends anyway, unless the decision takes tokens back.
template <class S>
concept RetrievalSchedule = requires(S& schedule, const StepView& step) {
    { schedule(step) } -> detail::Decides;
};

namespace detail {

template <class S>
concept LooksAtEnds = requires(S& schedule, const StepView& step, StopReason reason) {
    { schedule.at_end(step, reason) } -> Decides;
};

/// The same of an object. One that holds others, or any other, says it by `looks_at_ends()`.
template <class S>
constexpr bool looks_at_ends(const S& schedule) {
    if constexpr (requires { unwrap(schedule).looks_at_ends(); }) {
        return unwrap(schedule).looks_at_ends();
    } else {
        return LooksAtEnds<Unwrapped<S>>;
    }
}

/// A schedule without a memory, or one that can be told to forget.
template <class S>
concept StartsAfresh = RetrievalSchedule<const S> || Resets<S>;

template <class S>
concept FittingSchedule = RetrievalSchedule<S> && StartsAfresh<S> &&
    (!NamesAtEnd<S> || LooksAtEnds<S>)&&FitsOptionally<S, Calls::at_end>;

FLASHBACK_DETAIL_MEMBER(Schedule, schedule);

/// Refuses, in words, what is no RetrievalSchedule.
template <class S>
constexpr bool checked_schedule() {
    static_assert(
        RetrievalSchedule<S> || !NamesSchedule<S>,
        "flashback: what has a member schedule() is a method, for Policies::method, and no RetrievalSchedule: to combine "
        "it, give it operator() instead, and make its query a policy of its own");
    static_assert(RetrievalSchedule<S> || NamesSchedule<S>,
                  "flashback: a RetrievalSchedule must be callable as schedule(const StepView&) and return bool or Decision");
    if constexpr (RetrievalSchedule<S>) {
        static_assert(StartsAfresh<S>,
                      "flashback: a RetrievalSchedule whose call is not const must have reset(), or a second generation would "
                      "start with what the first one left; if it keeps nothing, let its call be const");
        static_assert(
            !NamesAtEnd<S> || LooksAtEnds<S>,
            "flashback: at_end of a RetrievalSchedule is called as at_end(const StepView&, StopReason) and must return "
            "Decision");
        checked_optional_members<S, Calls::at_end>();
    }
    return true;
}

}  // namespace detail

/// What a schedule says about the end of a text; without `at_end` nothing.
template <class S>
constexpr Decision at_end_of(S& schedule, const StepView& step, StopReason reason) {
    if constexpr (detail::LooksAtEnds<members::Unwrapped<S>>) {
        return members::unwrap(schedule).at_end(step, reason);
    } else {
        return Decision::go_on();
    }
}

/// Never retrieves: the closed book.
struct Never {
    constexpr bool operator()(const StepView& /*step*/) const noexcept { return false; }
};

/// Retrieves once, before the first token.
struct Once {
    constexpr bool operator()(const StepView& step) const noexcept { return step.retrievals == 0; }
};

/// Retrieves before the first token, and again whenever `stride` tokens were generated since the last retrieval.
/// Source    Ram et al. 2023, In-Context RALM, section 3.2 (retrieval stride s); FlashBack uses s = 16
class EveryNTokens {
public:
    /// Throws    Error{contract} if the stride is 0
    constexpr explicit EveryNTokens(std::size_t stride = 16) : stride_(stride) {
        FLASHBACK_ASSERT(stride > 0, "EveryNTokens needs a stride of at least 1 token, found 0");
    }

    /// Tokens from one retrieval to the next.
    constexpr std::size_t stride() const noexcept { return stride_; }

    constexpr bool operator()(const StepView& step) const noexcept {
        return step.retrievals == 0 || step.since_retrieval >= stride_;
    }

private:
    std::size_t stride_;
};

/// Retrieves before the first token and every `interval` tokens, as EveryNTokens, and hints right after each retrieval at what the text
/// asks for then, so that the search runs while the interval is written. Approximate over a retriever that is `stale`: each retrieval but
/// the first reads the answer to the query of the token after the retrieval before. Over any other it is EveryNTokens.
/// Source    Jiang et al. 2024, PipeRAG (arXiv 2403.05676), section 4.1 (intervals of 8 to 64)
class StaleEveryN {
public:
    /// Throws    Error{contract} if the interval is less than 2: there would be no token to search during
    constexpr explicit StaleEveryN(std::size_t interval = 16) : interval_(interval) {
        FLASHBACK_ASSERT(interval > 1, "StaleEveryN needs an interval of at least 2 tokens, found ", interval);
    }

    /// Tokens from one retrieval to the next.
    constexpr std::size_t interval() const noexcept { return interval_; }

    constexpr Decision operator()(const StepView& step) const noexcept {
        if (step.retrievals == 0 || step.since_retrieval >= interval_) return true;
        return step.since_retrieval == 1 ? Decision::prefetch() : Decision::go_on();
    }

private:
    std::size_t interval_;
};

}  // namespace flashback::inline FLASHBACK_ISA
