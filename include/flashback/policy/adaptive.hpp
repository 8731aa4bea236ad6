/// \file Adaptive-RAG: the question decides which schedule its text is written with.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/policy/combined_schedules.hpp"
#include "flashback/policy/schedule.hpp"

#include <concepts>
#include <cstddef>
#include <tuple>
#include <type_traits>
#include <utility>

namespace flashback::inline FLASHBACK_ISA {

namespace detail {

template <class R>
concept RoutesSteps = requires(Unwrapped<R>& router, const StepView& step) {
    { router(step) } -> Whole;
};

}  // namespace detail

/// One of several schedules for each generation. `router(step)` is called once, before the first token, when the step has the prompt, and
/// gives the number of the schedule, from 0. Only that one is asked; all hear of starts and rewinds. `routed` makes one; a `std::ref` refers
/// to a router or a schedule elsewhere.
///
/// In the paper the router is a small classifier of questions, with three outcomes: `routed(router, Never{}, Once{}, several)`.
/// Source    Jeong et al. 2024, Adaptive-RAG (arXiv 2403.14403), section 3.2
template <class Router, class... Schedules>
class Routed {
    static_assert(detail::checked_schedules<Schedules...>());
    static_assert(
        detail::RoutesSteps<Router>,
        "flashback: the router of routed must be callable as router(const StepView&) and return the number of a schedule");

public:
    /// `router(step)` gives the number of the schedule that is asked, at the start of each text.
    constexpr explicit Routed(Router router, Schedules... schedules)
        : router_(std::move(router)), schedules_(std::move(schedules)...) {}

    /// Throws    Error{contract} if the router gives a number that no schedule has; what router and schedule throw
    constexpr Decision operator()(const StepView& step) {
        if (step.generated() == 0) {
            const auto found = members::unwrap(router_)(step);
            FLASHBACK_ASSERT(std::cmp_greater_equal(found, 0) && std::cmp_less(found, sizeof...(Schedules)),
                             "the router chose schedule ", found, ", but there are ", sizeof...(Schedules), ", counted from 0");
            chosen_.number = static_cast<std::size_t>(found);
        }
        return ask([&](auto& schedule) -> Decision { return members::unwrap(schedule)(step); });
    }
    constexpr Decision at_end(const StepView& step, StopReason reason) {
        return ask([&](auto& schedule) { return at_end_of(schedule, step, reason); });
    }

    /// Whether the chosen schedule has an `at_end`.
    constexpr bool looks_at_ends() const {
        bool looks = false;
        std::size_t number = 0;
        const auto ask_one = [&](const auto& schedule) {
            if (number++ == chosen_.number) looks = detail::looks_at_ends(schedule);
        };
        std::apply([&](const Schedules&... each) { (ask_one(each), ...); }, schedules_);
        return looks;
    }

    constexpr void reset() { tell_all(detail::News::start()); }
    constexpr void rewind(std::size_t tokens) { tell_all(detail::News::rewind(tokens)); }
    constexpr void pass_on(detail::News& news, std::type_identity<Routed>) { tell_all(news); }
    constexpr bool wants_surprisals() const {
        return std::apply([](const Schedules&... each) { return (detail::wants_surprisals(each) || ...); }, schedules_);
    }
    constexpr bool wants_attention() const {
        return std::apply([](const Schedules&... each) { return (detail::wants_attention(each) || ...); }, schedules_);
    }
    constexpr bool looks_at_evaluated() const {
        return std::apply([](const Schedules&... each) { return (detail::looks_at_evaluated(each) || ...); }, schedules_);
    }

private:
    /// Which schedule was chosen; none before the first token.
    struct Chosen {
        static constexpr std::size_t none = sizeof...(Schedules);
        std::size_t number = none;
        constexpr void reset() noexcept { number = none; }
    };

    constexpr void tell_all(detail::News&& news) { tell_all(news); }
    constexpr void tell_all(detail::News& news) {
        news.tell(chosen_);
        news.tell(router_);
        std::apply([&](Schedules&... each) { (news.tell(each), ...); }, schedules_);
    }

    /// What `question(schedule)` gives for the chosen schedule.
    template <class Question>
    constexpr Decision ask(Question question) {
        Decision decision = Decision::go_on();
        std::size_t number = 0;
        const auto ask_one = [&](auto& schedule) {
            if (number++ == chosen_.number) decision = question(schedule);
        };
        std::apply([&](Schedules&... each) { (ask_one(each), ...); }, schedules_);
        return decision;
    }

    FLASHBACK_NO_UNIQUE_ADDRESS Router router_;
    FLASHBACK_NO_UNIQUE_ADDRESS std::tuple<Schedules...> schedules_;
    Chosen chosen_;
};

/// One of the schedules for each generation: the one whose number, from 0, `router(step)` gives before the first token.
template <class Router, class... Schedules>
constexpr auto routed(Router router, Schedules... schedules) {
    static_assert(detail::checked_schedules<Schedules...>());
    static_assert(
        detail::RoutesSteps<Router>,
        "flashback: the router of routed must be callable as router(const StepView&) and return the number of a schedule");
    if constexpr (detail::RoutesSteps<Router> && (detail::FittingSchedule<members::Unwrapped<Schedules>> && ...)) {
        return Routed<Router, Schedules...>{std::move(router), std::move(schedules)...};
    } else {
        return Never{};  // refused already: that sentence is the only error
    }
}

}  // namespace flashback::inline FLASHBACK_ISA
