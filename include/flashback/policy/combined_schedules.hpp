/// \file Schedules made of schedules.
#pragma once

#include "flashback/policy/schedule.hpp"

#include <cstddef>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>

namespace flashback::inline FLASHBACK_ISA {

namespace detail {

/// Several schedules. All are asked at every step and told of every rewind, so that those with a memory miss nothing.
template <class... Schedules>
class ScheduleGroup {
public:
    constexpr explicit ScheduleGroup(Schedules... schedules) : schedules_(std::move(schedules)...) {}

    constexpr void reset() { tell_all(News::start()); }
    constexpr void rewind(std::size_t tokens) { tell_all(News::rewind(tokens)); }
    constexpr bool wants_surprisals() const {
        return std::apply([](const Schedules&... each) { return (detail::wants_surprisals(each) || ...); }, schedules_);
    }
    constexpr bool wants_attention() const {
        return std::apply([](const Schedules&... each) { return (detail::wants_attention(each) || ...); }, schedules_);
    }
    constexpr bool looks_at_evaluated() const {
        return std::apply([](const Schedules&... each) { return (detail::looks_at_evaluated(each) || ...); }, schedules_);
    }
    constexpr bool looks_at_ends() const {
        return std::apply([](const Schedules&... each) { return (detail::looks_at_ends(each) || ...); }, schedules_);
    }

protected:
    constexpr void tell_all(News&& news) { tell_all(news); }
    constexpr void tell_all(News& news) {
        std::apply([&](Schedules&... each) { (news.tell(each), ...); }, schedules_);
    }

    /// The decision that `combine(decision, decision)` makes of `start` and the decisions of all schedules, in order.
    template <class Combine>
    constexpr Decision ask(const StepView& step, Decision start, Combine combine) {
        return std::apply(
            [&](Schedules&... each) {
                ((start = combine(start, unwrap(each)(step))), ...);
                return start;
            },
            schedules_);
    }

    /// The same at the end of a text, for the schedules that look at ends; the others have no opinion.
    template <class Combine>
    constexpr Decision ask_at_end(const StepView& step, StopReason reason, Combine combine) {
        std::optional<Decision> decision;
        const auto ask_one = [&]<class S>(S& each) {
            if (!detail::looks_at_ends(each)) return;
            const Decision one = at_end_of(each, step, reason);
            decision = decision ? combine(*decision, one) : one;
        };
        std::apply([&](Schedules&... each) { (ask_one(each), ...); }, schedules_);
        return decision.value_or(Decision::go_on());
    }

private:
    FLASHBACK_NO_UNIQUE_ADDRESS std::tuple<Schedules...> schedules_;
};

/// Refuses, in words, what cannot be combined.
template <class... Schedules>
constexpr bool checked_schedules() {
    static_assert(sizeof...(Schedules) > 0, "flashback: any_of and all_of need at least one schedule");
    constexpr bool all = ((RetrievalSchedule<Unwrapped<Schedules>> || NamesSchedule<Unwrapped<Schedules>>)&&...);
    static_assert(
        all,
        "flashback: any_of, all_of and at_most are made of RetrievalSchedules: callable as schedule(const StepView&), "
        "giving bool or Decision");
    if constexpr (all) (checked_schedule<Unwrapped<Schedules>>(), ...);
    return true;
}

}  // namespace detail

/// The strongest decision of several schedules: stop, else retrieve, and so on (`either`). Every schedule is asked at every
/// step, so that those with a memory miss nothing. `any_of` makes one; a `std::ref` refers to a schedule elsewhere.
template <class... Schedules>
class AnyOf : public detail::ScheduleGroup<Schedules...> {
    static_assert(detail::checked_schedules<Schedules...>());
    static constexpr auto stronger = [](Decision a, Decision b) { return either(a, b); };

public:
    /// Holds the schedules.
    constexpr explicit AnyOf(Schedules... schedules) : detail::ScheduleGroup<Schedules...>(std::move(schedules)...) {}

