// The loop as a state machine: what it needs, in which order, whoever drives it.
#include "flashback/decoder/generator.hpp"

#include "decoder/helpers.hpp"
#include "flashback/decoder/decoder.hpp"
#include "support/null_model.hpp"
#include "support/random_retriever.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <doctest/doctest.h>

namespace test_decoder_generator {

using namespace flashback;
using namespace flashback_test;

namespace {

using Kind = Need::Kind;

const auto policies = Policies{}
                          .schedule(EveryNTokens{5})
                          .wrapper(MarkerTokens{18, 19})
                          .sampler(TruncatedSampling{{.temperature = 1.0f, .top_p = 0.9f, .seed = 3}});
const GenerateOptions options{.max_tokens = 24, .passages = 2, .ignore_eos = true};

ModelFacts facts_of(const FullNullModel& model) { return {.vocab_size = 20, .window = model.window(), .head = model.head()}; }

/// Answers one need; the plainest way of driving a generator.
template <class GeneratorT, class Model>
void answer(GeneratorT& generator, Model& model, RandomRetriever& retriever) {
    const Need need = generator.need();
    switch (need.kind) {
        case Kind::search: generator.found(retriever.retrieve(need.query, need.passages)); break;
        case Kind::truncate:
            model.truncate(need.length);
            generator.truncated(model.size());
            break;
        case Kind::evaluate: {
            const auto logits = model.evaluate(need.tokens);
            generator.evaluated(logits, model.size());
            break;
        }
        default: generator.resume();
    }
}

/// Up to the next need of a kind.
template <class GeneratorT, class Model>
void drive_to(Kind kind, GeneratorT& generator, Model& model, RandomRetriever& retriever) {
    while (generator.need().kind != kind && generator.need().kind != Kind::done) answer(generator, model, retriever);
}

RandomRetriever books() { return RandomRetriever{9, 12, 18, 1}; }

/// The sentence that a handler was told.
struct Heard {
    std::optional<ErrorCode> code;
    std::string sentence;
    void operator()(ErrorCode c, std::string_view s) {
        code = c;
        sentence = s;
    }
};

}  // namespace

TEST_CASE("a generator needs what its documentation says, in that order") {
    FullNullModel model;
    RandomRetriever retriever = books();
    Generator generator{Policies{}.schedule([](const StepView& step) {
        switch (step.generated()) {
            case 1: return Decision::prefetch();
            case 2: return step.retrievals == 0 ? Decision::retrieve(2) : Decision::go_on();
            case 4: return Decision::stop();
            default: return Decision::go_on();
        }
    })};
    CHECK(generator.need().kind == Kind::done);
    const Tokens prompt{7, 8, 9};
    generator.start(prompt, options, facts_of(model));
    std::string needs;
    while (generator.need().kind != Kind::done) {
        needs += std::string{to_string(generator.need().kind)} + ' ';
        answer(generator, model, retriever);
    }
    CHECK(needs ==
          "evaluate token prefetch evaluate token search rewind truncate evaluate token prefetch evaluate token evaluate token "
          "evaluate token ");
    CHECK(to_string(generator.need().stop) == "schedule");
    CHECK(generator.take().tokens.size() == 4);
    CHECK(generator.result().tokens.empty());
}

TEST_CASE("whoever drives it, the tokens, counts and reports are those of a decoder") {
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
        const Tokens prompt = random_prompt(3 + seed, seed);
        RandomRetriever retriever = books();
        FullNullModel one, two;
        const Generation expected = Decoder{one, retriever, policies}.generate(prompt, options);
        Generator generator{policies};
        generator.start(prompt, options, facts_of(two));
        drive_to(Kind::done, generator, two, retriever);
        const Generation run = generator.take();
        CHECK(run.tokens == expected.tokens);
        CHECK(run.stats.counts == expected.stats.counts);
        CHECK(run.retrievals.size() == expected.retrievals.size());
        CHECK(std::ranges::equal(one.tokens(), two.tokens()));
        CHECK(std::ranges::equal(generator.held(), two.tokens()));
    }
}

