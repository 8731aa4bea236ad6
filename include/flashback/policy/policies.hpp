/// \file All policies of a decoder in one value.
#pragma once

#include "flashback/fwd.hpp"
#include "flashback/policy/combined_schedules.hpp"
#include "flashback/policy/detail/method_slot.hpp"
#include "flashback/policy/fusion.hpp"
#include "flashback/policy/layout.hpp"
#include "flashback/policy/overflow.hpp"
#include "flashback/policy/query.hpp"
#include "flashback/policy/reuse.hpp"
#include "flashback/policy/sampler.hpp"
#include "flashback/policy/schedule.hpp"
#include "flashback/policy/stopping.hpp"
#include "flashback/policy/truncated_sampling.hpp"
#include "flashback/policy/wrapper.hpp"

#include <concepts>
#include <cstddef>
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
/// | `fusion`   | `DocumentFusion`    | `Concatenate`      | how several passages become one distribution |
///
/// A policy is held by value. One that cannot be copied is moved; then the setters need an rvalue, as in a chain. A `std::ref`
/// refers to a policy that lives elsewhere. A method is one object that fills several slots: those for which it has a member of
/// that name:
///
///     struct Flare {
///         Decision schedule(const StepView&);
///         TokenBuffer query(const StepView&);
///         void reset();
///     };
///     auto policies = Policies{}.method(Flare{});
template <class Schedule, class QueryFrom, class Wrapper, class Layout, class Reuse, class Sampling, class Overflowing,
          class Stopping, class Fusing, class Method>
class Policies {
    enum Slot : unsigned {
        schedule_slot = detail::ScheduleSlot::bit,
        query_slot = detail::QuerySlot::bit,
        wrapper_slot = detail::WrapperSlot::bit,
        layout_slot = detail::LayoutSlot::bit,
        reuse_slot = detail::ReuseSlot::bit,
        sampler_slot = detail::SamplerSlot::bit,
        overflow_slot = detail::OverflowSlot::bit,
        stopping_slot = detail::StoppingSlot::bit,
        fusion_slot = 1u << 8
    };

    // A policy that a std::reference_wrapper refers to is checked as if it were here.
    template <class P>
    using Checked = members::Unwrapped<P>;
    template <class P, class Default>
    using Or = std::conditional_t<std::same_as<P, detail::OfMethod>, Default, Checked<P>>;
    static_assert(detail::checked_schedule<Or<Schedule, Never>>() && detail::checked_query<Or<QueryFrom, LastNTokens>>() &&
                  detail::checked_wrapper<Or<Wrapper, NoMarkers>>() && detail::checked_layout<Or<Layout, AppendPassages>>() &&
                  detail::checked_reuse<Or<Reuse, KeepCommonPrefix>>() && detail::checked_sampler<Or<Sampling, Greedy>>() &&
                  detail::checked_overflow<Or<Overflowing, StopWhenFull>>() &&
                  detail::checked_stopping<Or<Stopping, NeverStop>>() && detail::checked_fusion<Checked<Fusing>>());

public:
    constexpr Policies() = default;
    /// All slots at once; the setters below are easier to read.
    constexpr Policies(Schedule when, QueryFrom what, Wrapper around, Layout where, Reuse kept, Sampling taken,
                       Overflowing dropped, Stopping ended, Fusing fused = {}, Method all = {})
        : schedule_(std::move(when)),
          query_(std::move(what)),
          wrapper_(std::move(around)),
          layout_(std::move(where)),
          reuse_(std::move(kept)),
          sampler_(std::move(taken)),
          overflow_(std::move(dropped)),
          stopping_(std::move(ended)),
          fusion_(std::move(fused)),
          method_(std::move(all)) {}

