#include "flashback/decoder/decoder.hpp"

#include "decoder/helpers.hpp"
#include "decoder/simulator.hpp"
#include "support/null_model.hpp"
#include "support/random_retriever.hpp"

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;
using namespace flashback_test;

namespace {

/// Says what it is told to at each step, and goes on after that, in the next generations as well.
struct Scripted {
    std::vector<Decision> script;
    std::size_t at = 0;

    Decision operator()(const StepView&) { return at < script.size() ? script[at++] : Decision::go_on(); }
    static void reset() {}
};
Scripted scripted(std::vector<Decision> script) { return {std::move(script)}; }

const Decision go = Decision::go_on();
const GenerateOptions ten{.max_tokens = 10, .ignore_eos = true};

}  // namespace

TEST_CASE("Tokens, counts and reports of generations that rewind are those of the simulation") {
    std::size_t rewinds = 0;
    std::size_t bounded = 0;
    for (const bool prepend : {false, true}) {
        for (const bool reuse : {true, false}) {
            for (const std::size_t stride : {1u, 2u, 5u, 12u}) {
                for (const std::size_t rewind : {1u, 2u, 4u, 30u}) {
                    for (const std::size_t passages : {0u, 1u, 3u}) {
                        CAPTURE(prepend);
                        CAPTURE(reuse);
                        CAPTURE(stride);
                        CAPTURE(rewind);
                        CAPTURE(passages);
                        RandomRetriever retriever{9, 12, 20, rewind};
                        const Setting setting{.stride = stride,
                                              .passages = passages,
                                              .prepend = prepend,
                                              .reuse = reuse,
                                              .head = {1},
                                              .markers = {18, 19},
                                              .rewind = rewind,
                                              .max_rewinds = 40};
                        const Expected expected = check_generation(retriever, random_prompt(9), setting);
                        rewinds += expected.rewinds;
                        bounded += expected.stop == StopReason::max_rewinds ? 1 : 0;
                        if (stride > rewind) CHECK(to_string(expected.stop) == "max_tokens");
                        if (stride <= rewind) CHECK(to_string(expected.stop) == "max_rewinds");
                    }
                }
            }
        }
    }
    CHECK(rewinds > 1000);
    CHECK(bounded > 50);
}

TEST_CASE("A draft is taken back from the result, the context, the model and the callback, and generated anew") {
    FullNullModel model;
    FixedRetriever retriever{.passages = {{5, 6}}};
    Decoder decoder{model, retriever, Policies{}.schedule(scripted({go, go, go, go, Decision::retrieve(3)}))};
    Listener listener;
    const Generation generation = decoder.generate(Tokens{7, 8}, ten, listener);
    REQUIRE(generation.retrievals.size() == 1);
    CHECK(generation.retrievals[0].at == 1);
    CHECK(generation.retrievals[0].rewound == 3);
    CHECK(generation.stats.rewinds == 1);
    CHECK(generation.stats.rewound == 3);
    CHECK(generation.stats.retrievals == 1);
    CHECK(generation.tokens.size() == 10);
    CHECK(listener.rewinds == std::vector<std::size_t>{3});
    CHECK(listener.seen == 13);
    CHECK(listener.tokens == generation.tokens);

    Tokens held{1, 7, 8, generation.tokens[0], 5, 6};
    held.insert(held.end(), generation.tokens.begin() + 1, generation.tokens.end() - 1);
    CHECK(std::ranges::equal(model.tokens(), held));
    // The plan: 1 7 8 and the first token stay, the three of the draft that were read go.
    CHECK(generation.retrievals[0].counts == TokenCounts{6, 2, 4, 2});

    // Never having gone there gives the same text.
    FullNullModel other;
    Decoder direct{other, retriever, Policies{}.schedule(scripted({go, Decision::retrieve()}))};
    CHECK(direct.generate(Tokens{7, 8}, ten).tokens == generation.tokens);
    CHECK(std::ranges::equal(other.tokens(), model.tokens()));
}

