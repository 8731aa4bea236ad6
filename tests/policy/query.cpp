#include "flashback/policy/query.hpp"

#include "flashback/policy/policies.hpp"
#include "flashback/policy/without_draft.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;

TEST_CASE("LastNTokens takes the newest tokens, or all if there are fewer") {
    constexpr std::array<TokenId, 4> generated{5, 6, 7, 8};
    const auto taken = [&](std::size_t count, TokenSpan text) { return LastNTokens{count}(StepView{text, 1}).tokens; };
    CHECK(taken(2, generated).data() == generated.data() + 2);
    CHECK(taken(2, generated).size() == 2);
    CHECK(taken(4, generated).size() == 4);
    CHECK(taken(5, generated).size() == 4);
    CHECK(taken(5, {}).empty());
    CHECK(LastNTokens{}(StepView{generated, 1}).text.empty());
}

TEST_CASE("LastNTokens takes 32 tokens unless told otherwise") {
    constexpr std::array<TokenId, 40> generated{};
    CHECK(LastNTokens{}(StepView{generated, 1}).tokens.size() == 32);
}

TEST_CASE("LastNTokens refuses a query of 0 tokens in words") {
    CHECK_THROWS_WITH_AS(LastNTokens{0}, "LastNTokens needs a query of at least 1 token, found 0", Error);
}

namespace {

/// Notes what it is shown and told.
struct Notes {
    struct Memory {
        std::vector<StepView> seen;
        std::size_t resets = 0;
        std::size_t rewound = 0;
    };
    Memory* memory;

    TokenSpan operator()(const StepView& step) const {
        memory->seen.push_back(step);
        return step.context;
    }
    void reset() const { ++memory->resets; }
    void rewind(std::size_t tokens) const { memory->rewound += tokens; }
    static bool wants_surprisals() { return true; }
};

}  // namespace

TEST_CASE("WithoutDraft shows the text as if it had ended in front of the draft, and passes all news on") {
    constexpr std::array<TokenId, 6> text{4, 5, 6, 7, 8, 9};
    constexpr std::array<float, 10> logits{};
    constexpr std::array<double, 4> surprisals{1, 2, 3, 4};
    const StepAttention attention;
    StepView step{.context = text,
                  .prompt_tokens = 2,
                  .retrievals = 1,
                  .since_retrieval = 2,
                  .logits = logits,
                  .surprisals = surprisals,
                  .attention = &attention};
    Notes::Memory memory;
    auto policies = Policies{}.query(WithoutDraft{Notes{&memory}});
    CHECK(policies.wants_surprisals());
    CHECK_FALSE(policies.wants_attention());
    policies.reset();
    CHECK(policies.query()(step).data() == text.data());  // nothing is taken back
    CHECK(memory.seen.back().logits.size() == 10);
    CHECK(memory.seen.back().attention == &attention);

    step.rewind = 3;
    CHECK(policies.query()(step).size() == 3);
    const StepView& seen = memory.seen.back();
    CHECK(seen.generated() == 1);
    CHECK(seen.rewind == 0);
    CHECK(seen.draft().empty());
    CHECK(std::ranges::equal(seen.surprisals, std::array{1.0}));
    CHECK(seen.since_retrieval == 0);  // the retrieval was within the draft
    CHECK(seen.retrievals == 1);
    CHECK(seen.logits.empty());
    CHECK(seen.attention == nullptr);
    policies.rewind(3);
    CHECK(memory.resets == 1);
    CHECK(memory.rewound == 3);
}
