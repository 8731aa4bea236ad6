// What a policy learns of attention: the weights of the position that gave the logits, and where the text stands in them.
#include "decoder/helpers.hpp"
#include "flashback/decoder/decoder.hpp"
#include "flashback/policy/any_policy.hpp"
#include "support/attentive_model.hpp"
#include "support/null_model.hpp"

#include <cstddef>
#include <functional>
#include <vector>

#include <doctest/doctest.h>

namespace test_decoder_attention {

using namespace flashback;
using namespace flashback_test;

namespace {

/// Retrieves every four tokens, and checks at every step what it is told of attention.
struct Watch {
    Attentive* model;
    std::size_t seen = 0;
    std::size_t rewinds = 0;

    bool wants_attention() const { return true; }
    void reset() { seen = rewinds = 0; }
    Decision operator()(const StepView& step) {
        if (step.logits.empty()) {
            CHECK(step.attention == nullptr);
            return step.retrievals == 0;
        }
        REQUIRE(step.attention != nullptr);
        const std::span<const std::size_t> places = step.attention->places;
        REQUIRE(places.size() == step.context.size());
        CHECK(places.back() == StepAttention::nowhere);
        const AttentionWeights weights = step.attention->weights(2);
        CHECK(step.attention->layers == 3);
        REQUIRE(weights.positions() == model->size());
        std::size_t least = 0;
        for (std::size_t i = 0; i + 1 < places.size(); ++i) {
            CAPTURE(i);
            if (i >= sinks && i < sinks + step.dropped) {
                CHECK(places[i] == StepAttention::nowhere);
                continue;
            }
            REQUIRE(places[i] >= least);
            REQUIRE(places[i] < model->size());
            least = places[i] + 1;
            CHECK(model->tokens()[places[i]] == step.context[i]);
            CHECK(weights.head(1)[places[i]] == static_cast<float>(step.context[i]) + 200.0f);
        }
        ++seen;
        if (step.generated() == 9 && rewinds++ == 0) return Decision::retrieve(3);
        return step.since_retrieval >= 4;
    }

    std::size_t sinks = 0;
};

template <class PoliciesT>
Generation run(Attentive& model, PoliciesT policies, std::size_t max_tokens = 40) {
    FixedRetriever retriever{{{5, 6, 7}, {8, 9, 10, 11}}};
    Decoder decoder{model, retriever, policies};
    const Generation done = decoder.generate(random_prompt(9), {.max_tokens = max_tokens, .passages = 2, .ignore_eos = true});
    return done;
}

}  // namespace

TEST_CASE("attention: places hold the tokens of the text, whatever the layout") {
    Attentive model{20};
    const auto watched = [&](auto policies) {
        model.truncate(0);
        const Generation done = run(model, policies.schedule(Watch{&model}));
        CHECK(done.tokens.size() == 40);
        CHECK(model.asked > 40);
    };
    watched(Policies{});
    watched(Policies{}.layout(PrependPassages{}));
    watched(Policies{}.layout(Sticky{}));
    watched(Policies{}.layout(AppendAndRepeat{3}));
}

TEST_CASE("attention: tokens that a full window dropped are nowhere") {
    Attentive model{20, 32};
    Watch watch{&model};
    run(model, Policies{}.overflow(DropOldest{}).schedule(watch), 80);
    CHECK(model.asked > 80);
}

TEST_CASE("attention: it is asked for only if a policy wants it, and then the model must give it") {
    Attentive model{20};
    run(model, Policies{});
    CHECK(model.asked == 0);
    NullModel plain{20};
    FixedRetriever retriever{{{5}}};
    Decoder decoder{plain, retriever, Policies{}.schedule(Watch{&model})};
    CHECK(error_of(ErrorCode::contract, [&] { decoder.generate(random_prompt(4)); }).find("AttentiveModel") !=
          std::string::npos);
    static_assert(!Policies{}.wants_attention());
    Watch watch{&model};
    CHECK(Policies{}.schedule(any_of(Never{}, std::ref(watch))).wants_attention());
    CHECK(AnyPolicies{}.schedule(AnySchedule{at_most(2, watch)}).wants_attention());
}

TEST_CASE("attention: rank and evaluated tokens of a step") {
    Attentive model{20};
    std::size_t before = 0;
    const auto counts = [&](const StepView& step) {
        CHECK(step.rank() == 0);  // greedy
        CHECK(step.evaluated >= before);
        before = step.evaluated;
        return false;
    };
    const Generation done = run(model, Policies{}.schedule(counts));
    CHECK(before + 1 == done.stats.counts.evaluated);  // the last token was taken after it was asked
    CHECK(flashback::rank(std::vector<float>{1, 3, 2}, 0) == 2);
}

}  // namespace test_decoder_attention
