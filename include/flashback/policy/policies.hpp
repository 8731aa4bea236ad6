/// \file All policies of a decoder in one value.
#pragma once

#include "flashback/fwd.hpp"
#include "flashback/policy/combined_schedules.hpp"
#include "flashback/policy/detail/method_slot.hpp"
#include "flashback/policy/layout.hpp"
#include "flashback/policy/overflow.hpp"
#include "flashback/policy/query.hpp"
#include "flashback/policy/reuse.hpp"
#include "flashback/policy/sampler.hpp"
#include "flashback/policy/schedule.hpp"
#include "flashback/policy/stopping.hpp"
#include "flashback/policy/truncated_sampling.hpp"
#include "flashback/policy/wrapper.hpp"

#include <array>
#include <concepts>
#include <cstddef>
#include <tuple>
#include <type_traits>
#include <utility>

namespace flashback::inline FLASHBACK_ISA {

/// The policies of a decoder, one slot each; the defaults are FlashBack's, without markers.
///
/// Each slot has a setter that gives a new value with that slot replaced, and a getter of the same name:
///
///     auto policies = Policies{}.schedule(EveryNTokens{16}).layout(AppendPassages{});
///
/// | slot       | concept             | default            | decides                                      |
/// |------------|---------------------|--------------------|----------------------------------------------|
/// | `schedule` | `RetrievalSchedule` | `EveryNTokens{16}` | when to retrieve                             |
/// | `query`    | `QueryBuilder`      | `LastNTokens{32}`  | what to search for                           |
/// | `wrapper`  | `MarkerWrapper`     | `NoMarkers`        | what stands around a passage                 |
/// | `layout`   | `ContextLayout`     | `AppendPassages`   | where passages stand                         |
/// | `reuse`    | `KVReuse`           | `KeepCommonPrefix` | what of the KV cache is kept                 |
/// | `sampler`  | `Sampler`           | `Greedy`           | how a token is taken from logits             |
/// | `overflow` | `Overflow`          | `StopWhenFull`     | what is dropped when the window is full      |
/// | `stopping` | `StoppingCriterion` | `NeverStop`        | when the text is long enough: stop strings   |
///
/// A policy is held by value, moved if it cannot be copied (then the setters need an rvalue, as in a chain); a `std::ref` refers to
/// one that lives elsewhere. A method that has members of these names fills their slots, all from one object:
///
///     struct Flare {
///         Decision schedule(const StepView&);
///         TokenBuffer query(const StepView&);
///         void reset();
///     };
///     auto policies = Policies{}.method(Flare{});
template <class Schedule, class QueryFrom, class Wrapper, class Layout, class Reuse, class Sampling, class Overflowing,
          class Stopping, class Method>
class Policies {
    using Slots = std::tuple<Schedule, QueryFrom, Wrapper, Layout, Reuse, Sampling, Overflowing, Stopping>;
    enum Slot : std::size_t { at_schedule, at_query, at_wrapper, at_layout, at_reuse, at_sampler, at_overflow, at_stopping };

    // A policy that a std::reference_wrapper refers to is checked as if it were here.
    template <class P>
    using Checked = members::Unwrapped<P>;
    template <class P, class Default>
    using Or = std::conditional_t<std::same_as<P, detail::OfMethod>, Default, Checked<P>>;
    static_assert(detail::checked_schedule<Or<Schedule, Never>>() && detail::checked_query<Or<QueryFrom, LastNTokens>>() &&
                  detail::checked_wrapper<Or<Wrapper, NoMarkers>>() && detail::checked_layout<Or<Layout, AppendPassages>>() &&
                  detail::checked_reuse<Or<Reuse, KeepCommonPrefix>>() && detail::checked_sampler<Or<Sampling, Greedy>>() &&
                  detail::checked_overflow<Or<Overflowing, StopWhenFull>>() &&
                  detail::checked_stopping<Or<Stopping, NeverStop>>());

public:
    constexpr Policies() = default;
    constexpr Policies(Schedule when, QueryFrom what, Wrapper around, Layout where, Reuse kept, Sampling taken,
                       Overflowing dropped, Stopping ended, Method all = {})
        : slots_(std::move(when), std::move(what), std::move(around), std::move(where), std::move(kept), std::move(taken),
                 std::move(dropped), std::move(ended)),
          method_(std::move(all)) {}

