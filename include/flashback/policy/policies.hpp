/// \file All policies of a decoder in one value.
#pragma once

#include "flashback/fwd.hpp"
#include "flashback/policy/combined_schedules.hpp"
#include "flashback/policy/layout.hpp"
#include "flashback/policy/overflow.hpp"
#include "flashback/policy/query.hpp"
#include "flashback/policy/reuse.hpp"
#include "flashback/policy/sampler.hpp"
#include "flashback/policy/schedule.hpp"
#include "flashback/policy/stopping.hpp"
#include "flashback/policy/truncated_sampling.hpp"
#include "flashback/policy/wrapper.hpp"

#include <cstddef>
#include <tuple>
#include <type_traits>
#include <utility>

namespace flashback::inline FLASHBACK_ISA {

/// The policies of a decoder, one slot each; the defaults are FlashBack's, without markers.
///
/// Each slot has a setter that gives a new value with that slot replaced, and a getter of the same name:
///
///     auto policies = Policies{}.schedule(EveryNTokens{16}).layout(AppendDocuments{});
///
/// | slot       | concept             | default            | decides                                      |
/// |------------|---------------------|--------------------|----------------------------------------------|
/// | `schedule` | `RetrievalSchedule` | `EveryNTokens{16}` | when to retrieve                             |
/// | `query`    | `QueryBuilder`      | `LastNTokens{32}`  | what to search for                           |
/// | `wrapper`  | `MarkerWrapper`     | `NoMarkers`        | what stands around a passage                 |
/// | `layout`   | `ContextLayout`     | `AppendDocuments`  | where passages stand                         |
/// | `reuse`    | `KVReuse`           | `KeepCommonPrefix` | what of the KV cache is kept                 |
/// | `sampler`  | `Sampler`           | `Greedy`           | how a token is taken from logits             |
/// | `overflow` | `Overflow`          | `StopWhenFull`     | what is dropped when the window is full      |
/// | `stopping` | `StoppingCriterion` | `NeverStop`        | when the text is long enough: stop strings   |
template <class Schedule, class QueryFrom, class Wrapper, class Layout, class Reuse, class Sampling, class Overflowing,
          class Stopping>
class Policies {
    using Slots = std::tuple<Schedule, QueryFrom, Wrapper, Layout, Reuse, Sampling, Overflowing, Stopping>;
    enum Slot : std::size_t { at_schedule, at_query, at_wrapper, at_layout, at_reuse, at_sampler, at_overflow, at_stopping };
    static_assert(detail::checked_schedule<Schedule>() && detail::checked_query<QueryFrom>() &&
                  detail::checked_wrapper<Wrapper>() && detail::checked_layout<Layout>() && detail::checked_reuse<Reuse>() &&
                  detail::checked_sampler<Sampling>() && detail::checked_overflow<Overflowing>() &&
                  detail::checked_stopping<Stopping>());

public:
    constexpr Policies() = default;
    constexpr Policies(Schedule schedule, QueryFrom query, Wrapper wrapper, Layout layout, Reuse reuse, Sampling sampler,
                       Overflowing overflow, Stopping stopping)
        : slots_(std::move(schedule), std::move(query), std::move(wrapper), std::move(layout), std::move(reuse),
                 std::move(sampler), std::move(overflow), std::move(stopping)) {}

    constexpr Schedule& schedule() noexcept { return std::get<at_schedule>(slots_); }
    constexpr const Schedule& schedule() const noexcept { return std::get<at_schedule>(slots_); }
    constexpr QueryFrom& query() noexcept { return std::get<at_query>(slots_); }
    constexpr const QueryFrom& query() const noexcept { return std::get<at_query>(slots_); }
    constexpr const Wrapper& wrapper() const noexcept { return std::get<at_wrapper>(slots_); }
    constexpr const Layout& layout() const noexcept { return std::get<at_layout>(slots_); }
    constexpr const Reuse& reuse() const noexcept { return std::get<at_reuse>(slots_); }
    constexpr const Overflowing& overflow() const noexcept { return std::get<at_overflow>(slots_); }
    constexpr Sampling& sampler() noexcept { return std::get<at_sampler>(slots_); }
    constexpr const Sampling& sampler() const noexcept { return std::get<at_sampler>(slots_); }
    constexpr Stopping& stopping() noexcept { return std::get<at_stopping>(slots_); }
    constexpr const Stopping& stopping() const noexcept { return std::get<at_stopping>(slots_); }

