#include "flashback/decoder/decoder.hpp"

#include "decoder/helpers.hpp"
#include "support/null_model.hpp"
#include "support/random_retriever.hpp"

#include <algorithm>
#include <cstddef>
#include <stdexcept>
#include <string>

#include <doctest/doctest.h>

using namespace flashback;
using namespace flashback_test;

TEST_CASE_TEMPLATE("A model that fails at any call leaves a true state, the tokens so far, and a decoder that works", Model,
                   NullModel, FullNullModel) {
    for (const bool prepend : {false, true}) {
        const Tokens prompt = random_prompt(12);
        RandomRetriever retriever{9, 12, 20, 1};
        const auto run = [&](auto policies) {
            const GenerateOptions options{.max_tokens = 24, .passages = 2, .ignore_eos = true};
            Model undisturbed;
            const Generation whole = Decoder{undisturbed, retriever, policies}.generate(prompt, options);
            REQUIRE(undisturbed.evaluations == 24);
            for (std::size_t n = 0; n < 24; ++n) {
                CAPTURE(n);
                Model model;
                model.fail_at = n;
                Decoder decoder{model, retriever, policies};
                CHECK_THROWS_AS(decoder.generate(prompt, options), NullModelError);
                CHECK(decoder.partial().tokens ==
                      Tokens(whole.tokens.begin(), whole.tokens.begin() + static_cast<std::ptrdiff_t>(n)));
                CHECK(decoder.partial().stats.counts.evaluated == model.evaluated);
                CHECK(decoder.partial().retrievals.size() == (n + 4) / 5);
                CHECK(decoder.partial().stats.retrievals == (n + 4) / 5);

                const Generation again = decoder.generate(prompt, options);
                CHECK(again.tokens == whole.tokens);
                CHECK(again.stats.counts.requested == whole.stats.counts.requested);
                CHECK(again.stats.counts.reused >= whole.stats.counts.reused);
                CHECK(std::ranges::equal(model.secret_tokens(), undisturbed.secret_tokens()));
            }
        };
        const auto policies = Policies{}.schedule(EveryNTokens{5});
        if (prepend) {
            run(policies.layout(PrependPassages{}));
        } else {
            run(policies);
        }
    }
}

TEST_CASE("A retriever that fails leaves a true state, the tokens so far, and a decoder that works") {
    const Tokens prompt = random_prompt(12);
    const GenerateOptions options{.max_tokens = 24, .ignore_eos = true};
    for (std::size_t n = 0; n < 5; ++n) {
        NullModel model;
        FixedRetriever retriever{.passages = {{5, 6, 7}}};
        Decoder decoder{model, retriever, Policies{}.schedule(EveryNTokens{5})};
        const Tokens whole = decoder.generate(prompt, options).tokens;
        model.evaluated = 0;
        retriever.calls = 0;
        retriever.fail_at = n;
        CHECK_THROWS_WITH(decoder.generate(prompt, options), "the index is gone");
        CHECK(decoder.partial().tokens == Tokens(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(5 * n)));
        CHECK(decoder.partial().stats.counts.evaluated == model.evaluated);
        CHECK(decoder.generate(prompt, options).tokens == whole);
    }
}

TEST_CASE("A callback that throws leaves its token in the result so far") {
    FullNullModel model;
    NoPassages nothing;
    Decoder decoder{model, nothing};
    const Tokens whole = decoder.generate(Tokens{4}, {.max_tokens = 6, .ignore_eos = true}).tokens;
    std::size_t calls = 0;
    CHECK_THROWS_WITH(decoder.generate(Tokens{4}, {.max_tokens = 6, .ignore_eos = true},
                                       [&](TokenId) {
                                           if (++calls == 3) throw std::runtime_error("enough");
                                       }),
                      "enough");
    CHECK(decoder.partial().tokens == Tokens(whole.begin(), whole.begin() + 3));
    CHECK(model.size() == 4);
    CHECK(decoder.generate(Tokens{4}, {.max_tokens = 6, .ignore_eos = true}).tokens == whole);
    CHECK(decoder.partial().tokens.empty());
}

TEST_CASE("The result so far can be the prompt of the next generation") {
    FullNullModel model;
    NoPassages nothing;
    Decoder decoder{model, nothing};
    model.fail_at = 5;
    CHECK_THROWS_AS(decoder.generate(Tokens{4}, {.max_tokens = 10, .ignore_eos = true}), NullModelError);
    const Tokens so_far = decoder.partial().tokens;
    REQUIRE(so_far.size() == 5);
    decoder.generate(decoder.partial().tokens, {.max_tokens = 1, .ignore_eos = true});
    CHECK(std::ranges::equal(model.tokens().subspan(1), so_far));
}

TEST_CASE("A prompt and a head that are both empty are refused in words") {
    NullModel model;
    NoPassages nothing;
    Decoder decoder{model, nothing};
    CHECK(error_of(ErrorCode::contract, [&] { decoder.generate({}); }) ==
          "a context needs at least 1 token, but head, passages and context are all empty");
    CHECK(model.size() == 0);
}
