#include "flashback/decoder/decoder.hpp"

#include "decoder/helpers.hpp"
#include "support/null_model.hpp"
#include "support/random_retriever.hpp"

#include <algorithm>
#include <cstddef>
#include <string>

#include <doctest/doctest.h>

using namespace flashback;
using namespace flashback_test;

TEST_CASE("A model whose size moved between two generations is refused, and nothing is evaluated") {
    NullModel model;
    NoPassages nothing;
    Decoder decoder{model, nothing};
    decoder.generate(Tokens{3, 4, 5}, {.max_tokens = 2});
    model.fail_at = model.evaluations + 1;
    CHECK_THROWS_AS(decoder.generate(Tokens{9}, {.max_tokens = 2}), NullModelError);
    CHECK(decoder.partial().tokens.size() == 1);
    model.truncate(0);
    model.evaluate(Tokens{7, 8});
    const std::size_t evaluations = model.evaluations;
    CHECK(
        error_of(ErrorCode::contract,
                 [&] {
                     decoder.generate(Tokens{3, 4, 5});
                 }) ==
        "the model holds 2 tokens, but this decoder left 1 in it: something else changed it, and its cache cannot be trusted; "
        "truncate it to 0, and the next generation evaluates everything anew");
    CHECK(model.evaluations == evaluations);
    CHECK(decoder.partial().tokens.empty());
}

TEST_CASE("A model whose size moves during a generation is refused before its next evaluation") {
    const auto meddled = [](auto& model, std::size_t stride) {
        FixedRetriever retriever{.passages = {{5, 6}}};
        Decoder decoder{model, retriever, Policies{}.schedule(EveryNTokens{stride})};
        std::size_t tokens = 0;
        const auto meddle = [&](TokenId) {
            if (++tokens == 3) model.truncate(model.size() - 1);
        };
        const std::string sentence = error_of(ErrorCode::contract, [&] {
            decoder.generate(Tokens{3, 4, 5}, {.max_tokens = 9, .ignore_eos = true}, meddle);
        });
        CHECK(sentence.find("something else changed it") != std::string::npos);
        CHECK(decoder.partial().tokens.size() == 3);
        CHECK(model.evaluations == 3);
    };
    for (const std::size_t stride : {1u, 2u, 3u, 100u}) {
        CAPTURE(stride);
        NullModel model;
        meddled(model, stride);
    }
    FullNullModel model;
    meddled(model, 100);
}

TEST_CASE("A model that tells its tokens may be changed before a plan, even during a generation") {
    FullNullModel model;
    FixedRetriever retriever{.passages = {{5, 6}}};
    Decoder decoder{model, retriever, Policies{}.schedule(EveryNTokens{1})};
    const GenerateOptions options{.max_tokens = 9, .ignore_eos = true};
    const Tokens undisturbed = decoder.generate(Tokens{3, 4, 5}, options).tokens;
    CHECK(decoder.generate(Tokens{3, 4, 5}, options, [&](TokenId) { model.truncate(2); }).tokens == undisturbed);
}

TEST_CASE("A model that tells its tokens may be changed between two generations") {
    FullNullModel model;
    NoPassages nothing;
    Decoder decoder{model, nothing};
    const Tokens prompt = random_prompt(9);
    const Tokens tokens = decoder.generate(prompt, {.max_tokens = 5, .ignore_eos = true}).tokens;
    model.truncate(4);
    model.evaluate(Tokens{17, 18});
    const Generation again = decoder.generate(prompt, {.max_tokens = 5, .ignore_eos = true});
    CHECK(again.tokens == tokens);
}
