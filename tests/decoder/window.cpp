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

TEST_CASE("Without retrieval the window is full when its last position was read") {
    for (std::size_t prompt = 1; prompt <= 9; ++prompt) {
        FullNullModel model{20, 10};
        NoPassages nothing;
        Decoder decoder{model, nothing, Policies{}.schedule(Never{})};
        const Generation generation = decoder.generate(random_prompt(prompt), {.max_tokens = 100, .ignore_eos = true});
        CHECK(to_string(generation.stop) == "window_full");
        CHECK(generation.tokens.size() == 10 - prompt);
        CHECK(model.size() == 10);

        model.truncate(0);
        const Generation exact = decoder.generate(random_prompt(prompt), {.max_tokens = 10 - prompt, .ignore_eos = true});
        CHECK(to_string(exact.stop) == "max_tokens");
    }
}

TEST_CASE("With retrieval the window is full when a plan does not fit, and that retrieval is not reported") {
    for (std::size_t window = 9; window <= 40; ++window) {
        CAPTURE(window);
        FullNullModel model{20, window};
        FixedRetriever retriever{.passages = {{5, 6, 7, 8, 9}}};
        Decoder decoder{model, retriever, Policies{}.schedule(EveryNTokens{3})};
        const Generation generation = decoder.generate(Tokens{3, 4}, {.max_tokens = 1000, .ignore_eos = true});
        CHECK(to_string(generation.stop) == "window_full");
        // Token n is drawn with 1 + 2 + n context tokens and the passage, which may be as old as the plan at n - n % 3.
        std::size_t tokens = 0;
        while (1 + 2 + tokens + 5 <= window) ++tokens;
        CHECK(generation.tokens.size() == tokens);
        CHECK(generation.stats.retrievals == (tokens + 2) / 3);
        CHECK(generation.retrievals.size() == generation.stats.retrievals);
        CHECK(generation.stats.counts.evaluated == model.evaluated);
        CHECK(model.size() == window);
    }
}

TEST_CASE("A first context that does not fit is an error that leaves the model as it was") {
    FullNullModel model{20, 10};
    FixedRetriever retriever{.passages = {{5, 6, 7, 8, 9}}};
    Decoder decoder{model, retriever};
    decoder.generate(Tokens{3, 4}, {.max_tokens = 2, .ignore_eos = true});
    const Tokens before{model.tokens().begin(), model.tokens().end()};
    const std::size_t evaluations = model.evaluations;
    const std::string sentence = error_of(ErrorCode::window, [&] { decoder.generate(Tokens{3, 4, 5, 6, 7}); });
    CHECK(sentence ==
          "the window of the model holds 10 tokens, but the first context needs 11: 1 of the head, 5 of the prompt and 5 of "
          "retrieved passages");
    CHECK(std::ranges::equal(model.tokens(), before));
    CHECK(model.evaluations == evaluations);
    CHECK(decoder.partial().tokens.empty());
    CHECK(decoder.generate(Tokens{3, 4, 5, 6}, {.max_tokens = 1, .ignore_eos = true}).tokens.size() == 1);
}
