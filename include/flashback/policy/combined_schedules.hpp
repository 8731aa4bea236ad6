/// \file Schedules made of schedules.
#pragma once

#include "flashback/policy/schedule.hpp"

#include <cstddef>
#include <tuple>
#include <utility>

namespace flashback::inline FLASHBACK_ISA {

namespace detail {

template <class P>
constexpr void reset_policy(P& policy) {
    if constexpr (requires { policy.reset(); }) policy.reset();
}

/// Several schedules, all of which are asked at every step, so that those with a memory miss nothing.
template <class... Schedules>
class ScheduleGroup {
public:
    constexpr explicit ScheduleGroup(Schedules... schedules) : schedules_(std::move(schedules)...) {}

    constexpr void reset() {
        std::apply([](Schedules&... each) { (reset_policy(each), ...); }, schedules_);
    }

protected:
    /// The decision that `combine(decision, decision)` makes of `start` and those of all schedules, in order.
    template <class Combine>
    constexpr Decision ask(const StepView& step, Decision start, Combine combine) {
        return std::apply(
            [&](Schedules&... each) {
                ((start = combine(start, each(step))), ...);
                return start;
            },
            schedules_);
    }

private:
    FLASHBACK_NO_UNIQUE_ADDRESS std::tuple<Schedules...> schedules_;
};

/// Refuse, in words, what cannot be combined.
template <class... Schedules>
constexpr bool checked_any_of() {
    static_assert(sizeof...(Schedules) > 0, "flashback: any_of needs at least one schedule");
    static_assert(
        (RetrievalSchedule<Schedules> && ...),
        "flashback: any_of combines RetrievalSchedules: callable as schedule(const StepView&), giving bool or Decision");
    return true;
}
template <class... Schedules>
constexpr bool checked_all_of() {
    static_assert(sizeof...(Schedules) > 0, "flashback: all_of needs at least one schedule");
    static_assert(
        (RetrievalSchedule<Schedules> && ...),
        "flashback: all_of combines RetrievalSchedules: callable as schedule(const StepView&), giving bool or Decision");
    return true;
}
template <class Schedule>
constexpr bool checked_at_most() {
    static_assert(
        RetrievalSchedule<Schedule>,
        "flashback: at_most bounds a RetrievalSchedule: callable as schedule(const StepView&), giving bool or Decision");
    return true;
}

}  // namespace detail

/// The strongest decision of several schedules: one that stops, else one that retrieves. Every schedule is asked at every
/// step, so that those with a memory miss nothing. `any_of` makes one.
template <class... Schedules>
class AnyOf : public detail::ScheduleGroup<Schedules...> {
    static_assert(detail::checked_any_of<Schedules...>());

public:
    constexpr explicit AnyOf(Schedules... schedules) : detail::ScheduleGroup<Schedules...>(std::move(schedules)...) {}

    constexpr Decision operator()(const StepView& step) {
        return this->ask(step, Decision::go_on(), [](Decision a, Decision b) { return either(a, b); });
    }
};

/// The weakest decision of several schedules: it retrieves when all of them do, or stop. Every schedule is asked at every
/// step. `all_of` makes one.
template <class... Schedules>
class AllOf : public detail::ScheduleGroup<Schedules...> {
    static_assert(detail::checked_all_of<Schedules...>());

public:
    constexpr explicit AllOf(Schedules... schedules) : detail::ScheduleGroup<Schedules...>(std::move(schedules)...) {}

    constexpr Decision operator()(const StepView& step) {
        return this->ask(step, Decision::stop(), [](Decision a, Decision b) { return both(a, b); });
    }
};

/// A schedule that no longer retrieves once a generation has had so many retrievals, those that other schedules asked for
/// included; the schedule is asked all the same. `at_most` makes one.
template <class Schedule>
class AtMost {
    static_assert(detail::checked_at_most<Schedule>());

public:
    constexpr AtMost(std::size_t retrievals, Schedule schedule) : most_(retrievals), schedule_(std::move(schedule)) {}

    constexpr Decision operator()(const StepView& step) {
        const Decision decision = schedule_(step);
        return decision.retrieves() && step.retrievals >= most_ ? Decision::go_on() : decision;
    }
    constexpr void reset() { detail::reset_policy(schedule_); }

private:
    std::size_t most_;
    FLASHBACK_NO_UNIQUE_ADDRESS Schedule schedule_;
};

/// Retrieves when any of the schedules does; stops when any of them stops.
template <class... Schedules>
constexpr auto any_of(Schedules... schedules) {
    static_assert(detail::checked_any_of<Schedules...>());
    if constexpr ((RetrievalSchedule<Schedules> && ...)) {
        return AnyOf<Schedules...>{std::move(schedules)...};
    } else {
        return Never{};  // refused already: that sentence is the only error
    }
}

/// Retrieves when all of the schedules do; stops when all of them stop.
template <class... Schedules>
constexpr auto all_of(Schedules... schedules) {
    static_assert(detail::checked_all_of<Schedules...>());
    if constexpr ((RetrievalSchedule<Schedules> && ...)) {
        return AllOf<Schedules...>{std::move(schedules)...};
    } else {
        return Never{};  // refused already: that sentence is the only error
    }
}

/// Retrieves when the schedule does, unless the generation has had `retrievals` retrievals already, whoever asked for them.
template <class Schedule>
constexpr auto at_most(std::size_t retrievals, Schedule schedule) {
    static_assert(detail::checked_at_most<Schedule>());
    if constexpr (RetrievalSchedule<Schedule>) {
        return AtMost<Schedule>{retrievals, std::move(schedule)};
    } else {
        return Never{};  // refused already: that sentence is the only error
    }
}

}  // namespace flashback::inline FLASHBACK_ISA