TEST_CASE("four generators whose evaluations and searches are served in any order write what four decoders write") {
    RandomRetriever retriever = books();
    std::vector<Generation> expected;
    std::deque<FullNullModel> models(4);
    std::deque<Generator<std::remove_const_t<decltype(policies)>>> generators;
    for (std::uint64_t i = 0; i < 4; ++i) {
        FullNullModel model;
        expected.push_back(Decoder{model, retriever, policies}.generate(random_prompt(9 + i, i), options));
        generators.emplace_back(policies).start(random_prompt(9 + i, i), options, facts_of(model));
    }
    SplitMix64 random{5};
    const auto running = [](const auto& generator) { return generator.need().kind != Kind::done; };
    while (std::ranges::any_of(generators, running)) {
        const std::size_t i = random.below(4);
        if (running(generators[i])) answer(generators[i], models[i], retriever);
    }
    for (std::size_t i = 0; i < 4; ++i) CHECK(generators[i].result().tokens == expected[i].tokens);
}

TEST_CASE("a copy goes its own way over a fork of the model, from every need") {
    for (std::size_t steps = 0; steps < 50; ++steps) {
        RandomRetriever retriever = books();
        auto model = std::make_unique<FullNullModel>();
        // It looks at the newest logits, which are the first model's at the time of the copy.
        const auto unsure =
            policies.schedule([](const StepView& step) { return step.retrievals == 0 || step.probability() < 0.1; });
        auto first = std::make_unique<Generator<std::remove_const_t<decltype(unsure)>>>(unsure);
        first->start(random_prompt(9), options, facts_of(*model));
        for (std::size_t i = 0; i < steps; ++i) answer(*first, *model, retriever);
        FullNullModel fork = *model;
        auto copy = *first;
        drive_to(Kind::done, *first, *model, retriever);
        const Generation expected = first->take();
        first.reset();
        model.reset();
        drive_to(Kind::done, copy, fork, retriever);
        CHECK(copy.result().tokens == expected.tokens);
        CHECK(copy.result().stats.counts == expected.stats.counts);
    }
}

TEST_CASE("wrong answers are refused in words") {
    FullNullModel model;
    RandomRetriever retriever = books();
    const auto at = [&](Kind kind) {
        model.truncate(0);
        Generator generator{policies};
        generator.start(random_prompt(9), options, facts_of(model));
        drive_to(kind, generator, model, retriever);
        REQUIRE(generator.need().kind == kind);
        return generator;
    };
    const std::vector<float> logits(20), short_of_one(19);
    CHECK(error_of(ErrorCode::contract, [&] { at(Kind::search).truncated(0); }) ==
          "a generator was given the answer to truncate, but it needs search");
    CHECK(error_of(ErrorCode::contract, [&] { at(Kind::evaluate).found({}); }) ==
          "a generator was given the answer to search, but it needs evaluate");
    CHECK(error_of(ErrorCode::contract, [&] { at(Kind::token).evaluated(logits, 1); }) ==
          "a generator was given the answer to evaluate, but it needs token");
    CHECK(error_of(ErrorCode::contract, [&] { at(Kind::evaluate).resume(); }) ==
          "a generator goes on after a token, a rewind or a hint to prefetch, but it needs evaluate");
    CHECK(error_of(ErrorCode::contract, [&] { Generator{policies}.start(random_prompt(3), options, {}); }) ==
          "a model needs at least 1 logit, found 0");

    auto truncating = at(Kind::truncate);
    const std::size_t length = truncating.need().length;
    CHECK(error_of(ErrorCode::engine, [&] { truncating.truncated(length + 1); }) ==
          "the model holds " + std::to_string(length + 1) + " positions after it was cut to " + std::to_string(length) +
              ": its truncate does not do what it says");
    auto evaluating = at(Kind::evaluate);
    const std::size_t all = evaluating.need().tokens.size();
    const std::string given = std::to_string(all);
    for (const std::size_t wrong : {all - 1, all + 1, std::size_t{0}}) {
        auto fresh = at(Kind::evaluate);
        CHECK(error_of(ErrorCode::engine, [&] { fresh.evaluated(logits, wrong); }) ==
              "the model holds " + std::to_string(wrong) + " positions, expected " + given + ": it held 0 and was given " +
                  given + " more");
    }
    CHECK(error_of(ErrorCode::engine, [&] { evaluating.evaluated(short_of_one, all); }) ==
          "the model gave 19 logits, but its vocab_size() is 20");
    auto none = at(Kind::evaluate);
    CHECK(error_of(ErrorCode::engine, [&] { none.evaluated({}, 0); }) == "the model gave no logits for " + given + " tokens");
}

