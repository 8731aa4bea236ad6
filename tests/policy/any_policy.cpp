#include "flashback/policy/any_policy.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

namespace test_policy_any_policy {

using namespace flashback;

namespace {

constexpr std::array<TokenId, 3> context{5, 6, 7};
const Passage passage{.tokens = context};
const std::array<TokenSpan, 1> passages{TokenSpan{context}.first(1)};
constexpr StepView step{context, 1, 4, 2};
constexpr std::array<float, 3> logits{1, 3, 2};
const char* const moved_from = "a policy was used after it was moved from";

template <class Any>
constexpr bool is_a_value = std::copyable<Any>&& std::default_initializable<Any>&& std::is_nothrow_move_constructible_v<Any>&&
    std::is_nothrow_move_assignable_v<Any>&& std::is_nothrow_swappable_v<Any>;
static_assert(is_a_value<AnySchedule> && is_a_value<AnyQuery> && is_a_value<AnyWrapper> && is_a_value<AnyLayout>);
static_assert(is_a_value<AnyReuse> && is_a_value<AnyOverflow> && is_a_value<AnySampler> && is_a_value<AnyStopping>);
static_assert(is_a_value<AnyPolicies>);
static_assert(RetrievalSchedule<AnySchedule> && QueryBuilder<AnyQuery> && MarkerWrapper<AnyWrapper>);
static_assert(ContextLayout<AnyLayout> && KVReuse<AnyReuse> && Overflow<AnyOverflow>);
static_assert(Sampler<AnySampler> && StoppingCriterion<AnyStopping>);
static_assert(!std::is_convertible_v<Never, AnySchedule>, "holding a policy is a decision, and an allocation");

TokenBuffer written(const auto& write) {
    TokenBuffer out{0};
    write(out);
    return out;
}

/// Counts its calls in itself, its resets and its copies outside.
struct Counter {
    int calls = 0;
    int* resets;

    bool operator()(const StepView&) { return ++calls == 2; }
    void reset() {
        calls = 0;
        ++*resets;
    }
};

/// A policy of the roles that are asked when const; counts its resets outside.
struct Const {
    int* resets;

