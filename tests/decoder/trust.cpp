// Nothing that comes back is trusted: sizes, tokens, numbers of logits, and what a sampler takes.
#include "decoder/helpers.hpp"
#include "flashback/core/any_retriever.hpp"
#include "flashback/decoder/decoder.hpp"
#include "support/null_model.hpp"
#include "support/random_retriever.hpp"

#include <algorithm>
#include <cstddef>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include <doctest/doctest.h>

namespace test_decoder_trust {

using namespace flashback;
using namespace flashback_test;

namespace {

const GenerateOptions ten{.max_tokens = 10, .ignore_eos = true};

/// A runtime whose truncate keeps one position too many, or the wrong ones.
template <class Base>
struct CutsWrongly : Base {
    bool wrong_length = false;
    bool wrong_tokens = false;
    void truncate(std::size_t n) {
        if (wrong_length) {
            Base::truncate(n + 1);
        } else if (wrong_tokens && n > 0) {
            Base::truncate(n - 1);
            Base::evaluate(Tokens{17});
        } else {
            Base::truncate(n);
        }
    }
};

/// A runtime that loses a token of each evaluation, or evaluates one twice.
struct EvaluatesWrongly : NullModel {
    int off = 0;
    std::span<const float> evaluate(TokenSpan tokens) {
        Tokens changed(tokens.begin(), tokens.end());
        if (off > 0) changed.push_back(3);
        if (off < 0 && changed.size() > 1) changed.pop_back();
        return NullModel::evaluate(changed);
    }
};

struct SaysAnotherVocabulary : NullModel {
    std::size_t vocab_size() const { return 21; }
};

template <class Model>
std::string refusal(Model& model, ErrorCode code) {
    FixedRetriever retriever{.passages = {{5, 6, 7}}};
    Decoder decoder{model, retriever, Policies{}.schedule(EveryNTokens{4})};
    const std::string sentence = error_of(code, [&] { decoder.generate(Tokens{8, 9}, ten); });
    const TokenCounts counts = decoder.partial().stats.counts;
    CHECK(counts.evaluated + counts.reused == counts.requested);
    return sentence;
}

}  // namespace

TEST_CASE("a model that is not cut to what it was told, or keeps other tokens, is refused") {
    CutsWrongly<NullModel> length;
    length.wrong_length = true;
    CHECK(refusal(length, ErrorCode::engine) ==
          "the model holds 3 positions after it was cut to 2: its truncate does not do what it says");
    CutsWrongly<FullNullModel> tokens;
    tokens.wrong_tokens = true;
    CHECK(refusal(tokens, ErrorCode::engine) ==
          "the tokens of the model are not those that it held at its first 3 positions before it was cut to them");
}

TEST_CASE("a model that does not hold what it was given is refused") {
    EvaluatesWrongly more;
    more.off = 1;
    CHECK(refusal(more, ErrorCode::engine) == "the model holds 6 positions, expected 5: it held 0 and was given 5 more");
    EvaluatesWrongly less;
    less.off = -1;
    CHECK(refusal(less, ErrorCode::engine) == "the model holds 4 positions, expected 5: it held 0 and was given 5 more");
}

TEST_CASE("a model whose logits are not as many as its vocabulary is refused") {
    SaysAnotherVocabulary model;
    CHECK(refusal(model, ErrorCode::engine) == "the model gave 20 logits, but its vocab_size() is 21");
}

TEST_CASE("NaN and +infinity are errors in words, whoever samples, unless they are masked") {
    const auto first = [](std::span<const float>) { return TokenId{0}; };
    const auto with = [](float bad, auto sampler, TokenSpan masked) {
        NullModel model;
        model.change_logits = [&](std::size_t, std::span<float> logits) { logits[7] = bad; };
        NoPassages nothing;
        Decoder decoder{model, nothing, Policies{}.sampler(sampler)};
        return error_of(ErrorCode::logits, [&] { decoder.generate(Tokens{3}, {.max_tokens = 2, .masked = masked}); });
    };
    const Tokens seven{7};
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
        const std::string sentence = bad > 0 ? "the logit of token 7 is +infinity" : "the logit of token 7 is not a number";
        CHECK(with(bad, Greedy{}, {}) == sentence);
        CHECK(with(bad, TruncatedSampling{}, {}) == sentence);
        CHECK(with(bad, RepetitionPenalty<Greedy>{}, {}) == sentence);
        CHECK(with(bad, first, {}) == sentence);
        CHECK(with(bad, first, seven) == "no error");
        CHECK(with(bad, Greedy{}, seven) == "no error");
    }
}

