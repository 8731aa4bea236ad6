#include "flashback/policy/context_plan.hpp"

#include "flashback/policy/any_policy.hpp"
#include "flashback/policy/policies.hpp"
#include "support/allocations.hpp"

#include <array>
#include <cstddef>
#include <random>
#include <vector>

#include <doctest/doctest.h>

namespace test_policy_context_plan {

using namespace flashback;

namespace {

using Tokens = std::vector<TokenId>;

const Tokens head{1};
const Tokens context{10, 11, 12};
const Tokens first{20, 21};
const Tokens second{30};
const std::array<Passage, 2> passages{Passage{.tokens = first}, Passage{.tokens = second}};

Tokens list(TokenSpan tokens) { return {tokens.begin(), tokens.end()}; }

const auto append_marked = Policies{}.wrapper(MarkerTokens{100, 101});
const auto prepend_marked = append_marked.layout(PrependPassages{});

}  // namespace

TEST_CASE("append puts passages behind the context and keeps all in front of them") {
    PlanScratch scratch;
    const Tokens held{1, 10, 11, 100, 40, 101, 12};
    const ContextPlan plan = plan_context(append_marked, held, {head, passages, context}, scratch);
    CHECK(list(plan.wanted) == Tokens{1, 10, 11, 12, 100, 20, 21, 101, 100, 30, 101});
    CHECK(plan.keep == 3);
    CHECK(list(plan.feed) == Tokens{12, 100, 20, 21, 101, 100, 30, 101});
}

TEST_CASE("prepend puts passages in front of the context and keeps the head alone") {
    PlanScratch scratch;
    const Tokens held{1, 10, 11, 12};
    const ContextPlan plan = plan_context(prepend_marked, held, {head, passages, context}, scratch);
    CHECK(list(plan.wanted) == Tokens{1, 100, 20, 21, 101, 100, 30, 101, 10, 11, 12});
    CHECK(plan.keep == 1);
    CHECK(plan.feed.size() == 10);
}

TEST_CASE("no passages mean no markers") {
    PlanScratch scratch;
    CHECK(list(plan_context(append_marked, {}, {head, {}, context}, scratch).wanted) == Tokens{1, 10, 11, 12});
    CHECK(list(plan_context(prepend_marked, {}, {head, {}, context}, scratch).wanted) == Tokens{1, 10, 11, 12});
}

TEST_CASE("nothing held means everything is fed") {
    PlanScratch scratch;
    const ContextPlan plan = plan_context(Policies{}, {}, {head, passages, context}, scratch);
    CHECK(plan.keep == 0);
    CHECK(list(plan.feed) == list(plan.wanted));
}

TEST_CASE("if all is held, the last token is fed again") {
    PlanScratch scratch;
    for (const Tokens& held : {Tokens{1, 10, 11, 12}, Tokens{1, 10, 11, 12, 100, 20}}) {
        const ContextPlan plan = plan_context(Policies{}, held, {head, {}, context}, scratch);
        CHECK(plan.keep == 3);
        CHECK(list(plan.feed) == Tokens{12});
        CHECK(plan.wanted.size() == 4);
    }
    const Tokens one{1};
    const ContextPlan plan = plan_context(Policies{}, one, {head, {}, {}}, scratch);
    CHECK(plan.keep == 0);
    CHECK(list(plan.feed) == one);
}

TEST_CASE("RecomputeAll keeps nothing") {
    PlanScratch scratch;
    const Tokens held{1, 10, 11, 12};
    const ContextPlan plan = plan_context(Policies{}.reuse(RecomputeAll{}), held, {head, {}, context}, scratch);
    CHECK(plan.keep == 0);
    CHECK(plan.feed.size() == 4);
}

TEST_CASE("each part alone is enough, all empty is refused") {
    PlanScratch scratch;
    CHECK(list(plan_context(Policies{}, {}, {head, {}, {}}, scratch).feed) == head);
    CHECK(list(plan_context(Policies{}, {}, {{}, {}, context}, scratch).feed) == context);
    CHECK(list(plan_context(Policies{}, {}, {{}, passages, {}}, scratch).feed) == Tokens{20, 21, 30});
    CHECK_THROWS_WITH_AS(plan_context(Policies{}, context, {}, scratch),
                         "a context needs at least 1 token, but head, passages and context are all empty", Error);
}

TEST_CASE("a reuse policy that keeps what is not valid is refused") {
    PlanScratch scratch;
    const Tokens held{1, 10, 99, 12};
    const ContextParts parts{head, {}, context};
    const auto lying = [](std::size_t keep) { return Policies{}.reuse([keep](TokenSpan, TokenSpan) { return keep; }); };
    CHECK_THROWS_WITH_AS(plan_context(lying(3), held, parts, scratch),
                         "the reuse policy keeps 3 positions, but only the common prefix of 2 is valid", Error);
    CHECK_THROWS_AS(plan_context(lying(4), held, parts, scratch), Error);
    CHECK_THROWS_AS(plan_context(lying(5), held, parts, scratch), Error);
    CHECK_THROWS_AS(plan_context(lying(static_cast<std::size_t>(-1)), held, parts, scratch), Error);
    CHECK(plan_context(lying(1), held, parts, scratch).keep == 1);
    CHECK(plan_context(lying(2), held, parts, scratch).keep == 2);
}

TEST_CASE("keep and feed give the wanted sequence, whatever was held") {
    std::mt19937 random{3};
    PlanScratch scratch;
    const auto tokens = [&](std::size_t most) {
        Tokens out(random() % (most + 1));
        for (TokenId& t : out) t = static_cast<TokenId>(random() % 2);
        return out;
    };
    for (int round = 0; round < 5000; ++round) {
        const Tokens held = tokens(12), a = tokens(3), b = tokens(3), text = tokens(6);
        const Tokens bos{0};
        const std::array<Passage, 2> found{Passage{.tokens = a}, Passage{.tokens = b}};
        const ContextParts parts{bos, std::span{found}.first(random() % 3), text};
        const ContextPlan plan =
            round % 2 ? plan_context(append_marked, held, parts, scratch) : plan_context(prepend_marked, held, parts, scratch);
        Tokens then = list(TokenSpan{held}.first(plan.keep));
        append(then, plan.feed);
        REQUIRE(then == list(plan.wanted));
        REQUIRE_FALSE(plan.feed.empty());
        const std::size_t common = common_prefix(held, plan.wanted);
        REQUIRE(plan.keep == std::min(common, plan.wanted.size() - 1));
    }
}

TEST_CASE("a warm scratch allocates nothing") {
    PlanScratch scratch;
    const Tokens held{1, 10, 11};
    const ContextParts parts{head, passages, context};
    REQUIRE(flashback_test::allocations_of([&] { plan_context(append_marked, held, parts, scratch); }).calls > 0);
    std::size_t fed = 0;
    const auto calls = flashback_test::allocations_of([&] {
                           for (int i = 0; i < 10; ++i) {
                               fed += plan_context(append_marked, held, parts, scratch).feed.size();
                               fed += plan_context(prepend_marked, held, parts, scratch).feed.size();
                           }
                       }).calls;
    CHECK(calls == 0);
    CHECK(fed == 10 * (8 + 10));
}

TEST_CASE("passages beside the text leave it as it is, and say from where on they are seen") {
    PlanScratch scratch;
    const auto aside = append_marked.layout(PassagesAside{{.seeing = 2}});
    const ContextPlan plan = plan_context(aside, head, {head, passages, context, {}, 1}, scratch);
    CHECK(list(plan.wanted) == Tokens{1, 10, 11, 12});
    CHECK(plan.plain == 2);
    CHECK(plan.keep == 1);
    CHECK(list(plan.feed) == Tokens{10, 11, 12});
    REQUIRE(plan.beside.size() == 2);
    CHECK(list(plan.beside[0]) == Tokens{100, 20, 21, 101});
    CHECK(list(plan.beside[1]) == Tokens{100, 30, 101});

    // Chosen at run time it is the same.
    const ContextPlan chosen = plan_context(AnyPolicies{}.layout(AnyLayout{PassagesAside{{.seeing = 2}}}), head,
                                            {head, passages, context, {}, 1}, scratch);
    CHECK(chosen.plain == 2);
    CHECK(chosen.beside.size() == 2);
}

TEST_CASE("what saw other passages, or is to see some, is not kept") {
    PlanScratch scratch;
    const auto aside = Policies{}.layout(PassagesAside{});
    const Tokens held{1, 10, 11, 12};
    const Tokens longer{10, 11, 12, 13, 14};
    // All that is held is plain, and of that all but the newest token stays.
    CHECK(plan_context(aside, held, {head, passages, context, {}, held.size()}, scratch).keep == 3);
    // The newest two that are held saw passages.
    const ContextParts parts{.head = head, .passages = passages, .context = longer, .held_plain = 2};
    const ContextPlan plan = plan_context(aside, held, parts, scratch);
    CHECK(plan.keep == 2);
    CHECK(plan.plain == 5);
    CHECK(list(plan.feed) == Tokens{11, 12, 13, 14});
    // Without passages nothing sees any; what saw some is read again as plain text.
    const ContextPlan none =
        plan_context(aside, held, {.head = head, .passages = {}, .context = longer, .held_plain = 2}, scratch);
    CHECK(none.keep == 2);
    CHECK(none.plain == none.wanted.size());
    CHECK(none.beside.empty());
    CHECK_FALSE(none.sees);
    CHECK(plan.sees);
    // If it need not be exact, all of it is kept, and only the newest token is read.
    const auto loose = Policies{}.layout(PassagesAside{{.exact = false}});
    const ContextPlan keeping = plan_context(loose, Tokens{1, 10, 11, 12, 13}, parts, scratch);
    CHECK(keeping.keep == 5);
    CHECK(keeping.plain == 5);
    CHECK(list(keeping.feed) == Tokens{14});
    // Then a model must be told that what follows sees nothing.
    const ContextPlan blind =
        plan_context(loose, held, {.head = head, .passages = {}, .context = longer, .held_plain = 2}, scratch);
    CHECK(blind.keep == 4);
    CHECK(blind.plain == 4);
    CHECK(blind.sees);
    CHECK(blind.beside.empty());
    CHECK_FALSE(plan_context(loose, held, {.head = head, .passages = {}, .context = longer, .held_plain = 4}, scratch).sees);
    // Joined, they are one block.
    const ContextPlan joined =
        plan_context(append_marked.layout(PassagesAside{{.joined = true}}), {}, {head, passages, context}, scratch);
    REQUIRE(joined.beside.size() == 1);
    CHECK(list(joined.beside[0]) == Tokens{100, 20, 21, 101, 100, 30, 101});
    // What is given at the next plan: the first token that saw some, or nothing did and all that follows is plain.
    CHECK(plan.plain_after(2) == 5);
    CHECK(none.plain_after(2) > 100);
    CHECK(keeping.plain_after(2) == 2);
    CHECK(blind.plain_after(2) == 2);
    // More tokens than there are see all; the head never does.
    CHECK(plan_context(Policies{}.layout(PassagesAside{{.seeing = 100}}), {}, {head, passages, context}, scratch).plain == 1);
    CHECK_THROWS_WITH_AS(
        plan_context(aside, held, {head, passages, context}, scratch),
        "a layout of passages beside the text needs ContextParts::held_plain: how many of the 4 tokens held saw "
        "none",
        Error);
    CHECK_THROWS_WITH_AS(PassagesAside{{.seeing = 0}}, "passages beside the text need at least 1 token that sees them, found 0",
                         Error);
}

/// Keeps whole groups of 4 tokens, and lets text move.
struct KeepGroups {
    std::size_t operator()(TokenSpan held, TokenSpan wanted) const { return common_prefix(held, wanted) / 4 * 4; }
    bool moves_text() const { return true; }
};

TEST_CASE("text that was written behind a passage moves up to what is kept, and to nothing else") {
    PlanScratch scratch;
    const Tokens held{1, 10, 11, 12, 13, 100, 40, 101, 14, 15};
    const Tokens longer{10, 11, 12, 13, 14, 15, 16};
    const ContextParts parts{.head = head, .passages = passages, .context = longer, .written = 2};
    const ContextPlan moved = plan_context(append_marked.reuse(KeepAndMoveText{}), held, parts, scratch);
    CHECK(moved.keep == 7);
    CHECK(moved.leaves_at == 5);
    CHECK(moved.leaves == 3);
    CHECK(list(moved.feed) == Tokens{16, 100, 20, 21, 101, 100, 30, 101});
    // A policy that keeps less has the last word: behind the 4 that it keeps, what was written does not follow.
    const ContextPlan groups = plan_context(append_marked.reuse(KeepGroups{}), held, parts, scratch);
    CHECK(groups.keep == 4);
    CHECK_FALSE(groups.moves());
}

}  // namespace test_policy_context_plan
