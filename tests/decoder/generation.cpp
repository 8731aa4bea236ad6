#include "flashback/decoder/decoder.hpp"

#include "decoder/helpers.hpp"
#include "decoder/simulator.hpp"
#include "support/null_model.hpp"
#include "support/random_retriever.hpp"

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;
using namespace flashback_test;

TEST_CASE("A head given in the options takes the place of the model's") {
    FullNullModel model;
    NoPassages nothing;
    Decoder decoder{model, nothing};
    const Tokens head{7, 8, 9};
    decoder.generate(Tokens{4, 5}, {.max_tokens = 1, .head = TokenSpan{head}});
    CHECK(std::ranges::equal(model.tokens(), Tokens{7, 8, 9, 4, 5}));
    decoder.generate(Tokens{4, 5}, {.max_tokens = 1, .head = TokenSpan{}});
    CHECK(std::ranges::equal(model.tokens(), Tokens{4, 5}));
}

TEST_CASE("Options that are kept outlive the tokens that they were made of") {
    Tokens tokens{7, 8, 9};
    const GenerateOptions options{.max_tokens = 1, .head = tokens, .masked = TokenSpan{tokens}.first(1)};
    const GenerateOptions of_temporaries{.max_tokens = 1, .head = Tokens{7, 8, 9}, .masked = Tokens{7}};
    tokens.assign({1, 2, 3});
    for (const GenerateOptions& how : {options, of_temporaries}) {
        CHECK(std::ranges::equal(how.head->view(), Tokens{7, 8, 9}));
        CHECK(std::ranges::equal(how.masked.view(), Tokens{7}));
        FullNullModel model;
        NoPassages nothing;
        Decoder decoder{model, nothing};
        decoder.generate(Tokens{4, 5}, how);
        CHECK(std::ranges::equal(model.tokens(), Tokens{7, 8, 9, 4, 5}));
    }
}

TEST_CASE("What was found is reported with its score and its texts") {
    FullNullModel model;
    FixedRetriever retriever{.passages = {{5, 6, 7}, {8}}};
    Decoder decoder{model, retriever};
    const Generation generation = decoder.generate(Tokens{4}, {.max_tokens = 1, .passages = 5});
    REQUIRE(generation.retrievals.size() == 1);
    REQUIRE(generation.retrievals[0].passages.size() == 2);
    const RetrievedPassage& passage = generation.retrievals[0].passages[0];
    CHECK(passage.id == "id");
    CHECK(passage.title == "title");
    CHECK(passage.text == "text");
    CHECK(passage.score == 0.5f);
    CHECK(passage.tokens == 3);
    CHECK(std::ranges::equal(model.tokens(), Tokens{1, 4, 5, 6, 7, 8}));
}

TEST_CASE("Times are those of the parts") {
    FullNullModel model;
    RandomRetriever retriever{9, 12, 20, 1};
    const Generation generation = generate(model, retriever, random_prompt(10), {.stride = 4});
    const Seconds& seconds = generation.stats.seconds;
    CHECK(seconds.retrieve > 0);
    CHECK(seconds.prefill > 0);
    CHECK(seconds.decode > 0);
    CHECK(seconds.total >= seconds.retrieve + seconds.prefill + seconds.decode);
    double retrievals = 0;
    for (const Retrieval& retrieval : generation.retrievals) retrievals += retrieval.seconds;
    CHECK(retrievals == doctest::Approx(seconds.retrieve + seconds.prefill));
}

TEST_CASE("No tokens asked for: nothing is retrieved and nothing evaluated") {
    FullNullModel model;
    FixedRetriever retriever{.passages = {{5}}};
    const Generation generation = Decoder{model, retriever}.generate(Tokens{4}, {.max_tokens = 0});
    CHECK(to_string(generation.stop) == "max_tokens");
    CHECK(generation.tokens.empty());
    CHECK(generation.stats.counts == TokenCounts{});
    CHECK(retriever.calls == 0);
    CHECK(model.evaluations == 0);
}

