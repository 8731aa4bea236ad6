/// \file One object that fills several slots: FLARE is schedule, query and memory.
#pragma once

#include "flashback/policy/layout.hpp"
#include "flashback/policy/overflow.hpp"
#include "flashback/policy/query.hpp"
#include "flashback/policy/reuse.hpp"
#include "flashback/policy/sampler.hpp"
#include "flashback/policy/schedule.hpp"
#include "flashback/policy/stopping.hpp"
#include "flashback/policy/wrapper.hpp"

#include <concepts>
#include <cstddef>
#include <type_traits>

namespace flashback::inline FLASHBACK_ISA {

/// The method of policies that have none.
struct NoMethod {};

namespace detail {

/// Stands in a slot that the method fills.
struct OfMethod {};

FLASHBACK_DETAIL_MEMBER(QuerySlot, query);
FLASHBACK_DETAIL_MEMBER(Wrapper, wrapper);
FLASHBACK_DETAIL_MEMBER(Layout, layout);
FLASHBACK_DETAIL_MEMBER(Reuse, reuse);
FLASHBACK_DETAIL_MEMBER(SamplerSlot, sampler);
FLASHBACK_DETAIL_MEMBER(OverflowSlot, overflow);
FLASHBACK_DETAIL_MEMBER(Stopping, stopping);
FLASHBACK_DETAIL_MEMBER(FusionSlot, fusion);

/// What a slot is to a method: which member is called, whether the method has it, whether it fits, and whether it must be
/// const. The slots are numbered.
#define FLASHBACK_DETAIL_SLOT(Slot, member, Named, Fitting, Const, Number)                                 \
    struct Slot {                                                                                          \
        template <class M, class... Args>                                                                  \
            requires requires(M & method, Args&&... args) { method.member(static_cast<Args&&>(args)...); } \
        static constexpr decltype(auto) call(M& method, Args&&... args) {                                  \
            return method.member(static_cast<Args&&>(args)...);                                            \
        }                                                                                                  \
        template <class M>                                                                                 \
        static constexpr bool named = Named<M>;                                                            \
        template <class S>                                                                                 \
        static constexpr bool fits = Fitting<S>;                                                           \
        static constexpr bool is_const = Const;                                                            \
        static constexpr unsigned bit = 1u << Number;                                                      \
    }

FLASHBACK_DETAIL_SLOT(ScheduleSlot, schedule, NamesSchedule, RetrievalSchedule, false, 0);
FLASHBACK_DETAIL_SLOT(QuerySlot, query, NamesQuerySlot, QueryBuilder, false, 1);
FLASHBACK_DETAIL_SLOT(WrapperSlot, wrapper, NamesWrapper, MarkerWrapper, true, 2);
FLASHBACK_DETAIL_SLOT(LayoutSlot, layout, NamesLayout, ContextLayout, true, 3);
FLASHBACK_DETAIL_SLOT(ReuseSlot, reuse, NamesReuse, KVReuse, true, 4);
FLASHBACK_DETAIL_SLOT(SamplerSlot, sampler, NamesSamplerSlot, Sampler, false, 5);
FLASHBACK_DETAIL_SLOT(OverflowSlot, overflow, NamesOverflowSlot, Overflow, true, 6);
FLASHBACK_DETAIL_SLOT(StoppingSlot, stopping, NamesStopping, StoppingCriterion, false, 7);

/// A method as the policy of one slot; const if that slot is.
template <class M, class Slot>
struct MethodSlot {
    M* method;