    /// These policies with another schedule.
    template <class S>
    constexpr auto schedule(S schedule) const {
        static_assert(detail::checked_schedule<S>());
        return with<at_schedule, RetrievalSchedule<S>>(std::move(schedule));
    }

    /// These policies with another query builder.
    template <class Q>
    constexpr auto query(Q query) const {
        static_assert(detail::checked_query<Q>());
        return with<at_query, QueryBuilder<Q>>(std::move(query));
    }

    /// These policies with another wrapper.
    template <class W>
    constexpr auto wrapper(W wrapper) const {
        static_assert(detail::checked_wrapper<W>());
        return with<at_wrapper, MarkerWrapper<W>>(std::move(wrapper));
    }

    /// These policies with another layout.
    template <class L>
    constexpr auto layout(L layout) const {
        static_assert(detail::checked_layout<L>());
        return with<at_layout, ContextLayout<L>>(std::move(layout));
    }

    /// These policies with another rule of reuse.
    template <class R>
    constexpr auto reuse(R reuse) const {
        static_assert(detail::checked_reuse<R>());
        return with<at_reuse, KVReuse<R>>(std::move(reuse));
    }

    /// These policies with another rule for a full window.
    template <class O>
    constexpr auto overflow(O overflow) const {
        static_assert(detail::checked_overflow<O>());
        return with<at_overflow, Overflow<O>>(std::move(overflow));
    }

    /// These policies with another sampler.
    template <class S>
    constexpr auto sampler(S sampler) const {
        static_assert(detail::checked_sampler<S>());
        return with<at_sampler, Sampler<S>>(std::move(sampler));
    }

    /// These policies with another stopping criterion.
    template <class S>
    constexpr auto stopping(S stopping) const {
        static_assert(detail::checked_stopping<S>());
        return with<at_stopping, StoppingCriterion<S>>(std::move(stopping));
    }

    /// Calls `reset()` of every policy that has one: the start of a generation.
    constexpr void reset() {
        std::apply([](auto&... slot) { (detail::reset_policy(slot), ...); }, slots_);
    }

private:
    // A policy that does not fit was refused in words by now; without it the rest of the program compiles, and that sentence
    // is the only error.
    template <Slot Replaced, bool Fits, class P>
    constexpr auto with(P policy) const {
        if constexpr (!Fits) {
            return *this;
        } else {
            return [&]<std::size_t... I>(std::index_sequence<I...>) {
                const auto slot = [&]<std::size_t J>(std::integral_constant<std::size_t, J>) -> decltype(auto) {
                    if constexpr (J == Replaced) {
                        return std::move(policy);
                    } else {
                        return std::get<J>(slots_);
                    }
                };
                return Policies<std::conditional_t<I == Replaced, P, std::tuple_element_t<I, Slots>>...>{
                    slot(std::integral_constant<std::size_t, I>{})...};
            }
            (std::make_index_sequence<std::tuple_size_v<Slots>>{});
        }
    }

    FLASHBACK_NO_UNIQUE_ADDRESS Slots slots_{};
};

namespace detail {

/// What a decoder takes for its policies.
template <class P>
concept PolicySet = requires(P& policies, const P& fixed) {
    policies.schedule();
    policies.query();
    fixed.wrapper();
    fixed.layout();
    fixed.reuse();
    policies.sampler();
    fixed.overflow();
    policies.stopping();
    policies.reset();
};

}  // namespace detail

}  // namespace flashback::inline FLASHBACK_ISA