    constexpr decltype(auto) schedule() noexcept { return get<at_schedule, detail::ScheduleSlot>(*this); }
    constexpr decltype(auto) schedule() const noexcept { return get<at_schedule, detail::ScheduleSlot>(*this); }
    constexpr decltype(auto) query() noexcept { return get<at_query, detail::QuerySlot>(*this); }
    constexpr decltype(auto) query() const noexcept { return get<at_query, detail::QuerySlot>(*this); }
    constexpr decltype(auto) wrapper() const noexcept { return get<at_wrapper, detail::WrapperSlot>(*this); }
    constexpr decltype(auto) layout() const noexcept { return get<at_layout, detail::LayoutSlot>(*this); }
    constexpr decltype(auto) reuse() const noexcept { return get<at_reuse, detail::ReuseSlot>(*this); }
    constexpr decltype(auto) sampler() noexcept { return get<at_sampler, detail::SamplerSlot>(*this); }
    constexpr decltype(auto) sampler() const noexcept { return get<at_sampler, detail::SamplerSlot>(*this); }
    constexpr decltype(auto) overflow() const noexcept { return get<at_overflow, detail::OverflowSlot>(*this); }
    constexpr decltype(auto) stopping() noexcept { return get<at_stopping, detail::StoppingSlot>(*this); }
    constexpr decltype(auto) stopping() const noexcept { return get<at_stopping, detail::StoppingSlot>(*this); }

    /// The method, if there is one.
    constexpr Method& method() noexcept { return method_; }
    constexpr const Method& method() const noexcept { return method_; }

    /// These policies with another schedule.
    template <class P>
    constexpr auto schedule(P policy) const& {
        static_assert(detail::checked_schedule<Checked<P>>());
        return with<at_schedule, detail::FittingSchedule<Checked<P>>>(*this, std::move(policy));
    }
    template <class P>
    constexpr auto schedule(P policy) && {
        static_assert(detail::checked_schedule<Checked<P>>());
        return with<at_schedule, detail::FittingSchedule<Checked<P>>>(std::move(*this), std::move(policy));
    }

    /// These policies with another query builder.
    template <class P>
    constexpr auto query(P policy) const& {
        static_assert(detail::checked_query<Checked<P>>());
        return with<at_query, detail::FittingQuery<Checked<P>>>(*this, std::move(policy));
    }
    template <class P>
    constexpr auto query(P policy) && {
        static_assert(detail::checked_query<Checked<P>>());
        return with<at_query, detail::FittingQuery<Checked<P>>>(std::move(*this), std::move(policy));
    }

    /// These policies with another wrapper.
    template <class P>
    constexpr auto wrapper(P policy) const& {
        static_assert(detail::checked_wrapper<Checked<P>>());
        return with<at_wrapper, detail::FittingWrapper<Checked<P>>>(*this, std::move(policy));
    }
    template <class P>
    constexpr auto wrapper(P policy) && {
        static_assert(detail::checked_wrapper<Checked<P>>());
        return with<at_wrapper, detail::FittingWrapper<Checked<P>>>(std::move(*this), std::move(policy));
    }

    /// These policies with another layout.
    template <class P>
    constexpr auto layout(P policy) const& {
        static_assert(detail::checked_layout<Checked<P>>());
        return with<at_layout, detail::FittingLayout<Checked<P>>>(*this, std::move(policy));
    }
    template <class P>
    constexpr auto layout(P policy) && {
        static_assert(detail::checked_layout<Checked<P>>());
        return with<at_layout, detail::FittingLayout<Checked<P>>>(std::move(*this), std::move(policy));
    }