    template <class... Args>
        requires requires(M& m, Args&&... args) { Slot::call(m, static_cast<Args&&>(args)...); }
    constexpr decltype(auto) operator()(Args&&... args) const { return Slot::call(*method, static_cast<Args&&>(args)...); }
    constexpr Decision at_end(const StepView& step,
                              StopReason reason) const requires std::same_as<Slot, ScheduleSlot> && LooksAtEnds<M> {
        return method->at_end(step, reason);
    }
    constexpr std::size_t shorten(const FullWindow& full) const requires std::same_as<Slot, OverflowSlot> && Shortens<M> {
        return method->shorten(full);
    }
    constexpr Rotation rotation() const requires std::same_as<Slot, OverflowSlot> && Rotates<M> { return method->rotation(); }
    constexpr bool moves_text() const requires std::same_as<Slot, ReuseSlot> && SaysWhetherTextMoves<M> {
        return method->moves_text();
    }
    constexpr decltype(auto) markers() const requires std::same_as<Slot, WrapperSlot> && NamesItsMarkers<M> {
        return method->markers();
    }
};

/// Whether the method has a member for the slot that fits.
template <class M, class Slot>
constexpr bool fills = [] {
    if constexpr (Slot::template named<M>) {
        return Slot::template fits<MethodSlot<std::conditional_t<Slot::is_const, const M, M>, Slot>>;
    } else {
        return false;
    }
}();

template <class M, class Slot>
constexpr bool fills_or_lacks = !Slot::template named<M> || fills<M, Slot>;

/// Which slots the method fills, of some slots or of all: a bit for each.
template <class M, class... Slots>
constexpr unsigned filled_of = ((fills<M, Slots> ? Slots::bit : 0u) | ...);
template <class M>
constexpr unsigned filled_slots =
    filled_of<M, ScheduleSlot, QuerySlot, WrapperSlot, LayoutSlot, ReuseSlot, SamplerSlot, OverflowSlot, StoppingSlot>;

/// Refuses, in words, a method with a member that is named for a slot but does not fit it, and a method that fills no slot.
template <class M>
constexpr bool checked_method() {
    static_assert(fills_or_lacks<M, ScheduleSlot>,
                  "flashback: schedule of a method must be callable as schedule(const StepView&) and return bool or Decision");
    static_assert(fills_or_lacks<M, QuerySlot>,
                  "flashback: query of a method must be callable as query(const StepView&) and return Query, tokens or text");
    static_assert(fills_or_lacks<M, WrapperSlot>,
                  "flashback: wrapper of a method must be const, and callable as a MarkerWrapper is");
    static_assert(fills_or_lacks<M, LayoutSlot>,
                  "flashback: layout of a method must be const, and callable as layout(const LayoutParts&, TokenBuffer& out)");
    static_assert(fills_or_lacks<M, ReuseSlot>, "flashback: reuse of a method must be const, and callable as a KVReuse is");
    static_assert(fills_or_lacks<M, SamplerSlot>, "flashback: sampler of a method must be callable as a Sampler is");
    static_assert(fills_or_lacks<M, OverflowSlot>,
                  "flashback: overflow of a method must be const, and callable as an Overflow is");
    static_assert(fills_or_lacks<M, StoppingSlot>,
                  "flashback: stopping of a method must be callable as a StoppingCriterion is");
    static_assert(
        filled_slots<M> != 0,
        "flashback: a method must have members that are named for the slots that it fills: schedule, query, wrapper, layout, "
        "reuse, sampler, overflow, stopping");
    static_assert(
        !fills<M, ScheduleSlot> || RetrievalSchedule<MethodSlot<const M, ScheduleSlot>> || Resets<M>,
        "flashback: a method whose schedule changes it must have reset(), or a second generation would start with what the "
        "first one left");
    static_assert(!NamesAtEnd<M> || LooksAtEnds<M>,
                  "flashback: at_end of a method is called as at_end(const StepView&, StopReason) and must return Decision");
    static_assert(!NamesMarkers<M> || NamesItsMarkers<M>,
                  "flashback: markers() of a method must be const and return a TokenSpan of ids that live on in the method");
    static_assert(
        !NamesAtEnd<M> || NamesSchedule<M>,
        "flashback: at_end of a method is called if it fills the slot of the schedule: this one has no member schedule");
    static_assert(
        !OffersMarkers<M> || NamesWrapper<M>,
        "flashback: markers() of a method is called if it fills the slot of the wrapper: this one has no member wrapper");
    static_assert(!NamesFusionSlot<M>,
                  "flashback: fusion of a method would never be called: a DocumentFusion is a policy of its own, for "
                  "Policies::fusion");
    checked_optional_members<M, Calls::both>();
    return true;
}

}  // namespace detail

}  // namespace flashback::inline FLASHBACK_ISA
