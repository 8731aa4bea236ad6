#include "flashback/decoder/decoder.hpp"

#include "decoder/helpers.hpp"
#include "decoder/simulator.hpp"
#include "support/null_model.hpp"
#include "support/random_retriever.hpp"

#include <algorithm>
#include <cstddef>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;
using namespace flashback_test;

TEST_CASE("Every count is that of the plans, for each layout, stride, number of passages and length of prompt") {
    for (const bool prepend : {false, true}) {
        for (const bool reuse : {true, false}) {
            for (const std::size_t stride : {1u, 2u, 5u, 16u, 64u}) {
                for (const std::size_t passages : {0u, 1u, 2u, 3u}) {
                    for (const std::size_t length : {1u, 2u, 31u, 70u}) {
                        CAPTURE(prepend);
                        CAPTURE(reuse);
                        CAPTURE(stride);
                        CAPTURE(passages);
                        CAPTURE(length);
                        RandomRetriever retriever{9, 12, 20, length};
                        const Tokens prompt = random_prompt(length);
                        Setting setting{.stride = stride, .passages = passages, .prepend = prepend, .reuse = reuse};
                        NullModel model;
                        check_counts(generate(model, retriever, prompt, setting),
                                     expected_generation(retriever, prompt, setting));

                        setting.head = {1};
                        setting.markers = {18, 19};
                        FullNullModel full;
                        const Expected expected = expected_generation(retriever, prompt, setting);
                        const Generation found = generate(full, retriever, prompt, setting);
                        check_counts(found, expected);
                        CHECK(found.stats.counts.evaluated == full.evaluated);
                        CHECK(std::ranges::equal(full.tokens(), expected.held));
                    }
                }
            }
        }
    }
}

TEST_CASE("256 tokens at a stride of 16 are 16 retrievals, each the first of 16 evaluations") {
    FullNullModel model;
    RandomRetriever retriever{9, 12, 20, 1};
    const Generation generation = generate(model, retriever, random_prompt(10), {.stride = 16, .max_tokens = 256});
    CHECK(generation.stats.retrievals == 16);
    CHECK(model.evaluations == 256);
    for (std::size_t i = 0; i < generation.retrievals.size(); ++i) CHECK(generation.retrievals[i].at == 16 * i);
}

TEST_CASE("Append keeps the whole context at every later plan, prepend keeps BOS at least") {
    RandomRetriever retriever{9, 12, 20, 1};
    const Tokens prompt = random_prompt(50);
    FullNullModel appending;
    const Generation append_run = generate(appending, retriever, prompt, {.stride = 4});
    FullNullModel prepending;
    const Generation prepend_run = generate(prepending, retriever, prompt, {.stride = 4, .prepend = true});
    REQUIRE(append_run.retrievals.size() == 10);
    REQUIRE(prepend_run.retrievals.size() == 10);
    for (std::size_t i = 1; i < 10; ++i) {
        CHECK(append_run.retrievals[i].counts.reused >= 1 + 50 + append_run.retrievals[i - 1].at);
        CHECK(prepend_run.retrievals[i].counts.reused >= 1);
    }
    CHECK(append_run.stats.counts.evaluated < prepend_run.stats.counts.evaluated);
}

TEST_CASE("The next generation reuses what the model still holds") {
    for (const bool prepend : {false, true}) {
        RandomRetriever retriever{9, 12, 20, 1};
        Tokens prompt = random_prompt(50);
        FullNullModel model;
        Setting setting{.stride = 7, .passages = 2, .prepend = prepend, .head = {1}};
        const Generation first = generate(model, retriever, prompt, setting);
        setting.held.assign(model.tokens().begin(), model.tokens().end());
        append(prompt, first.tokens);
        check_counts(generate(model, retriever, prompt, setting), expected_generation(retriever, prompt, setting));
    }
}

TEST_CASE("The same prompt again feeds its last token only") {
    FullNullModel model;
    NoPassages nothing;
    Decoder decoder{model, nothing, Policies{}.schedule(Never{})};
    const Tokens prompt = random_prompt(30);
    const Generation first = decoder.generate(prompt, {.max_tokens = 1, .ignore_eos = true});
    CHECK(first.stats.counts == TokenCounts{31, 31, 0, 0});
    const Generation again = decoder.generate(prompt, {.max_tokens = 1, .ignore_eos = true});
    CHECK(again.stats.counts == TokenCounts{31, 1, 30, 1});
    CHECK(again.tokens == first.tokens);
}

TEST_CASE("A passage of marker ids and a prompt of marker ids are counted and planned as any other tokens") {
    for (const bool prepend : {false, true}) {
        FullNullModel model;
        RandomRetriever retriever{4, 9, 2, 5};  // passages of the tokens 0 and 1, which are the markers
        const Tokens prompt{0, 1, 0, 0, 1};
        const Setting setting{.stride = 3, .passages = 3, .prepend = prepend, .head = {1}, .markers = {0, 1}};
        check_counts(generate(model, retriever, prompt, setting), expected_generation(retriever, prompt, setting));
    }
}