TEST_CASE("The query sees the draft, the schedule after it does not") {
    FullNullModel model;
    FixedRetriever retriever{.passages = {{5, 6}}};
    Tokens drafted;
    Tokens kept;
    std::size_t asked = 0;
    const auto query = [&](const StepView& step) {
        ++asked;
        CHECK(step.rewind == 2);
        CHECK(step.generated() == 5);
        CHECK(step.context.size() == 7);
        CHECK(step.logits.size() == 20);
        drafted.assign(step.draft().begin(), step.draft().end());
        kept.assign(step.kept().begin(), step.kept().end());
        return Query{step.draft()};
    };
    std::vector<std::size_t> generated;
    const auto schedule = [&](const StepView& step) {
        CHECK(step.rewind == 0);
        generated.push_back(step.generated());
        return generated.size() == 6 ? Decision::retrieve(2) : Decision::go_on();
    };
    Decoder decoder{model, retriever, Policies{}.schedule(schedule).query(query)};
    Listener listener;
    Tokens all;
    const Generation generation =
        decoder.generate(Tokens{7, 8}, {.max_tokens = 6, .ignore_eos = true}, [&](TokenId token) { all.push_back(token); });
    CHECK(asked == 1);
    CHECK(generated == std::vector<std::size_t>{0, 1, 2, 3, 4, 5, 4, 5});
    CHECK(kept == Tokens{7, 8, all[0], all[1], all[2]});
    CHECK(drafted == Tokens{all[3], all[4]});
    CHECK(generation.retrievals[0].query_tokens == drafted);
    CHECK(generation.tokens == Tokens{all[0], all[1], all[2], all[5], all[6], all[7]});
}

TEST_CASE("All generated tokens may be taken back, so that the prompt alone is left, and the first one twice") {
    FullNullModel model;
    FixedRetriever retriever{.passages = {{5, 6}}};
    Decoder decoder{model, retriever,
                    Policies{}.schedule(scripted({Decision::retrieve(), go, Decision::retrieve(2), Decision::retrieve(1)}))};
    const Generation generation = decoder.generate(Tokens{7, 8}, ten);
    REQUIRE(generation.retrievals.size() == 3);
    for (const Retrieval& retrieval : generation.retrievals) {
        CHECK(retrieval.at == 0);
        CHECK(retrieval.query_tokens == Tokens{7, 8});
    }
    CHECK(generation.stats.rewound == 3);
    CHECK(generation.stats.rewinds == 2);
    CHECK(generation.tokens.size() == 10);
}

TEST_CASE("A rewind of more than was generated is an error in words and leaves a true state") {
    for (const std::size_t rewind : {4u, 5u, 1000000u}) {
        FullNullModel model;
        FixedRetriever retriever{.passages = {{5, 6}}};
        Decoder decoder{model, retriever, Policies{}.schedule(scripted({go, go, go, Decision::retrieve(rewind)}))};
        Listener listener;
        CHECK(error_of(ErrorCode::contract, [&] {
                  decoder.generate(Tokens{7, 8}, ten, listener);
              }) == "the schedule takes back " + std::to_string(rewind) + " tokens, but only 3 were generated");
        CHECK(decoder.partial().tokens.size() == 3);
        CHECK(decoder.partial().tokens == listener.tokens);
        CHECK(decoder.partial().stats.rewinds == 0);
        CHECK(decoder.partial().stats.counts.evaluated == model.evaluated);
        CHECK(retriever.calls == 0);
        CHECK(model.size() == 5);
        // It was taken at its fourth word; now the script is over.
        CHECK(first_of(decoder.generate(Tokens{7, 8}, ten).tokens, 3) == listener.tokens);
    }
    FullNullModel model;
    NoPassages nothing;
    Decoder decoder{model, nothing, Policies{}.schedule(scripted({Decision::retrieve(1)}))};
    CHECK(error_of(ErrorCode::contract, [&] {
              decoder.generate(Tokens{7, 8}, ten);
          }) == "the schedule takes back 1 tokens, but only 0 were generated");
    CHECK(model.size() == 0);
}