TEST_CASE("a handler that returns hears each error once, and the generation ends with what it had") {
    FullNullModel model;
    RandomRetriever retriever = books();
    const auto at = [&](Kind kind, Heard& heard) {
        model.truncate(0);
        Generator generator{policies};
        generator.on_error(heard);
        generator.start(random_prompt(9), options, facts_of(model));
        for (std::size_t i = 0; i < 20; ++i) answer(generator, model, retriever);
        drive_to(kind, generator, model, retriever);
        return generator;
    };
    const std::vector<float> logits(20), not_numbers(20, std::numeric_limits<float>::quiet_NaN());
    const auto check_failed = [](const auto& generator, const Heard& heard, ErrorCode code) {
        CHECK(generator.need().kind == Kind::done);
        CHECK(to_string(generator.need().stop) == "failed");
        CHECK(heard.code == code);
        CHECK(!heard.sentence.empty());
        CHECK(!generator.result().tokens.empty());
    };
    {
        Heard heard;
        auto generator = at(Kind::search, heard);
        generator.truncated(0);
        check_failed(generator, heard, ErrorCode::contract);
    }
    {
        Heard heard;
        auto generator = at(Kind::truncate, heard);
        generator.truncated(generator.held().size());
        check_failed(generator, heard, ErrorCode::engine);
    }
    {
        Heard heard;
        auto generator = at(Kind::evaluate, heard);
        generator.evaluated(not_numbers, generator.held().size() + generator.need().tokens.size());
        check_failed(generator, heard, ErrorCode::logits);
        CHECK(heard.sentence == "the logit of token 0 is not a number");
    }
    Heard heard;
    Generator lying{Policies{}.reuse([](TokenSpan held, TokenSpan) { return held.size() + 1; })};
    lying.on_error(heard);
    lying.start(random_prompt(9), options, facts_of(model));
    lying.found({});
    CHECK(lying.need().kind == Kind::done);
    CHECK(heard.sentence == "the reuse policy keeps 1 positions, but only the common prefix of 0 is valid");
    PlanScratch scratch;
    heard = {};
    CHECK(plan_context(Policies{}, {}, {}, scratch, heard).feed.empty());
    CHECK(heard.sentence == "a context needs at least 1 token, but head, passages and context are all empty");
    // It goes on after that.
    model.truncate(0);
    auto again = at(Kind::done, heard);
    CHECK(again.result().tokens.size() == 24);
}

TEST_CASE("a generation that is cancelled at any need leaves a true state") {
    for (std::size_t steps = 0; steps < 40; ++steps) {
        FullNullModel model;
        RandomRetriever retriever = books();
        Generator generator{policies};
        generator.start(random_prompt(9), options, facts_of(model));
        for (std::size_t i = 0; i < steps; ++i) answer(generator, model, retriever);
        const Kind kind = generator.need().kind;
        generator.cancel();
        CHECK(to_string(generator.need().stop) == "cancelled");
        if (kind != Kind::evaluate) CHECK(generator.held().size() <= model.size());
        CHECK(std::ranges::equal(generator.held(), model.tokens().first(generator.held().size())));
        const TokenCounts counts = generator.result().stats.counts;
        CHECK(counts.evaluated + counts.reused == counts.requested);
        // The next generation over the same model is as good as any.
        model.truncate(generator.held().size());
        generator.start(random_prompt(9), options, facts_of(model));
        drive_to(Kind::done, generator, model, retriever);
        FullNullModel other;
        CHECK(generator.result().tokens == Decoder{other, retriever, policies}.generate(random_prompt(9), options).tokens);
    }
}

TEST_CASE("what a generator is given may go when the call returns") {
    FullNullModel model;
    auto tokens = std::make_unique<Tokens>(Tokens{3, 4});
    auto head = std::make_unique<Tokens>(Tokens{1, 2});
    auto masked = std::make_unique<Tokens>(Tokens{5, 6, 7});
    const auto schedule = [](const StepView& step) { return step.retrievals == 0; };
    Generator generator{Policies{}.schedule(schedule)};
    generator.start(*tokens, {.max_tokens = 9, .head = TokenSpan{*head}, .masked = *masked}, {.vocab_size = 20});
    head.reset();
    masked.reset();
    *tokens = {11, 12, 13};
    generator.found(std::array{Passage{.id = std::string(50, 'x'), .tokens = *tokens}});
    tokens.reset();
    CHECK(std::ranges::equal(generator.need().tokens, Tokens{1, 2, 3, 4, 11, 12, 13}));
    RandomRetriever retriever = books();
    drive_to(Kind::done, generator, model, retriever);
    CHECK(generator.result().tokens.size() == 9);
    CHECK(generator.result().retrievals[0].passages[0].id == std::string(50, 'x'));
    for (const TokenId token : generator.result().tokens) CHECK((token < 5 || token > 7));
}

}  // namespace test_decoder_generator