TEST_CASE("The end of the text stops the generation and is not a token of it") {
    FullNullModel model;
    model.change_logits = [](std::size_t evaluations, std::span<float> logits) {
        logits[2] = evaluations == 4 ? 100.0f : -100.0f;
    };
    NoPassages nothing;
    Decoder decoder{model, nothing};
    const Generation generation = decoder.generate(Tokens{4}, {.max_tokens = 10});
    CHECK(to_string(generation.stop) == "eos");
    CHECK(generation.tokens.size() == 3);

    model.truncate(0);
    model.evaluations = 0;
    const Generation on = decoder.generate(Tokens{4}, {.max_tokens = 10, .ignore_eos = true});
    CHECK(to_string(on.stop) == "max_tokens");
    REQUIRE(on.tokens.size() == 10);
    CHECK(on.tokens[3] == 2);
}

TEST_CASE("A callback that says false cancels after its token, one that says nothing does not") {
    FullNullModel model;
    NoPassages nothing;
    Decoder decoder{model, nothing};
    Tokens seen;
    const Generation cancelled = decoder.generate(Tokens{4}, {.max_tokens = 10, .ignore_eos = true}, [&](TokenId token) {
        seen.push_back(token);
        return seen.size() < 4;
    });
    CHECK(to_string(cancelled.stop) == "cancelled");
    CHECK(cancelled.tokens.size() == 4);
    CHECK(seen == cancelled.tokens);
    CHECK(model.size() == 5);

    seen.clear();
    const Generation whole =
        decoder.generate(Tokens{4}, {.max_tokens = 10, .ignore_eos = true}, [&](TokenId token) { seen.push_back(token); });
    CHECK(to_string(whole.stop) == "max_tokens");
    CHECK(seen == whole.tokens);
    CHECK(whole.tokens.size() == 10);
}

TEST_CASE("A seeded sampler gives the same tokens twice, and another seed gives others") {
    FullNullModel model;
    RandomRetriever retriever{9, 12, 20, 1};
    const auto decoder = [&](std::uint64_t seed) {
        return Decoder{model, retriever,
                       Policies{}.sampler(TruncatedSampling{{.temperature = 1, .top_p = 0.95f, .seed = seed}})};
    };
    const Tokens prompt = random_prompt(9);
    auto one = decoder(1);
    const Tokens first = one.generate(prompt, {.max_tokens = 50, .ignore_eos = true}).tokens;
    CHECK(one.generate(prompt, {.max_tokens = 50, .ignore_eos = true}).tokens == first);
    CHECK(decoder(1).generate(prompt, {.max_tokens = 50, .ignore_eos = true}).tokens == first);
    CHECK(decoder(2).generate(prompt, {.max_tokens = 50, .ignore_eos = true}).tokens != first);
}

TEST_CASE("Policies are asked before every token and start anew with every generation") {
    struct Schedule {
        std::vector<std::size_t>* asked;
        std::size_t* resets;
        bool operator()(const StepView& step) {
            asked->push_back(step.generated());
            CHECK(step.prompt_tokens == 2);
            return step.generated() == 3;
        }
        void reset() { ++*resets; }
    };
    std::vector<std::size_t> asked;
    std::size_t resets = 0;
    FullNullModel model;
    FixedRetriever retriever{.passages = {{5}}};
    Decoder decoder{model, retriever, Policies{}.schedule(Schedule{&asked, &resets})};
    const Generation generation = decoder.generate(Tokens{3, 4}, {.max_tokens = 5, .ignore_eos = true});
    CHECK(asked == std::vector<std::size_t>{0, 1, 2, 3, 4});
    CHECK(generation.stats.retrievals == 1);
    CHECK(generation.retrievals[0].at == 3);
    decoder.generate(Tokens{3, 4}, {.max_tokens = 1});
    CHECK(resets == 2);
}