TEST_CASE("max_rewinds ends a schedule that always rewinds, with what it had") {
    for (const std::size_t most : {0u, 1u, 7u}) {
        FullNullModel model;
        FixedRetriever retriever{.passages = {{5, 6}}};
        const auto always = [](const StepView& step) {
            return step.generated() == 0 ? Decision::go_on() : Decision::retrieve(1);
        };
        Decoder decoder{model, retriever, Policies{}.schedule(always)};
        Listener listener;
        const Generation generation =
            decoder.generate(Tokens{7, 8}, {.max_tokens = 10, .ignore_eos = true, .max_rewinds = most}, listener);
        // It goes on to one token, and takes that back every time.
        CHECK(to_string(generation.stop) == "max_rewinds");
        CHECK(generation.stats.rewinds == most);
        CHECK(generation.stats.rewound == most);
        CHECK(generation.tokens.size() == 1);
        CHECK(generation.tokens == listener.tokens);
        CHECK(model.evaluations <= 2 * most + 1);
    }
}

TEST_CASE("Retrievals that take nothing back do not count as rewinds") {
    FullNullModel model;
    FixedRetriever retriever{.passages = {{5, 6}}};
    Decoder decoder{model, retriever, Policies{}.schedule(EveryNTokens{1})};
    const Generation generation = decoder.generate(Tokens{7, 8}, {.max_tokens = 10, .ignore_eos = true, .max_rewinds = 0});
    CHECK(to_string(generation.stop) == "max_tokens");
    CHECK(generation.stats.retrievals == 10);
    CHECK(generation.stats.rewinds == 0);
}

TEST_CASE("A retriever that fails at a rewind leaves the draft where it was") {
    FullNullModel model;
    FixedRetriever retriever{.passages = {{5, 6}}, .fail_at = 0};
    Decoder decoder{model, retriever, Policies{}.schedule(scripted({go, go, go, Decision::retrieve(2)}))};
    Listener listener;
    CHECK_THROWS_WITH(decoder.generate(Tokens{7, 8}, ten, listener), "the index is gone");
    CHECK(decoder.partial().tokens.size() == 3);
    CHECK(decoder.partial().tokens == listener.tokens);
    CHECK(decoder.partial().stats.rewound == 0);
    CHECK(listener.rewinds.empty());
}

TEST_CASE("A model that fails after a rewind leaves what was kept, and the callback knows it") {
    FullNullModel model;
    model.fail_at = 3;
    FixedRetriever retriever{.passages = {{5, 6}}};
    Decoder decoder{model, retriever, Policies{}.schedule(scripted({go, go, go, Decision::retrieve(2)}))};
    Listener listener;
    CHECK_THROWS_AS(decoder.generate(Tokens{7, 8}, ten, listener), NullModelError);
    CHECK(decoder.partial().tokens.size() == 1);
    CHECK(decoder.partial().tokens == listener.tokens);
    CHECK(decoder.partial().retrievals.empty());
    CHECK(std::ranges::equal(model.tokens(), Tokens{1, 7, 8, listener.tokens[0]}));
    CHECK(decoder.generate(Tokens{7, 8}, ten).tokens.size() == 10);
}

TEST_CASE("A retriever is not shown what is about to be taken back") {
    struct Recording : FixedRetriever {
        std::vector<Tokens> contexts = {};
        std::span<const Passage> retrieve(const Query& query, std::size_t k) {
            contexts.emplace_back(query.context.begin(), query.context.end());
            return FixedRetriever::retrieve(query, k);
        }
    };
    FullNullModel model;
    Recording retriever;
    retriever.passages = {{5, 6}};
    Decoder decoder{model, retriever, Policies{}.schedule(scripted({Decision::retrieve(), go, go, Decision::retrieve(2)}))};
    const Generation generation = decoder.generate(Tokens{7, 8}, ten);
    REQUIRE(retriever.contexts.size() == 2);
    CHECK(retriever.contexts[0] == Tokens{7, 8});
    CHECK(retriever.contexts[1] == Tokens{7, 8, generation.tokens[0]});
}