    constexpr decltype(auto) schedule() noexcept { return get<detail::ScheduleSlot>(schedule_, method_); }
    constexpr decltype(auto) schedule() const noexcept { return get<detail::ScheduleSlot>(schedule_, method_); }
    constexpr decltype(auto) query() noexcept { return get<detail::QuerySlot>(query_, method_); }
    constexpr decltype(auto) query() const noexcept { return get<detail::QuerySlot>(query_, method_); }
    constexpr decltype(auto) wrapper() const noexcept { return get<detail::WrapperSlot>(wrapper_, method_); }
    constexpr decltype(auto) layout() const noexcept { return get<detail::LayoutSlot>(layout_, method_); }
    constexpr decltype(auto) reuse() const noexcept { return get<detail::ReuseSlot>(reuse_, method_); }
    constexpr decltype(auto) sampler() noexcept { return get<detail::SamplerSlot>(sampler_, method_); }
    constexpr decltype(auto) sampler() const noexcept { return get<detail::SamplerSlot>(sampler_, method_); }
    constexpr decltype(auto) overflow() const noexcept { return get<detail::OverflowSlot>(overflow_, method_); }
    constexpr decltype(auto) stopping() noexcept { return get<detail::StoppingSlot>(stopping_, method_); }
    constexpr decltype(auto) stopping() const noexcept { return get<detail::StoppingSlot>(stopping_, method_); }
    constexpr auto& fusion() noexcept { return members::unwrap(fusion_); }
    constexpr const auto& fusion() const noexcept { return members::unwrap(fusion_); }

    /// The method, if there is one.
    constexpr Method& method() noexcept { return method_; }
    constexpr const Method& method() const noexcept { return method_; }

    /// These policies with another schedule.
    template <class P>
    constexpr auto schedule(P policy) const& {
        static_assert(detail::checked_schedule<Checked<P>>());
        return with<schedule_slot, detail::FittingSchedule<Checked<P>>>(*this, std::move(policy));
    }
    template <class P>
    constexpr auto schedule(P policy) && {
        static_assert(detail::checked_schedule<Checked<P>>());
        return with<schedule_slot, detail::FittingSchedule<Checked<P>>>(std::move(*this), std::move(policy));
    }

    /// These policies with another query builder.
    template <class P>
    constexpr auto query(P policy) const& {
        static_assert(detail::checked_query<Checked<P>>());
        return with<query_slot, detail::FittingQuery<Checked<P>>>(*this, std::move(policy));
    }
    template <class P>
    constexpr auto query(P policy) && {
        static_assert(detail::checked_query<Checked<P>>());
        return with<query_slot, detail::FittingQuery<Checked<P>>>(std::move(*this), std::move(policy));
    }

    /// These policies with another wrapper.
    template <class P>
    constexpr auto wrapper(P policy) const& {
        static_assert(detail::checked_wrapper<Checked<P>>());
        return with<wrapper_slot, detail::FittingWrapper<Checked<P>>>(*this, std::move(policy));
    }
    template <class P>
    constexpr auto wrapper(P policy) && {
        static_assert(detail::checked_wrapper<Checked<P>>());
        return with<wrapper_slot, detail::FittingWrapper<Checked<P>>>(std::move(*this), std::move(policy));
    }

    /// These policies with another layout.
    template <class P>
    constexpr auto layout(P policy) const& {
        static_assert(detail::checked_layout<Checked<P>>());
        return with<layout_slot, detail::FittingLayout<Checked<P>>>(*this, std::move(policy));
    }
    template <class P>
    constexpr auto layout(P policy) && {
        static_assert(detail::checked_layout<Checked<P>>());
        return with<layout_slot, detail::FittingLayout<Checked<P>>>(std::move(*this), std::move(policy));
    }

    /// These policies with another rule of reuse.
    template <class P>
    constexpr auto reuse(P policy) const& {
        static_assert(detail::checked_reuse<Checked<P>>());
        return with<reuse_slot, detail::FittingReuse<Checked<P>>>(*this, std::move(policy));
    }
    template <class P>
    constexpr auto reuse(P policy) && {
        static_assert(detail::checked_reuse<Checked<P>>());
        return with<reuse_slot, detail::FittingReuse<Checked<P>>>(std::move(*this), std::move(policy));
    }

    /// These policies with another sampler.
    template <class P>
    constexpr auto sampler(P policy) const& {
        static_assert(detail::checked_sampler<Checked<P>>());
        return with<sampler_slot, detail::FittingSampler<Checked<P>>>(*this, std::move(policy));
    }
    template <class P>
    constexpr auto sampler(P policy) && {
        static_assert(detail::checked_sampler<Checked<P>>());
        return with<sampler_slot, detail::FittingSampler<Checked<P>>>(std::move(*this), std::move(policy));
    }

    /// These policies with another rule for a full window.
    template <class P>
    constexpr auto overflow(P policy) const& {
        static_assert(detail::checked_overflow<Checked<P>>());
        return with<overflow_slot, detail::FittingOverflow<Checked<P>>>(*this, std::move(policy));
    }
    template <class P>
    constexpr auto overflow(P policy) && {
        static_assert(detail::checked_overflow<Checked<P>>());
        return with<overflow_slot, detail::FittingOverflow<Checked<P>>>(std::move(*this), std::move(policy));
    }

