#include "flashback/decoder/decoder.hpp"

#include "decoder/helpers.hpp"
#include "support/null_model.hpp"
#include "support/random_retriever.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <string>

#include <doctest/doctest.h>

using namespace flashback;
using namespace flashback_test;

TEST_CASE("Logits that are not numbers are an error, not a token") {
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
        NullModel model;
        const bool nan = std::isnan(bad);
        model.change_logits = [&](std::size_t evaluations, std::span<float> logits) {
            if (evaluations == 3) std::ranges::fill(nan ? logits.subspan(11, 1) : logits, bad);
        };
        NoPassages nothing;
        Decoder decoder{model, nothing};
        CHECK(error_of(ErrorCode::logits, [&] { decoder.generate(Tokens{4}, {.max_tokens = 5}); }) ==
              (nan ? "the logit of token 11 is not a number" : "none of the 20 logits is above -infinity"));
        CHECK(decoder.partial().tokens.size() == 2);
        CHECK(model.size() == 3);
        CHECK(decoder.generate(Tokens{4}, {.max_tokens = 5, .ignore_eos = true}).tokens.size() == 5);
    }
}

TEST_CASE("A sampler that makes up a token is refused in words") {
    NullModel model;
    NoPassages nothing;
    const auto made_up = [](std::span<const float>) { return TokenId{20}; };
    Decoder decoder{model, nothing, Policies{}.sampler(made_up)};
    CHECK(error_of(ErrorCode::contract, [&] { decoder.generate(Tokens{4}); }) ==
          "the sampler took token 20, but the model has 20 logits");
    CHECK(decoder.partial().tokens.empty());
}

TEST_CASE("Markers and masked tokens are never generated, and the model's logits stay as they are") {
    FullNullModel model;
    model.change_logits = [](std::size_t, std::span<float> logits) { logits[18] = logits[19] = logits[6] = logits[7] = 50; };
    FixedRetriever retriever{.passages = {{5, 6}}};
    const Tokens masked{6, 7, -1, 1000};
    std::size_t sampled = 0;
    const auto sampler = [&](std::span<const float> logits) {
        ++sampled;
        for (const std::size_t id : {18u, 19u, 6u, 7u}) CHECK(logits[id] == -std::numeric_limits<float>::infinity());
        for (std::size_t id = 0; id < 20; ++id) CHECK(std::isinf(logits[id]) == (id == 18 || id == 19 || id == 6 || id == 7));
        return Greedy{}(logits);
    };
    Decoder decoder{model, retriever, Policies{}.wrapper(MarkerTokens{18, 19}).sampler(sampler)};
    const Generation generation = decoder.generate(Tokens{4}, {.max_tokens = 40, .ignore_eos = true, .masked = masked});
    CHECK(sampled == 40);
    for (const TokenId token : generation.tokens) CHECK((token != 18 && token != 19 && token != 6 && token != 7));

    Decoder unmasked{model, retriever};
    CHECK(unmasked.generate(Tokens{4}, {.max_tokens = 1}).tokens == Tokens{6});
}

TEST_CASE("A sampler that takes a masked token, one that is no number or one that is none is refused in words") {
    const auto refused = [](TokenId wanted, float logit, ErrorCode code = ErrorCode::contract) {
        FullNullModel model;
        model.change_logits = [&](std::size_t, std::span<float> logits) {
            if (wanted >= 0) logits[static_cast<std::size_t>(wanted)] = logit;
        };
        NoPassages nothing;
        const Tokens masked{6};
        Decoder decoder{model, nothing,
                        Policies{}.wrapper(MarkerTokens{18, 19}).sampler([&](std::span<const float>) { return wanted; })};
        const std::string sentence =
            error_of(code, [&] { decoder.generate(Tokens{4}, {.ignore_eos = true, .masked = masked}); });
        CHECK(decoder.partial().tokens.empty());
        CHECK(model.size() == 2);
        return sentence;
    };
    for (const TokenId token : {18, 19, 6}) {
        CHECK(refused(token, 1) == "the sampler took token " + std::to_string(token) + ", which is masked: its logit is -inf");
    }
    CHECK(refused(3, -std::numeric_limits<float>::infinity()) ==
          "the sampler took token 3, which is masked: its logit is -inf");
    // These are found before the sampler is asked.
    CHECK(refused(3, std::numeric_limits<float>::quiet_NaN(), ErrorCode::logits) == "the logit of token 3 is not a number");
    CHECK(refused(3, std::numeric_limits<float>::infinity(), ErrorCode::logits) == "the logit of token 3 is +infinity");
    CHECK(refused(-1, 0) == "the sampler took token -1, but the model has 20 logits");
}

TEST_CASE("A sampler that asks for the step sees the text in front of its token, after a retrieval as well") {
    FullNullModel model;
    RandomRetriever retriever{9, 12, 20, 1};
    Tokens taken;
    const auto sampler = [&](std::span<const float> logits, const StepView& step) {
        CHECK(step.generated() == taken.size());
        CHECK(step.prompt_tokens == 1);
        CHECK(std::ranges::equal(step.context.subspan(1), taken));
        CHECK(step.retrievals == 1 + taken.size() / 4);
        CHECK(step.since_retrieval == taken.size() % 4);
        CHECK(logits.size() == 20);
        taken.push_back(static_cast<TokenId>((5 * taken.size() + 3) % 17));
        return taken.back();
    };
    Decoder decoder{model, retriever, Policies{}.schedule(EveryNTokens{4}).sampler(sampler)};
    CHECK(decoder.generate(Tokens{4}, {.max_tokens = 11, .ignore_eos = true}).tokens == taken);
}

TEST_CASE("A repetition penalty looks at the prompt and at what was generated") {
    FullNullModel model;
    model.change_logits = [](std::size_t, std::span<float> logits) {
        for (std::size_t i = 0; i < logits.size(); ++i) logits[i] = 100.0f - static_cast<float>(i);
    };
    NoPassages nothing;
    Decoder decoder{model, nothing, Policies{}.sampler(RepetitionPenalty{{.penalty = 10, .window = 100}})};
    const Generation generation = decoder.generate(Tokens{0, 3}, {.max_tokens = 5, .ignore_eos = true});
    CHECK(generation.tokens == Tokens{1, 2, 4, 5, 6});
}
