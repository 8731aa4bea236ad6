// Facts about types that a compiler checks: what is free, what may be copied as bytes, what cannot throw.
#include "flashback/policy/any_policy.hpp"
#include "flashback/policy/context_plan.hpp"
#include "flashback/policy/presets.hpp"
#include "flashback/tensor/kv_tile.hpp"

#include <cstddef>
#include <span>
#include <type_traits>
#include <utility>

#include <doctest/doctest.h>

namespace test_policy_facts {

using namespace flashback;

namespace {

template <class... Ts>
constexpr bool all_trivial = ((std::is_trivially_copyable_v<Ts> && std::is_trivially_destructible_v<Ts>)&&...);
static_assert(all_trivial<StepView, Passage, Query, ContextPlan, ContextParts, LayoutParts, KVTile, Decision, FullWindow>);
static_assert(all_trivial<EveryNTokens, LastNTokens, MarkerTokens, DropOldest, SplitMix64, SamplingOptions>);

template <class... Ts>
constexpr bool all_empty = (std::is_empty_v<Ts> && ...);
static_assert(all_empty<Never, Once, NoMarkers, PrependPassages, AppendPassages, KeepCommonPrefix, RecomputeAll, Greedy,
                        StopWhenFull, NeverStop>);

// A policy without data adds no byte, in whatever slot.
struct Nothing {
    Query operator()(const StepView&) const { return {}; }
};
static_assert(
    sizeof(Policies<Never, LastNTokens, NoMarkers, AppendPassages, KeepCommonPrefix, Greedy, StopWhenFull, NeverStop>) ==
    sizeof(LastNTokens));
static_assert(sizeof(Policies<Once, LastNTokens, NoMarkers, PrependPassages, RecomputeAll>) == sizeof(LastNTokens));
static_assert(sizeof(Policies<EveryNTokens, Nothing>) == sizeof(EveryNTokens));
static_assert(sizeof(Policies<Never, Nothing, MarkerTokens>) == sizeof(MarkerTokens));
static_assert(sizeof(Policies<Never, Nothing, NoMarkers, AppendPassages, KeepCommonPrefix, Greedy, DropOldest>) ==
              sizeof(DropOldest));
static_assert(all_empty<Concatenate, ConcatenateJoined, FirstPassage, MeanOfLogits>);
static_assert(std::is_empty_v<AnyOf<Never, Never, Once>> && sizeof(AllOf<Never, EveryNTokens, Once>) == sizeof(EveryNTokens));

template <class P, class... Args>
constexpr bool cannot_throw = std::is_nothrow_invocable_v<P&, Args...>;
static_assert(cannot_throw<const Never, const StepView&> && cannot_throw<const Once, const StepView&>);
static_assert(cannot_throw<const EveryNTokens, const StepView&> && cannot_throw<const LastNTokens, const StepView&>);
static_assert(cannot_throw<const KeepCommonPrefix, TokenSpan, TokenSpan>);
static_assert(cannot_throw<const RecomputeAll, TokenSpan, TokenSpan>);
static_assert(cannot_throw<const StopWhenFull, const FullWindow&> && cannot_throw<const DropOldest, const FullWindow&>);
static_assert(cannot_throw<const NeverStop, const StepView&>);
static_assert(noexcept(std::declval<const MarkerTokens&>().markers()) && noexcept(std::declval<SplitMix64&>().uniform()));
static_assert(noexcept(Decision::retrieve(3).rewind()) && noexcept(std::declval<const StepView&>().last_token()));
// What writes to a buffer or reports bad logits may throw, and does not hide it.
static_assert(!cannot_throw<const NoMarkers, TokenSpan, TokenBuffer&> && !cannot_throw<const Greedy, std::span<const float>>);

// Policies can be handed on without copies that fail.
static_assert(std::is_nothrow_move_constructible_v<Policies<>> && std::is_nothrow_move_assignable_v<Policies<>>);
static_assert(std::is_nothrow_move_constructible_v<TruncatedSampling> && std::is_nothrow_move_constructible_v<MarkerText>);
static_assert(std::is_nothrow_move_constructible_v<RepetitionPenalty<TruncatedSampling>>);
static_assert(std::is_nothrow_move_constructible_v<AnyPolicies> && std::is_copy_constructible_v<AnyPolicies>);

}  // namespace

// The facts above hold if this file compiles; that they are looked at is what a run can show.
TEST_CASE("facts about types were checked when this was compiled") {
    CHECK(sizeof(Decision) <= 2 * sizeof(std::size_t));
    CHECK(sizeof(StepView) <= 15 * sizeof(std::size_t));
}

}  // namespace test_policy_facts
