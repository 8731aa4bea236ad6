#include "flashback/policy/policies.hpp"

#include <array>
#include <concepts>
#include <cstddef>
#include <type_traits>

#include <doctest/doctest.h>

namespace test_policy_policies {

using namespace flashback;

namespace {

constexpr std::array<TokenId, 4> prompt{5, 6, 7, 8};

struct EmptyQuery {
    Query operator()(const StepView&) const { return {}; }
};

struct Counting {
    int resets = 0;
    void reset() { ++resets; }
};
struct CountingSchedule : Counting {
    bool operator()(const StepView&) const { return false; }
};
struct CountingQuery : Counting {
    Query operator()(const StepView&) const { return {}; }
};
struct CountingSampler : Counting {
    TokenId operator()(std::span<const float>) const { return 0; }
};
struct CountingWrapper : Counting {
    void operator()(TokenSpan, TokenBuffer&) const {}
};
struct CountingLayout : Counting {
    void operator()(const LayoutParts&, TokenBuffer&) const {}
};
struct CountingReuse : Counting {
    std::size_t operator()(TokenSpan, TokenSpan) const { return 0; }
};
struct CountingOverflow : Counting {
    std::size_t operator()(const FullWindow&) const { return 0; }
};
struct CountingStopping : Counting {
    bool operator()(const StepView&) const { return false; }
};

using AllEmpty = Policies<Never, EmptyQuery, NoMarkers, AppendPassages, KeepCommonPrefix, Greedy, StopWhenFull, NeverStop>;
static_assert(std::is_empty_v<AllEmpty> && sizeof(AllEmpty) == 1);
static_assert(sizeof(Policies<>) == sizeof(EveryNTokens) + sizeof(LastNTokens));

constexpr auto chosen = Policies{}
                            .schedule(EveryNTokens{4})
                            .query(LastNTokens{2})
                            .wrapper(MarkerTokens{100, 101})
                            .layout(PrependPassages{})
                            .reuse(RecomputeAll{})
                            .sampler(Greedy{})
                            .overflow(DropOldest{0.25})
                            .stopping(NeverStop{});
static_assert(std::same_as<decltype(chosen), const Policies<EveryNTokens, LastNTokens, MarkerTokens, PrependPassages,
                                                            RecomputeAll, Greedy, DropOldest, NeverStop>>);
static_assert(chosen.overflow()({8, 9, 9}) == 7);
static_assert(chosen.schedule().stride() == 4 && chosen.query()(StepView{prompt, 4}).tokens.size() == 2);
static_assert(chosen.wrapper().markers()[1] == 101 && chosen.reuse()(prompt, prompt) == 0);

/// All that the setters must not change in the slots that they do not name.
template <class P>
bool keeps_values(const P& policies) {
    return policies.schedule().stride() == 4 && policies.query()(StepView{prompt, 4}).tokens.size() == 2 &&
           policies.wrapper().markers()[0] == 100 && policies.overflow()({8, 9, 9}) == 7;
}

}  // namespace

TEST_CASE("the defaults are FlashBack's without markers") {
    constexpr Policies policies;
    static_assert(std::same_as<decltype(policies), const Policies<EveryNTokens, LastNTokens, NoMarkers, AppendPassages,
                                                                  KeepCommonPrefix, Greedy, StopWhenFull, NeverStop>>);
    CHECK(policies.schedule().stride() == 16);
}

TEST_CASE("a setter replaces its slot and keeps the others") {
    CHECK(keeps_values(chosen.layout(AppendPassages{}).reuse(KeepCommonPrefix{}).sampler(TruncatedSampling{})));
    CHECK(keeps_values(chosen.stopping([](const StepView&) { return false; })));
    CHECK(chosen.overflow(DropOldest{1}).overflow()({8, 9, 9}) == 1);
    const auto rescheduled = chosen.schedule(EveryNTokens{9});
    CHECK(rescheduled.schedule().stride() == 9);
    CHECK(rescheduled.query()(StepView{prompt, 4}).tokens.size() == 2);
    CHECK(rescheduled.wrapper().markers()[0] == 100);
    const auto requeried = chosen.query(LastNTokens{3});
    CHECK(requeried.query()(StepView{prompt, 4}).tokens.size() == 3);
    CHECK(requeried.schedule().stride() == 4);
    const auto rewrapped = chosen.wrapper(MarkerTokens{1, 2});
    CHECK(rewrapped.wrapper().markers()[0] == 1);
    CHECK(rewrapped.schedule().stride() == 4);
    CHECK(chosen.schedule().stride() == 4);
}

TEST_CASE("lambdas are policies in every slot") {
    std::size_t asked = 0;
    auto policies = Policies{}
                        .schedule([&asked](const StepView&) { return ++asked % 2 == 0; })
                        .query([](const StepView& step) { return Query{step.context.first(1)}; })
                        .wrapper([](TokenSpan passage, TokenBuffer& out) { append(out, passage.first(1)); })
                        .layout([](const LayoutParts& parts, TokenBuffer& out) { append(out, parts.context); })
                        .reuse([](TokenSpan, TokenSpan) { return std::size_t{0}; })
                        .sampler([](std::span<const float> logits) { return static_cast<TokenId>(logits.size()); })
                        .overflow([](const FullWindow& full) { return full.wanted - full.window; })
                        .stopping([](const StepView& now) { return now.generated() == 1; });
    const StepView step{prompt, 4};
    CHECK_FALSE(policies.schedule()(step));
    CHECK(policies.schedule()(step));
    CHECK(policies.query()(step).tokens.size() == 1);
    TokenBuffer out;
    policies.wrapper()(prompt, out);
    policies.layout()({{}, {}, prompt}, out);
    CHECK(out == TokenBuffer{5, 5, 6, 7, 8});
    CHECK(policies.reuse()(prompt, prompt) == 0);
    CHECK(policies.sampler()(std::array<float, 3>{}) == 3);
    CHECK(policies.overflow()({10, 12, 5}) == 2);
    CHECK(policies.stopping()(step) == false);
    CHECK(policies.stopping()({prompt, 3}) == true);
    policies.reset();
    CHECK(asked == 2);
}

TEST_CASE("reset reaches the policies that have one") {
    auto policies = Policies{}
                        .schedule(CountingSchedule{})
                        .query(CountingQuery{})
                        .wrapper(CountingWrapper{})
                        .layout(CountingLayout{})
                        .reuse(CountingReuse{})
                        .sampler(CountingSampler{})
                        .overflow(CountingOverflow{})
                        .stopping(CountingStopping{});
    policies.reset();
    policies.reset();
    CHECK(policies.schedule().resets == 2);
    CHECK(policies.query().resets == 2);
    CHECK(policies.wrapper().resets == 2);
    CHECK(policies.layout().resets == 2);
    CHECK(policies.reuse().resets == 2);
    CHECK(policies.sampler().resets == 2);
    CHECK(policies.overflow().resets == 2);
    CHECK(policies.stopping().resets == 2);
}

}  // namespace test_policy_policies