    /// These policies with another stopping criterion.
    template <class P>
    constexpr auto stopping(P policy) const& {
        static_assert(detail::checked_stopping<Checked<P>>());
        return with<stopping_slot, detail::FittingStopping<Checked<P>>>(*this, std::move(policy));
    }
    template <class P>
    constexpr auto stopping(P policy) && {
        static_assert(detail::checked_stopping<Checked<P>>());
        return with<stopping_slot, detail::FittingStopping<Checked<P>>>(std::move(*this), std::move(policy));
    }

    /// These policies with another fusion of passages.
    template <class P>
    constexpr auto fusion(P policy) const& {
        static_assert(detail::checked_fusion<Checked<P>>());
        return with<fusion_slot, detail::FittingFusion<Checked<P>>>(*this, std::move(policy));
    }
    template <class P>
    constexpr auto fusion(P policy) && {
        static_assert(detail::checked_fusion<Checked<P>>());
        return with<fusion_slot, detail::FittingFusion<Checked<P>>>(std::move(*this), std::move(policy));
    }

    /// These policies with a method in the slots for which it has members. A slot that is set later holds that other policy.
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
        return detail::wants_surprisals(schedule_) || detail::wants_surprisals(query_) || detail::wants_surprisals(wrapper_) ||
               detail::wants_surprisals(layout_) || detail::wants_surprisals(reuse_) || detail::wants_surprisals(sampler_) ||
               detail::wants_surprisals(overflow_) || detail::wants_surprisals(stopping_) ||
               detail::wants_surprisals(fusion_) || detail::wants_surprisals(method_);
    }

    /// Whether a policy asks for `StepView::attention`.
    constexpr bool wants_attention() const {
        return detail::wants_attention(schedule_) || detail::wants_attention(query_) || detail::wants_attention(wrapper_) ||
               detail::wants_attention(layout_) || detail::wants_attention(reuse_) || detail::wants_attention(sampler_) ||
               detail::wants_attention(overflow_) || detail::wants_attention(stopping_) || detail::wants_attention(fusion_) ||
               detail::wants_attention(method_);
    }
    constexpr bool looks_at_evaluated() const {
        return detail::looks_at_evaluated(schedule_) || detail::looks_at_evaluated(query_) ||
               detail::looks_at_evaluated(wrapper_) || detail::looks_at_evaluated(layout_) ||
               detail::looks_at_evaluated(reuse_) || detail::looks_at_evaluated(sampler_) ||
               detail::looks_at_evaluated(overflow_) || detail::looks_at_evaluated(stopping_) ||
               detail::looks_at_evaluated(fusion_) || detail::looks_at_evaluated(method_);
    }

