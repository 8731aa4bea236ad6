#include "flashback/policy/any_method.hpp"

#include "flashback/decoder/decoder.hpp"
#include "flashback/policy/policies.hpp"
#include "support/null_model.hpp"

#include <cstddef>
#include <functional>
#include <type_traits>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

namespace test_policy_any_method {

using namespace flashback;

namespace {

/// Drafts three tokens, and has them written again; drops passages once at the end. Counts what it hears.
struct Drafting {
    std::size_t drafted = 0;
    std::size_t ends = 0;
    std::size_t resets = 0;
    std::size_t rewound = 0;

    Decision schedule(const StepView& step) {
        if (step.generated() < drafted + 3) return Decision::go_on();
        drafted = step.generated();
        return Decision::retrieve(3);
    }
    TokenBuffer query(const StepView& step) const { return {step.draft().begin(), step.draft().end()}; }
    Decision at_end(const StepView&, StopReason) { return ++ends == 1 ? Decision::drop_passages(1) : Decision::go_on(); }
    void reset() {
        drafted = ends = 0;
        ++resets;
    }
    void rewind(std::size_t n) { rewound += n; }
    bool wants_surprisals() const { return true; }
};

struct Attentive {
    bool schedule(const StepView&) const { return false; }
    TokenSpan query(const StepView& step) const { return step.context; }
    bool wants_attention() const { return true; }
};

template <class Any>
constexpr bool is_a_value = std::copyable<Any>&& std::default_initializable<Any>&& std::is_nothrow_move_constructible_v<Any>;
static_assert(is_a_value<AnyMethod>);
static_assert(!std::is_convertible_v<Drafting, AnyMethod>, "holding a method is a decision, and an allocation");

template <class Method>
Generation generate(Method method) {
    flashback_test::FullNullModel model;
    struct Fixed {
        TokenBuffer tokens{5, 6};
        std::vector<Passage> retrieve(const Query&, std::size_t) const { return {Passage{.tokens = tokens}}; }
    } retriever;
    Decoder decoder{model, retriever, Policies{}.method(std::move(method))};
    const Generation first = decoder.generate(TokenBuffer{7, 8}, {.max_tokens = 20, .ignore_eos = true});
    const Generation second = decoder.generate(TokenBuffer{7, 8}, {.max_tokens = 20, .ignore_eos = true});
    CHECK(first.tokens == second.tokens);
    return first;
}

void check_same(const Generation& a, const Generation& b) {
    CHECK(a.tokens == b.tokens);
    REQUIRE(a.retrievals.size() == b.retrievals.size());
    for (std::size_t i = 0; i < a.retrievals.size(); ++i) {
        CHECK(a.retrievals[i].at == b.retrievals[i].at);
        CHECK(a.retrievals[i].query_tokens == b.retrievals[i].query_tokens);
    }
    CHECK(a.stats.rewound == b.stats.rewound);
    CHECK(a.surprisals == b.surprisals);
}

}  // namespace

TEST_CASE("AnyMethod decides as the method that it holds, and as it does in slots of its own") {
    const Generation plain = generate(Drafting{});
    CHECK(plain.retrievals.size() > 3);
    CHECK(plain.surprisals.size() == plain.tokens.size());
    check_same(generate(AnyMethod{Drafting{}}), plain);
    check_same(generate(AnyMethod{AnyMethod{Drafting{}}, MethodText{"drafting", ""}}), plain);
    Drafting mine;
    check_same(generate(AnyMethod{std::ref(mine)}), plain);
    CHECK(mine.resets == 2);
    CHECK(mine.rewound > 0);
}

TEST_CASE("AnyMethod is a schedule and a query builder as one") {
    const auto two = [] { return AnyMethod{AnySchedule{EveryNTokens{5}}, AnyQuery{LastNTokens{2}}, {"stride:5", "last:2"}}; };
    flashback_test::FullNullModel model;
    const Generation made = generate(two());
    REQUIRE(made.retrievals.size() == 4);
    CHECK(made.retrievals[3].at == 15);
    CHECK(made.retrievals[3].query_tokens.size() == 2);
    CHECK(two().text() == MethodText{"stride:5", "last:2"});
    CHECK(AnyMethod{}.text() == MethodText{"stride:16", "last:32"});
    CHECK(AnyMethod{Drafting{}}.text() == MethodText{});
    CHECK(generate(AnyMethod{}).retrievals.size() == 2);
}

TEST_CASE("AnyMethod passes on what its method wants and hears") {
    CHECK(AnyMethod{Drafting{}}.wants_surprisals());
    CHECK_FALSE(AnyMethod{Drafting{}}.wants_attention());
    CHECK(AnyMethod{Attentive{}}.wants_attention());
    CHECK(AnyMethod{Drafting{}}.looks_at_ends());
    CHECK_FALSE(AnyMethod{Attentive{}}.looks_at_ends());
    CHECK_FALSE(AnyMethod{}.looks_at_ends());
    const auto surprised = [](const StepView&) { return false; };
    struct Asks {
        TokenSpan operator()(const StepView& step) const { return step.context; }
        bool wants_surprisals() const { return true; }
    };
    CHECK(AnyMethod{AnySchedule{surprised}, AnyQuery{Asks{}}}.wants_surprisals());

    Drafting mine;
    AnyMethod method{std::ref(mine)};
    method.reset();
    method.rewind(4);
    const TokenBuffer text{1};
    CHECK(method.at_end(StepView{text, 1}, StopReason::eos) == Decision::drop_passages(1));
    CHECK(mine.resets == 1);
    CHECK(mine.rewound == 4);
    // A method that is referred to from two slots hears of each start once.
    Policies{}.method(AnyMethod{std::ref(mine)}).stopping([](const StepView&) { return false; }).reset();
    CHECK(mine.resets == 2);
}

TEST_CASE("copies of AnyMethod have memories of their own") {
    const TokenBuffer text{1, 2, 3, 4};
    const StepView three{text, 1};
    AnyMethod one{Drafting{}};
    AnyMethod two = one;
    CHECK(one.schedule(three) == Decision::retrieve(3));
    CHECK(one.schedule(three) == Decision::go_on());
    CHECK(two.schedule(three) == Decision::retrieve(3));
    StepView query = three;
    query.rewind = 2;
    CHECK(std::vector<TokenId>(two.query(query).tokens.begin(), two.query(query).tokens.end()) == std::vector<TokenId>{3, 4});
    AnyMethod moved = std::move(two);
    CHECK(moved.schedule(three) == Decision::go_on());
    CHECK_THROWS_WITH_AS(two.schedule(three), "a policy was used after it was moved from", Error);
}

}  // namespace test_policy_any_method