    /// These policies with another rule of reuse.
    template <class P>
    constexpr auto reuse(P policy) const& {
        static_assert(detail::checked_reuse<Checked<P>>());
        return with<at_reuse, detail::FittingReuse<Checked<P>>>(*this, std::move(policy));
    }
    template <class P>
    constexpr auto reuse(P policy) && {
        static_assert(detail::checked_reuse<Checked<P>>());
        return with<at_reuse, detail::FittingReuse<Checked<P>>>(std::move(*this), std::move(policy));
    }

    /// These policies with another sampler.
    template <class P>
    constexpr auto sampler(P policy) const& {
        static_assert(detail::checked_sampler<Checked<P>>());
        return with<at_sampler, detail::FittingSampler<Checked<P>>>(*this, std::move(policy));
    }
    template <class P>
    constexpr auto sampler(P policy) && {
        static_assert(detail::checked_sampler<Checked<P>>());
        return with<at_sampler, detail::FittingSampler<Checked<P>>>(std::move(*this), std::move(policy));
    }

    /// These policies with another rule for a full window.
    template <class P>
    constexpr auto overflow(P policy) const& {
        static_assert(detail::checked_overflow<Checked<P>>());
        return with<at_overflow, detail::FittingOverflow<Checked<P>>>(*this, std::move(policy));
    }
    template <class P>
    constexpr auto overflow(P policy) && {
        static_assert(detail::checked_overflow<Checked<P>>());
        return with<at_overflow, detail::FittingOverflow<Checked<P>>>(std::move(*this), std::move(policy));
    }

    /// These policies with another stopping criterion.
    template <class P>
    constexpr auto stopping(P policy) const& {
        static_assert(detail::checked_stopping<Checked<P>>());
        return with<at_stopping, detail::FittingStopping<Checked<P>>>(*this, std::move(policy));
    }
    template <class P>
    constexpr auto stopping(P policy) && {
        static_assert(detail::checked_stopping<Checked<P>>());
        return with<at_stopping, detail::FittingStopping<Checked<P>>>(std::move(*this), std::move(policy));
    }

    /// These policies with the slots that a method has members for filled by it. A slot that is set after it is another policy's.
    template <class M>
    constexpr auto method(M policy) const& {
        static_assert(detail::checked_method<Checked<M>>());
        return with_method(*this, std::move(policy));
    }
    template <class M>
    constexpr auto method(M policy) && {
        static_assert(detail::checked_method<Checked<M>>());
        return with_method(std::move(*this), std::move(policy));
    }

    /// Calls `reset()` of every policy that has one: the start of a generation.
    constexpr void reset() { tell_all(detail::News::start()); }

    /// Calls `rewind(tokens)` of every policy that has one: the newest tokens were taken back.
    constexpr void rewind(std::size_t tokens) { tell_all(detail::News::rewind(tokens)); }

    /// Whether a policy asks for `StepView::surprisals`.
    constexpr bool wants_surprisals() const {
        return std::apply(
            [this](const auto&... slot) {
                return (detail::wants_surprisals(slot) || ... || detail::wants_surprisals(method_));
            },
            slots_);
    }

private:
    constexpr void tell_all(detail::News news) {
        std::apply([&](auto&... slot) { (news.tell(slot), ...); }, slots_);
        news.tell(method_);
    }

    /// The policy in a slot, or the method as that.
    template <Slot At, class MethodSlot, class Self>
    static constexpr decltype(auto) get(Self& self) noexcept {
        if constexpr (std::same_as<std::tuple_element_t<At, Slots>, detail::OfMethod>) {
            using M = std::remove_reference_t<decltype(members::unwrap(self.method_))>;
            return detail::MethodSlot<M, MethodSlot>{&members::unwrap(self.method_)};
        } else {
            return members::unwrap(std::get<At>(self.slots_));
        }
    }