private:
    constexpr void tell_all(detail::News news) {
        news.tell(schedule_);
        news.tell(query_);
        news.tell(wrapper_);
        news.tell(layout_);
        news.tell(reuse_);
        news.tell(sampler_);
        news.tell(overflow_);
        news.tell(stopping_);
        news.tell(fusion_);
        news.tell(method_);
    }

    /// The policy in a slot, or the method as that.
    template <class MethodSlot, class Held, class M>
    static constexpr decltype(auto) get(Held& held, M& method) noexcept {
        if constexpr (std::same_as<std::remove_const_t<Held>, detail::OfMethod>) {
            auto& inner = members::unwrap(method);
            return detail::MethodSlot<std::remove_reference_t<decltype(inner)>, MethodSlot>{&inner};
        } else {
            return members::unwrap(held);
        }
    }

    /// Refuses, in words, to copy what cannot be copied. `New` are the slots that are replaced.
    template <unsigned New, class Self, class KeptMethod>
    static constexpr bool can_keep() {
        // What is replaced need not be copied.
        constexpr auto kept = []<class Held>(unsigned slot, std::type_identity<Held>) {
            return (New & slot) != 0 || std::copy_constructible<Held>;
        };
        constexpr bool can =
            !std::is_lvalue_reference_v<Self> ||
            (kept(schedule_slot, std::type_identity<Schedule>{}) && kept(query_slot, std::type_identity<QueryFrom>{}) &&
             kept(wrapper_slot, std::type_identity<Wrapper>{}) && kept(layout_slot, std::type_identity<Layout>{}) &&
             kept(reuse_slot, std::type_identity<Reuse>{}) && kept(sampler_slot, std::type_identity<Sampling>{}) &&
             kept(overflow_slot, std::type_identity<Overflowing>{}) && kept(stopping_slot, std::type_identity<Stopping>{}) &&
             kept(fusion_slot, std::type_identity<Fusing>{}) && std::copy_constructible<KeptMethod>);
        static_assert(
            can,
            "flashback: one of these policies can be moved but not copied: set the others in one chain with it, or by "
            "std::move(policies).schedule(...)");
        return can;
    }

    /// The policy of a slot after a change.
    template <bool New, class P, class Kept>
    static constexpr decltype(auto) pick(P& replacement, Kept&& kept) {
        if constexpr (New) {
            return std::move(replacement);
        } else {
            return std::forward<Kept>(kept);
        }
    }

    /// These policies with another one in the slots `New`, and with a method.
    template <unsigned New, class Self, class P, class M>
    static constexpr auto remake(Self&& self, P replacement, M&& method) {
        return Policies<
            std::conditional_t<(New & schedule_slot) != 0, P, Schedule>,
            std::conditional_t<(New & query_slot) != 0, P, QueryFrom>,
            std::conditional_t<(New & wrapper_slot) != 0, P, Wrapper>, std::conditional_t<(New & layout_slot) != 0, P, Layout>,
            std::conditional_t<(New & reuse_slot) != 0, P, Reuse>, std::conditional_t<(New & sampler_slot) != 0, P, Sampling>,
            std::conditional_t<(New & overflow_slot) != 0, P, Overflowing>,
            std::conditional_t<(New & stopping_slot) != 0, P, Stopping>,
            std::conditional_t<(New & fusion_slot) != 0, P, Fusing>, std::remove_cvref_t<M>>{
            pick<(New & schedule_slot) != 0>(replacement, std::forward<Self>(self).schedule_),
            pick<(New & query_slot) != 0>(replacement, std::forward<Self>(self).query_),
            pick<(New & wrapper_slot) != 0>(replacement, std::forward<Self>(self).wrapper_),
            pick<(New & layout_slot) != 0>(replacement, std::forward<Self>(self).layout_),
            pick<(New & reuse_slot) != 0>(replacement, std::forward<Self>(self).reuse_),
            pick<(New & sampler_slot) != 0>(replacement, std::forward<Self>(self).sampler_),
            pick<(New & overflow_slot) != 0>(replacement, std::forward<Self>(self).overflow_),
            pick<(New & stopping_slot) != 0>(replacement, std::forward<Self>(self).stopping_),
            pick<(New & fusion_slot) != 0>(replacement, std::forward<Self>(self).fusion_),
            std::forward<M>(method)};
    }

    // A policy that does not fit was refused in words by now; without it the rest of the program compiles, and that sentence
    // is the only error.
    template <Slot Replaced, bool Fits, class Self, class P>
    static constexpr auto with(Self&& self, P policy) {
        if constexpr (!Fits) {
            return std::forward<Self>(self);
        } else if constexpr (!can_keep<Replaced, Self, Method>()) {
            return Policies<>{};
        } else {
            return remake<Replaced>(std::forward<Self>(self), std::move(policy), std::forward<Self>(self).method_);
        }
    }

    template <class Self, class M>
    static constexpr auto with_method(Self&& self, M method) {
        constexpr unsigned filled = detail::filled_slots<Checked<M>>;
        if constexpr (can_keep<filled, Self, NoMethod>()) {
            return remake<filled>(std::forward<Self>(self), detail::OfMethod{}, std::move(method));
        } else {
            return Policies<>{};
        }
    }

    FLASHBACK_NO_UNIQUE_ADDRESS Schedule schedule_{};
    FLASHBACK_NO_UNIQUE_ADDRESS QueryFrom query_{};
    FLASHBACK_NO_UNIQUE_ADDRESS Wrapper wrapper_{};
    FLASHBACK_NO_UNIQUE_ADDRESS Layout layout_{};
    FLASHBACK_NO_UNIQUE_ADDRESS Reuse reuse_{};
    FLASHBACK_NO_UNIQUE_ADDRESS Sampling sampler_{};
    FLASHBACK_NO_UNIQUE_ADDRESS Overflowing overflow_{};
    FLASHBACK_NO_UNIQUE_ADDRESS Stopping stopping_{};
    FLASHBACK_NO_UNIQUE_ADDRESS Fusing fusion_{};
    FLASHBACK_NO_UNIQUE_ADDRESS Method method_{};

    template <class, class, class, class, class, class, class, class, class, class>
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