TEST_CASE("a model without tokens() that was emptied is taken as empty, and the same decoder goes on") {
    NullModel model;
    RandomRetriever retriever{9, 12, 20, 1};
    Decoder decoder{model, retriever, Policies{}.schedule(EveryNTokens{4})};
    const Generation first = decoder.generate(random_prompt(9), ten);
    model.truncate(3);
    const std::string sentence = error_of(ErrorCode::contract, [&] { decoder.generate(random_prompt(9), ten); });
    CHECK(sentence.find("something else changed it") != std::string::npos);
    CHECK(sentence.find("truncate it to 0, and the next generation evaluates everything anew") != std::string::npos);
    model.truncate(0);
    const Generation again = decoder.generate(random_prompt(9), ten);
    CHECK(again.tokens == first.tokens);
    CHECK(again.stats.counts == first.stats.counts);
}

TEST_CASE("work that nobody asked for enters the statistics") {
    /// Evaluates three tokens more with each call, say to warm something up.
    struct Busy : NullModel {
        std::size_t work() const { return evaluated + 3 * evaluations + 100; }
    };
    struct Reader {
        std::size_t tokens = 1000;
        std::size_t work() const { return tokens; }
        std::span<const Passage> retrieve(const Query& query, std::size_t) {
            tokens += query.tokens.size();
            return {};
        }
    };
    Busy model;
    Reader reader;
    Decoder decoder{model, reader, Policies{}.schedule(EveryNTokens{5}).query(LastNTokens{2})};
    for (int i = 0; i < 2; ++i) {
        const Generation run = decoder.generate(Tokens{7, 8, 9}, ten);
        CHECK(run.stats.model_work == 30);
        CHECK(run.stats.retriever_work == 4);
        model.fail_at = model.evaluations + 4;
        CHECK_THROWS_AS(decoder.generate(Tokens{7, 8, 9}, ten), NullModelError);
        CHECK(decoder.partial().stats.model_work == 12);
        CHECK(decoder.partial().stats.retriever_work == 2);
        model.fail_at = NullModel::never;
    }
    NullModel plain;
    NoPassages nothing;
    CHECK(Decoder{plain, nothing}.generate(Tokens{7}, ten).stats.model_work == 0);
}

TEST_CASE("a retriever that can begin early is told when, and what it reads is the whole text") {
    struct Early {
        std::vector<std::string> log = {};
        void prefetch(const Query& query, std::size_t k) {
            log.push_back("prefetch " + std::to_string(query.tokens.size()) + " " + std::to_string(k));
        }
        bool ready() const { return true; }
        std::span<const Passage> retrieve(const Query& query, std::size_t k) {
            log.push_back("retrieve " + std::to_string(query.tokens.size()) + " " + std::to_string(k) + " of " +
                          std::to_string(query.context.size()));
            return {};
        }
    };
    const auto schedule = [](const StepView& step) {
        if (step.since_retrieval == 3) return Decision::prefetch();
        return step.since_retrieval == 4 ? Decision::retrieve() : Decision::go_on();
    };
    const auto run = [&](auto& retriever) {
        FullNullModel model;
        Decoder decoder{model, retriever, Policies{}.schedule(schedule).query(LastNTokens{2})};
        return decoder.generate(Tokens{7, 8, 9}, {.max_tokens = 6, .passages = 5, .ignore_eos = true}).tokens;
    };
    Early early;
    NoPassages late;
    CHECK(run(early) == run(late));
    CHECK(early.log == std::vector<std::string>{"prefetch 2 5", "retrieve 2 5 of 7"});
    AnyRetriever any{std::ref(early)};
    CHECK(run(any) == run(late));
    CHECK(early.log.size() == 4);
    CHECK(any.ready());
}

TEST_CASE("passages may go when the next ones are searched for, and an answer may own its list") {
    /// Its texts live until the next call only.
    struct Forgetful {
        std::vector<std::vector<Tokens>> answers = {};
        std::vector<Passage> retrieve(const Query& query, std::size_t k) {
            answers.clear();
            answers.emplace_back();
            std::vector<Passage> found;
            for (std::size_t i = 0; i < k; ++i)
                answers[0].push_back(Tokens(3, static_cast<TokenId>((query.tokens.size() + i) % 18)));
            for (const Tokens& tokens : answers[0]) found.push_back({.id = "x", .tokens = tokens});
            return found;
        }
    };
    FullNullModel model;
    Forgetful retriever;
    Decoder decoder{model, retriever, Policies{}.schedule(EveryNTokens{3}).layout(Sticky{}).overflow(DropOldest{})};
    const Generation run = decoder.generate(Tokens{7, 8, 9}, {.max_tokens = 20, .passages = 2, .ignore_eos = true});
    CHECK(run.tokens.size() == 20);
    CHECK(run.retrievals.size() == 7);
}

}  // namespace test_decoder_trust