    constexpr Decision operator()(const StepView& step) { return this->ask(step, Decision::go_on(), stronger); }
    constexpr Decision at_end(const StepView& step, StopReason reason) { return this->ask_at_end(step, reason, stronger); }
    constexpr void pass_on(detail::News& news, std::type_identity<AnyOf>) { this->tell_all(news); }
};

/// The weakest decision of several schedules: it retrieves if each of them retrieves or stops (`both`). Every schedule is asked
/// at every step; at the end of a text, those that have an opinion. `all_of` makes one.
template <class... Schedules>
class AllOf : public detail::ScheduleGroup<Schedules...> {
    static_assert(detail::checked_schedules<Schedules...>());
    static constexpr auto weaker = [](Decision a, Decision b) { return both(a, b); };

public:
    /// Holds the schedules.
    constexpr explicit AllOf(Schedules... schedules) : detail::ScheduleGroup<Schedules...>(std::move(schedules)...) {}

    constexpr Decision operator()(const StepView& step) { return this->ask(step, Decision::stop(), weaker); }
    constexpr Decision at_end(const StepView& step, StopReason reason) { return this->ask_at_end(step, reason, weaker); }
    constexpr void pass_on(detail::News& news, std::type_identity<AllOf>) { this->tell_all(news); }
};

/// Lets a schedule retrieve until the generation has had a number of retrievals, whoever asked for them. The schedule is asked
/// even after that. `at_most` makes one.
template <class Schedule>
class AtMost {
    static_assert(detail::checked_schedules<Schedule>());

public:
    /// Lets `schedule` retrieve until there were so many retrievals.
    constexpr AtMost(std::size_t retrievals, Schedule schedule) : most_(retrievals), schedule_(std::move(schedule)) {}

    constexpr Decision operator()(const StepView& step) { return bounded(step, members::unwrap(schedule_)(step)); }
    constexpr Decision at_end(const StepView& step, StopReason reason) {
        return bounded(step, at_end_of(schedule_, step, reason));
    }
    constexpr void reset() { detail::News::start().tell(schedule_); }
    constexpr void rewind(std::size_t tokens) { detail::News::rewind(tokens).tell(schedule_); }
    constexpr void pass_on(detail::News& news, std::type_identity<AtMost>) { news.tell(schedule_); }
    constexpr bool wants_surprisals() const { return detail::wants_surprisals(schedule_); }
    constexpr bool wants_attention() const { return detail::wants_attention(schedule_); }
    constexpr bool looks_at_evaluated() const { return detail::looks_at_evaluated(schedule_); }
    constexpr bool looks_at_ends() const { return detail::looks_at_ends(schedule_); }

    /// The schedule that is bounded.
    constexpr auto& inner() noexcept { return members::unwrap(schedule_); }

private:
    constexpr Decision bounded(const StepView& step, Decision decision) const {
        const bool searches = decision.retrieves() || decision.prefetches();
        return searches && step.retrievals >= most_ ? Decision::go_on() : decision;
    }

    std::size_t most_;
    FLASHBACK_NO_UNIQUE_ADDRESS Schedule schedule_;
};

/// Retrieves if any of the schedules does; stops if any of them stops.
template <class... Schedules>
constexpr auto any_of(Schedules... schedules) {
    static_assert(detail::checked_schedules<Schedules...>());
    if constexpr ((detail::FittingSchedule<members::Unwrapped<Schedules>> && ...)) {
        return AnyOf<Schedules...>{std::move(schedules)...};
    } else {
        return Never{};  // refused already: that sentence is the only error
    }
}

/// Retrieves if all of the schedules do; stops if all of them stop.
template <class... Schedules>
constexpr auto all_of(Schedules... schedules) {
    static_assert(detail::checked_schedules<Schedules...>());
    if constexpr ((detail::FittingSchedule<members::Unwrapped<Schedules>> && ...)) {
        return AllOf<Schedules...>{std::move(schedules)...};
    } else {
        return Never{};  // refused already: that sentence is the only error
    }
}

/// Retrieves if the schedule does, unless the generation has had `retrievals` retrievals already, whoever asked for them.
template <class Schedule>
constexpr auto at_most(std::size_t retrievals, Schedule schedule) {
    static_assert(detail::checked_schedules<Schedule>());
    if constexpr (detail::FittingSchedule<members::Unwrapped<Schedule>>) {
        return AtMost<Schedule>{retrievals, std::move(schedule)};
    } else {
        return Never{};  // refused already: that sentence is the only error
    }
}

}  // namespace flashback::inline FLASHBACK_ISA
