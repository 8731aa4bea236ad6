// One object that fills several slots: a method is schedule, query and memory.
#include "decoder/helpers.hpp"
#include "flashback/decoder/decoder.hpp"
#include "support/null_model.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <type_traits>
#include <vector>

#include <doctest/doctest.h>

namespace test_decoder_method {

using namespace flashback;
using namespace flashback_test;

namespace {

/// A little FLARE: drafts four tokens, retrieves for them, and drafts again; looks once more at the end.
struct Drafting {
    std::size_t drafted = 0;
    std::size_t resets = 0;
    std::vector<std::size_t> rewinds = {};
    std::size_t looks = 0;

    void reset() {
        ++resets;
        drafted = 0;
        looks = 0;
    }
    void rewind(std::size_t tokens) { rewinds.push_back(tokens); }
    bool wants_surprisals() const { return true; }
    Decision schedule(const StepView& step) {
        if (step.generated() < drafted + 4) return Decision::go_on();
        drafted = step.generated();
        return Decision::retrieve(4);
    }
    TokenBuffer query(const StepView& step) const { return {step.draft().begin(), step.draft().end()}; }
    Decision at_end(const StepView& step, StopReason) {
        CHECK(step.surprisals.size() == step.generated());
        return ++looks == 1 ? Decision::drop_passages(1) : Decision::go_on();
    }
};

/// Everything that a method can be.
struct Everything {
    std::array<TokenId, 1> marker{19};
    bool schedule(const StepView& step) const { return step.retrievals == 0; }
    Query query(const StepView& step) const { return {step.context}; }
    void wrapper(const Passage& passage, std::size_t rank, TokenBuffer& out) const {
        out.push_back(marker[0]);
        if (rank == 0) append(out, passage.tokens);
    }
    TokenSpan markers() const { return marker; }
    void layout(const LayoutParts& parts, TokenBuffer& out) const { PrependPassages{}(parts, out); }
    std::size_t reuse(TokenSpan, TokenSpan) const { return 0; }
    TokenId sampler(std::span<const float> logits, const StepView&) const { return Greedy{}(logits); }
    std::size_t overflow(const FullWindow& full) const { return full.context / 2; }
    bool stopping(const StepView& step) const { return step.generated() == 7; }
};

const GenerateOptions ten{.max_tokens = 10, .ignore_eos = true};

}  // namespace

TEST_CASE("a method is schedule, query and memory at once, and hears of everything") {
    FullNullModel model;
    FixedRetriever retriever{.passages = {{5, 6}}};
    const auto policies = Policies{}.method(Drafting{});
    Decoder decoder{model, retriever, policies};
    const Generation run = decoder.generate(Tokens{7, 8}, ten);
    CHECK(run.tokens.size() == 10);
    CHECK(run.stats.retrievals == 2);
    CHECK(run.retrievals[0].query_tokens.size() == 4);
    CHECK(run.surprisals.size() == 10);
    CHECK(decoder.policies().method().rewinds == std::vector<std::size_t>{4, 4, 1});
    CHECK(decoder.policies().method().resets == 1);
    CHECK(policies.method().resets == 0);  // the decoder has a copy

    Drafting mine;
    Decoder referring{model, retriever, Policies{}.method(std::ref(mine))};
    CHECK(referring.generate(Tokens{7, 8}, ten).tokens == run.tokens);
    CHECK(mine.rewinds == std::vector<std::size_t>{4, 4, 1});
}

TEST_CASE("a method may fill every slot, and a slot that is set after it is another policy's") {
    FullNullModel model;
    FixedRetriever retriever{.passages = {{5, 6}, {7}}};
    const auto policies = Policies{}.method(Everything{});
    Decoder decoder{model, retriever, policies};
    GenerateOptions two = ten;
    two.passages = 2;
    const Generation run = decoder.generate(Tokens{7, 8}, two);
    CHECK(run.tokens.size() == 7);
    CHECK(to_string(run.stop) == "stop_string");
    Tokens expected{1, 19, 5, 6, 19, 7, 8};
    expected.insert(expected.end(), run.tokens.begin(), run.tokens.end() - 1);
    CHECK(std::ranges::equal(model.tokens(), expected));
    CHECK(run.stats.counts.reused == 0);
    Decoder other{model, retriever, policies.stopping(NeverStop{}).layout(AppendPassages{}).wrapper(NoMarkers{})};
    const Generation longer = other.generate(Tokens{7, 8}, two);
    CHECK(longer.tokens.size() == 10);
    CHECK(std::ranges::equal(model.tokens().first(6), Tokens{1, 7, 8, 5, 6, 7}));
    PlanScratch scratch;
    const Tokens text{7};
    CHECK(plan_context(policies, {}, {{}, {}, text}, scratch).feed.size() == 1);
}

TEST_CASE("a method of which there is one only is moved") {
    struct Lonely {
        std::unique_ptr<int> none = std::make_unique<int>(3);
        bool schedule(const StepView& step) const { return step.since_retrieval % 3 == 0 && none; }
    };
    FullNullModel model;
    FixedRetriever retriever{.passages = {{5, 6}}};
    Decoder decoder{model, retriever, Policies{}.query(LastNTokens{2}).method(Lonely{}).layout(Sticky{})};
    CHECK(decoder.generate(Tokens{7, 8}, ten).stats.retrievals == 4);
}

TEST_CASE("policies without a method are as small as before, and one without members costs nothing") {
    static_assert(std::is_empty_v<decltype(Policies{}.schedule(Never{}).query([](const StepView&) { return TokenSpan{}; }))>);
    struct Small {
        bool schedule(const StepView&) const { return false; }
    };
    static_assert(std::is_empty_v<decltype(Policies{}.query([](const StepView&) { return TokenSpan{}; }).method(Small{}))>);
}

}  // namespace test_decoder_method