    void operator()(TokenSpan tokens, TokenBuffer& out) const { append(out, tokens); }
    void operator()(const LayoutParts& parts, TokenBuffer& out) const { append(out, parts.context); }
    std::size_t operator()(TokenSpan, TokenSpan) const { return 0; }
    std::size_t operator()(const FullWindow&) const { return 0; }
    void reset() const { ++*resets; }
};

}  // namespace

TEST_CASE("without an argument each holds the default of its slot") {
    for (std::size_t since = 0; since < 40; ++since) {
        const StepView at{context, 1, 1, since};
        CHECK(AnySchedule{}(at).retrieves() == Policies<>{}.schedule()(at));
    }
    CHECK(std::ranges::equal(AnyQuery{}(step).tokens, context));
    CHECK(written([](TokenBuffer& out) { AnyWrapper{}(passage, 0, out); }) == TokenBuffer{0, 5, 6, 7});
    CHECK(AnyWrapper{}.markers().empty());
    const LayoutParts parts{context, passages, TokenSpan{context}.last(1)};
    CHECK(written([&](TokenBuffer& out) { AnyLayout{}(parts, out); }) == TokenBuffer{0, 5, 6, 7, 7, 5});
    CHECK(AnyReuse{}(context, TokenSpan{context}.first(2)) == 2);
    CHECK(AnyOverflow{}({10, 11, 11}) == 0);
    CHECK(AnySampler{}(logits, step) == 1);
    CHECK_FALSE(AnyStopping{}(step));
}

TEST_CASE("each says what the policy in it says") {
    CHECK(AnySchedule{[](const StepView& at) { return Decision::retrieve(at.generated()); }}(step) == Decision::retrieve(2));
    CHECK(AnySchedule{Never{}}(step) == Decision::go_on());
    CHECK(AnyQuery{LastNTokens{2}}(step).tokens.size() == 2);
    const AnyWrapper markers{MarkerTokens{100, 101}};
    CHECK(written([&](TokenBuffer& out) { markers(passage, 0, out); }) == TokenBuffer{0, 100, 5, 6, 7, 101});
    REQUIRE(markers_of(markers).size() == 2);
    CHECK(markers_of(markers)[0] == 100);
    CHECK(markers_of(markers)[1] == 101);
    CHECK(AnyReuse{RecomputeAll{}}(context, context) == 0);
    CHECK(AnyOverflow{DropOldest{}}({10, 11, 11}) == 6);
    CHECK(AnySampler{[](std::span<const float> given) { return given.size() == 3 ? 2 : 0; }}(logits, step) == 2);
    CHECK(AnySampler{[](std::span<const float>, const StepView& at) { return at.last_token(); }}(logits, step) == 7);
    CHECK(AnySampler{RepetitionPenalty<>{{.penalty = 9}}}(logits, StepView{std::array<TokenId, 1>{1}, 1}) == 2);
    CHECK(AnyStopping{[](const StepView& at) { return at.generated() == 2; }}(step));
    const AnyLayout prepend{PrependPassages{}};
    const LayoutParts parts{context, passages, TokenSpan{context}.last(1)};
    CHECK(written([&](TokenBuffer& out) { prepend(parts, out); }) == TokenBuffer{0, 5, 6, 7, 5, 7});
}

TEST_CASE("a sampler of both forms is asked with the step, held or not") {
    struct Both {
        TokenId operator()(std::span<const float>) const { return 1; }
        TokenId operator()(std::span<const float>, const StepView&) const { return 2; }
    } both;
    CHECK(AnySampler{both}(logits, step) == take_token(both, logits, step));
}

TEST_CASE("copies have memories of their own, moves take it along") {
    int resets = 0;
    AnySchedule one{Counter{.resets = &resets}};
    CHECK_FALSE(one(step).retrieves());
    AnySchedule two = one;
    CHECK(one(step).retrieves());
    CHECK(two(step).retrieves());
    two.reset();
    CHECK(resets == 1);
    CHECK_FALSE(two(step).retrieves());
    AnySchedule three = std::move(two);
    CHECK(three(step).retrieves());
    one = three;
    CHECK_FALSE(one(step).retrieves());
    one.reset();
    three = one;
    CHECK_FALSE(three(step).retrieves());
    one = std::move(three);
    CHECK(one(step).retrieves());
    AnySchedule& self = one;
    one = self;
    CHECK_FALSE(one(step).retrieves());
}

TEST_CASE("a policy without a reset is left as it is, and every held policy with one is reset") {
    AnySchedule forgetful{Never{}};
    CHECK_NOTHROW(forgetful.reset());
    AnyPolicies policies;
    int resets = 0;
    policies.schedule() = AnySchedule{Counter{.resets = &resets}};
    policies.stopping() = AnyStopping{Counter{.resets = &resets}};
    policies.sampler() = AnySampler{RepetitionPenalty<AnySampler>{}};
    policies.reset();
    CHECK(resets == 2);
}

TEST_CASE("a held wrapper, layout, reuse and overflow are reset too") {
    int wrapper = 0;
    int layout = 0;
    int reuse = 0;
    int overflow = 0;
    AnyPolicies policies{AnySchedule{},           AnyQuery{},   AnyWrapper{Const{&wrapper}},   AnyLayout{Const{&layout}},
                         AnyReuse{Const{&reuse}}, AnySampler{}, AnyOverflow{Const{&overflow}}, AnyStopping{}};
    policies.reset();
    CHECK(wrapper == 1);
    CHECK(layout == 1);
    CHECK(reuse == 1);
    CHECK(overflow == 1);
    CHECK_NOTHROW(AnyPolicies{}.reset());
}

TEST_CASE("a policy that was moved from is refused in words, can be copied, and can be assigned to") {
    AnySchedule one;
    const AnySchedule two = std::move(one);
    CHECK_THROWS_WITH_AS(one(step), moved_from, Error);  // NOLINT(bugprone-use-after-move): the point of the test
    CHECK_THROWS_WITH_AS(one.reset(), moved_from, Error);
    AnySchedule three = one;
    CHECK_THROWS_WITH_AS(three(step), moved_from, Error);
    three = two;
    CHECK_NOTHROW(three(step));
    one = std::move(three);
    CHECK_NOTHROW(one(step));

    AnyWrapper wrapper;
    const AnyWrapper other = std::move(wrapper);
    TokenBuffer out;
    CHECK_THROWS_WITH_AS(wrapper(passage, 0, out), moved_from, Error);  // NOLINT(bugprone-use-after-move)
    CHECK_THROWS_WITH_AS(wrapper.markers(), moved_from, Error);
    CHECK(out.empty());
}

TEST_CASE("a held policy can hold a held policy") {
    AnySchedule schedule{any_of(AnySchedule{Never{}}, AnySchedule{Once{}})};
    CHECK_FALSE(schedule(step).retrieves());
    CHECK(schedule(StepView{context, 3}).retrieves());
}

TEST_CASE("policies chosen at run time go into the slots of AnyPolicies, and the typed setters still work") {
    AnyPolicies policies{AnySchedule{Once{}}, AnyQuery{},   AnyWrapper{MarkerTokens{1, 2}}, AnyLayout{},
                         AnyReuse{},          AnySampler{}, AnyOverflow{DropOldest{}},      AnyStopping{}};
    CHECK(policies.wrapper().markers()[1] == 2);
    CHECK(policies.overflow()({10, 11, 11}) == 6);
    auto typed = policies.wrapper(NoMarkers{});
    CHECK(markers_of(typed.wrapper()).empty());
    CHECK(typed.overflow()({10, 11, 11}) == 6);
    CHECK(typed.schedule()(StepView{context, 3}).retrieves());
}

}  // namespace test_policy_any_policy