    /// Refuses, in words, to copy what cannot be copied. `Kept` are the slots that are not replaced, and the method.
    template <class Self, class... Kept>
    static constexpr bool can_keep() {
        constexpr bool can = !std::is_lvalue_reference_v<Self> || (std::copy_constructible<Kept> && ...);
        static_assert(
            can,
            "flashback: one of these policies can be moved but not copied: set the others in one chain with it, or by "
            "std::move(policies).schedule(...)");
        return can;
    }

    // A policy that does not fit was refused in words by now; without it the rest of the program compiles, and that sentence
    // is the only error.
    template <Slot Replaced, bool Fits, class Self, class P>
    static constexpr auto with(Self&& self, P policy) {
        if constexpr (!Fits) {
            return std::forward<Self>(self);
        } else {
            return [&]<std::size_t... I>(std::index_sequence<I...>) {
                if constexpr (can_keep<Self, std::conditional_t<I == Replaced, NoMethod, std::tuple_element_t<I, Slots>>...,
                                       Method>()) {
                    const auto slot = [&]<std::size_t J>(std::integral_constant<std::size_t, J>) -> decltype(auto) {
                        if constexpr (J == Replaced) {
                            return std::move(policy);
                        } else {
                            return std::get<J>(std::forward<Self>(self).slots_);
                        }
                    };
                    return Policies<std::conditional_t<I == Replaced, P, std::tuple_element_t<I, Slots>>..., Method>{
                        slot(std::integral_constant<std::size_t, I>{})..., std::forward<Self>(self).method_};
                } else {
                    return Policies<>{};
                }
            }
            (std::make_index_sequence<std::tuple_size_v<Slots>>{});
        }
    }

    template <class Self, class M>
    static constexpr auto with_method(Self&& self, M method) {
        constexpr std::array filled = detail::filled_slots<Checked<M>>;
        return [&]<std::size_t... I>(std::index_sequence<I...>) {
            if constexpr (can_keep<Self, std::conditional_t<filled[I], NoMethod, std::tuple_element_t<I, Slots>>...>()) {
                const auto slot = [&]<std::size_t J>(std::integral_constant<std::size_t, J>) -> decltype(auto) {
                    if constexpr (filled[J]) {
                        return detail::OfMethod{};
                    } else {
                        return std::get<J>(std::forward<Self>(self).slots_);
                    }
                };
                return Policies<std::conditional_t<filled[I], detail::OfMethod, std::tuple_element_t<I, Slots>>..., M>{
                    slot(std::integral_constant<std::size_t, I>{})..., std::move(method)};
            } else {
                return Policies<>{};
            }
        }
        (std::make_index_sequence<std::tuple_size_v<Slots>>{});
    }

    FLASHBACK_NO_UNIQUE_ADDRESS Slots slots_{};
    FLASHBACK_NO_UNIQUE_ADDRESS Method method_{};

    template <class, class, class, class, class, class, class, class, class>
    friend class Policies;
};

/// What a decoder takes for its policies.
template <class P>
concept PolicySet = requires(P& policies, const P& fixed, std::size_t tokens) {
    requires RetrievalSchedule<std::remove_reference_t<decltype(policies.schedule())>>;
    requires QueryBuilder<std::remove_reference_t<decltype(policies.query())>>;
    requires MarkerWrapper<std::remove_reference_t<decltype(fixed.wrapper())>>;
    requires ContextLayout<std::remove_reference_t<decltype(fixed.layout())>>;
    requires KVReuse<std::remove_reference_t<decltype(fixed.reuse())>>;
    requires Sampler<std::remove_reference_t<decltype(policies.sampler())>>;
    requires Overflow<std::remove_reference_t<decltype(fixed.overflow())>>;
    requires StoppingCriterion<std::remove_reference_t<decltype(policies.stopping())>>;
    policies.reset();
    policies.rewind(tokens);
    { fixed.wants_surprisals() } -> std::same_as<bool>;
};

}  // namespace flashback::inline FLASHBACK_ISA
