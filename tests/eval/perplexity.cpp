#include "flashback/eval/perplexity.hpp"

#include "flashback/core/thread_pool.hpp"
#include "flashback/model/session.hpp"
#include "support/errors.hpp"
#include "support/random_model.hpp"
#include "support/thread_ranks.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;
using namespace flashback_test;

namespace {

constexpr std::size_t vocab = 50;

std::shared_ptr<const Transformer> model_with(std::uint64_t seed) {
    return random_model({.layers = 1, .vocab = vocab, .window = 64, .seed = seed, .scale = 2});
}

TokenBuffer random_text(std::size_t count) {
    SplitMix64 random{5};
    TokenBuffer text = random_tokens(random, count, vocab - 2);
    for (TokenId& token : text) token += 2;  // what is masked below does not occur
    return text;
}

/// -ln p of a token after others, written as the definition has it.
double surprise(const Transformer& model, TokenSpan before, TokenId token, TokenSpan masked = {}) {
    Session session{std::shared_ptr<const Transformer>{std::shared_ptr<void>{}, &model}};
    const std::span<const float> logits = session.evaluate(before);
    double total = 0;
    for (std::size_t i = 0; i < logits.size(); ++i) {
        if (std::ranges::find(masked, static_cast<TokenId>(i)) == masked.end())
            total += std::exp(static_cast<double>(logits[i]));
    }
    return std::log(total) - static_cast<double>(logits[static_cast<std::size_t>(token)]);
}

/// What each token of a text costs behind `head` and the tokens of its window that precede it.
struct Scored {
    std::size_t index;
    double nats;
};
std::vector<Scored> direct(const Transformer& model, TokenSpan text, TokenSpan head, std::size_t window, std::size_t stride,
                           TokenSpan masked = {}) {
    std::vector<Scored> scores;
    for (std::size_t i = 0; i < text.size(); ++i) {
        std::size_t begin = 0;  // of the first window that holds the token
        while (i >= begin + window) begin += stride;
        TokenBuffer before{head.begin(), head.end()};
        append(before, text.subspan(begin, i - begin));
        if (!before.empty()) scores.push_back({i, surprise(model, before, text[i], masked)});
    }
    return scores;
}

void check_same(const Perplexity& found, const std::vector<TokenScore>& seen, const std::vector<Scored>& expected) {
    REQUIRE(seen.size() == expected.size());
    CHECK(found.tokens == expected.size());
    double mean = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
        CHECK(seen[i].index == expected[i].index);
        CHECK(seen[i].nats == doctest::Approx(expected[i].nats).epsilon(1e-9));
        mean += expected[i].nats / static_cast<double>(expected.size());
    }
    double squares = 0;
    for (const Scored& score : expected) squares += (score.nats - mean) * (score.nats - mean);
    const auto n = static_cast<double>(expected.size());
    CHECK(found.nats == doctest::Approx(mean).epsilon(1e-9));
    CHECK(found.standard_error == doctest::Approx(std::sqrt(squares / (n - 1)) / std::sqrt(n)).epsilon(1e-9));
    CHECK(found.perplexity() == doctest::Approx(std::exp(mean)).epsilon(1e-9));
}

}  // namespace

TEST_CASE("Every token counts once, in the first window that holds it, whatever the window and the stride") {
    const auto model = model_with(1);
    const TokenBuffer text = random_text(60);
    Session session{model};
    struct Case {
        std::size_t window, stride, windows;
    };
    for (const Case& c : {Case{60, 60, 1}, {20, 20, 3}, {25, 25, 3}, {20, 5, 9}, {16, 15, 4}, {7, 1, 54}, {1, 1, 60}}) {
        CAPTURE(c.window);
        CAPTURE(c.stride);
        std::vector<TokenScore> seen;
        const Perplexity found = perplexity(session, text, {.window = c.window, .stride = c.stride},
                                            [&](const TokenScore& score) { seen.push_back(score); });
        CHECK(found.windows == c.windows);
        check_same(found, seen, direct(*model, text, session.head(), c.window, c.stride));
        CHECK(std::ranges::all_of(seen, [&](const TokenScore& s) { return s.token == text[s.index]; }));
    }
}

TEST_CASE("By default windows are as long as the model holds, and do not overlap") {
    Session session{model_with(1)};
    const TokenBuffer text = random_text(150);
    const Perplexity found = perplexity(session, text);
    CHECK(found.windows == 3);  // 63 behind BOS
    CHECK(found.tokens == 150);
    CHECK(found.nats == perplexity(session, text, {.window = 63, .stride = 63}).nats);
    CHECK(perplexity(session, text, {.window = 64}).tokens == 150);  // the last token is not read
}

TEST_CASE("Without a head the first token of a window has no probability, and a longer head is read in front of each window") {
    const auto model = model_with(1);
    const TokenBuffer text = random_text(41);
    Session session{model};
    for (const TokenBuffer& head : {TokenBuffer{}, TokenBuffer{1, 4, 9}}) {
        CAPTURE(head.size());
        for (const std::size_t stride : {20u, 6u}) {
            CAPTURE(stride);
            std::vector<TokenScore> seen;
            const Perplexity found = perplexity(session, text, {.window = 20, .stride = stride, .head = head},
                                                [&](const TokenScore& score) { seen.push_back(score); });
            check_same(found, seen, direct(*model, text, head, 20, stride));
        }
    }
}

TEST_CASE("The blocks, the pieces, the threads and what was held before change no bit") {
    const auto model = model_with(2);
    const TokenBuffer text = random_text(60);
    Session session{model};
    const Perplexity expected = perplexity(session, text, {.window = 30, .stride = 12});
    for (const std::size_t block : {1u, 7u, 1000u}) {
        const Perplexity found = perplexity(session, text, {.window = 30, .stride = 12, .block = block});
        CHECK(found.nats == expected.nats);
        CHECK(found.standard_error == expected.standard_error);
    }
    ThreadPool pool{3};
    Session other{model, {.piece = 5, .executor = pool}};
    other.evaluate(text);
    CHECK(perplexity(other, text, {.window = 30, .stride = 12, .executor = pool}).nats == expected.nats);
}

TEST_CASE("Ranks take turns with the windows, and all get every token in order") {
    struct Scores {
        Perplexity found;
        std::vector<double> nats;
        ModelComparison compared;
    };
    const auto model = model_with(2);
    const auto other = model_with(9);
    const TokenBuffer text = random_text(60);
    for (const bool head : {true, false}) {
        const auto measure = [&](RanksRef ranks) {
            Session session{model};
            Session beside{other};
            PerplexityOptions how{.window = 15, .stride = 12, .block = 4, .ranks = ranks};
            if (!head) how.head.emplace(TokenSpan{});
            Scores scores;
            scores.found = perplexity(session, text, how, [&](const TokenScore& one) {
                CHECK_MESSAGE(one.token == text[one.index], one.index);
                scores.nats.push_back(one.nats);
            });
            scores.compared = compare_models(session, beside, text, how);
            return scores;
        };
        const Scores expected = measure({});
        CHECK(expected.found.windows == 5);
        for (const std::size_t count : {2u, 3u, 9u}) {
            CAPTURE(count);
            for (const Scores& one : on_ranks(count, measure)) {
                CHECK(one.nats == expected.nats);
                CHECK(one.found.nats == expected.found.nats);
                CHECK(one.found.windows == 5);
                CHECK(one.found.standard_error == expected.found.standard_error);
                CHECK(one.compared.other.nats == expected.compared.other.nats);
                CHECK(one.compared.relative_entropy == expected.compared.relative_entropy);
                CHECK(one.compared.same_likeliest == expected.compared.same_likeliest);
            }
        }
    }
}

TEST_CASE("Masked tokens have no probability, and the others share it") {
    const auto model = model_with(3);
    const TokenBuffer text = random_text(30);
    Session session{model};
    const TokenBuffer masked{1, 0, 1, 49, 77, -1};  // also twice, and ids that the model does not have
    TokenBuffer allowed;
    std::ranges::copy_if(text, std::back_inserter(allowed), [](TokenId token) { return token != 49; });
    std::vector<TokenScore> seen;
    const Perplexity found =
        perplexity(session, allowed, {.masked = masked}, [&](const TokenScore& score) { seen.push_back(score); });
    check_same(found, seen, direct(*model, allowed, session.head(), 63, 63, masked));
    for (const TokenScore& score : seen) CHECK(std::ranges::find(masked, score.likeliest) == masked.end());
    CHECK(found.nats < perplexity(session, allowed).nats);
}

TEST_CASE("The likeliest token is that of the greatest logit") {
    const auto model = model_with(4);
    const TokenBuffer text = random_text(10);
    Session session{model};
    std::vector<TokenId> likeliest;
    perplexity(session, text, {}, [&](const TokenScore& score) { likeliest.push_back(score.likeliest); });
    for (std::size_t i = 0; i < text.size(); ++i) {
        TokenBuffer before{session.model().text_head};
        append(before, TokenSpan{text}.first(i));
        Session fresh{model};
        const auto logits = fresh.evaluate(before);
        CHECK(likeliest[i] == static_cast<TokenId>(std::ranges::max_element(logits) - logits.begin()));
    }
}

TEST_CASE("A single token has a mean and no standard error") {
    Session session{model_with(1)};
    const Perplexity found = perplexity(session, TokenBuffer{7});
    CHECK(found.tokens == 1);
    CHECK(found.nats == doctest::Approx(surprise(session.model(), TokenBuffer{1}, 7)).epsilon(1e-9));
    CHECK(std::isnan(found.standard_error));
}

TEST_CASE("Two models on the same text: their perplexities, the tokens they agree on, and their relative entropy") {
    const auto p = model_with(1);
    const auto q = model_with(9);
    Session first{p};
    Session second{q};
    const TokenBuffer text = random_text(50);
    const PerplexityOptions how{.window = 20, .stride = 10, .block = 3, .masked = TokenSpan{}};
    const ModelComparison found = compare_models(first, second, text, how);
    std::vector<TokenId> says_p;
    std::vector<TokenId> says_q;
    const Perplexity of_p = perplexity(first, text, how, [&](const TokenScore& s) { says_p.push_back(s.likeliest); });
    const Perplexity of_q = perplexity(second, text, how, [&](const TokenScore& s) { says_q.push_back(s.likeliest); });
    CHECK(found.reference.nats == of_p.nats);
    CHECK(found.reference.standard_error == of_p.standard_error);
    CHECK(found.other.nats == of_q.nats);
    CHECK(found.relative_difference() == doctest::Approx(of_q.perplexity() / of_p.perplexity() - 1));
    double same = 0;
    for (std::size_t i = 0; i < says_p.size(); ++i) same += says_p[i] == says_q[i] ? 1 : 0;
    CHECK(found.same_likeliest == same / 50);
    CHECK(found.same_likeliest < 1);

    // The relative entropy of the first prediction, by its definition.
    const ModelComparison one = compare_models(first, second, TokenSpan{text}.first(1), {});
    double expected = 0;
    for (TokenId token = 0; token < static_cast<TokenId>(vocab); ++token) {
        const double a = surprise(*p, TokenBuffer{1}, token);
        expected += std::exp(-a) * (surprise(*q, TokenBuffer{1}, token) - a);
    }
    CHECK(one.relative_entropy == doctest::Approx(expected).epsilon(1e-9));

    Session same_model{p};
    const ModelComparison equal = compare_models(first, same_model, text, how);
    CHECK(equal.relative_difference() == 0);
    CHECK(equal.same_likeliest == 1);
    CHECK(equal.relative_entropy < 1e-12);
}

TEST_CASE("What makes no sense is refused in words") {
    Session session{model_with(1)};
    const TokenBuffer text = random_text(20);
    const auto refused = [&](ErrorCode code, const char* sentence, const PerplexityOptions& how, TokenSpan tokens) {
        check_error(code, sentence, [&] { perplexity(session, tokens, how); });
    };
    refused(ErrorCode::contract, "perplexity needs a text of at least 1 token, found none", {}, {});
    refused(ErrorCode::contract, "perplexity needs blocks of at least 1 token, found 0", {.block = 0}, text);
    refused(ErrorCode::window, "windows of 65 tokens with 1 in front need a model that holds 65 positions, found one of 64",
            {.window = 65}, text);
    refused(ErrorCode::contract, "windows of 5 tokens cannot begin every 6 tokens: those between them would not count",
            {.window = 5, .stride = 6}, text);
    refused(ErrorCode::contract, "token 50 is not in the vocabulary of 50 tokens", {}, TokenBuffer{3, 50});
    refused(ErrorCode::contract, "token 1 of the text is 9, which is masked and has no probability", {.masked = TokenBuffer{9}},
            TokenBuffer{3, 9});
    refused(ErrorCode::contract,
            "without a head nothing stands in front of the first token of a window, and windows of 1 token have no other",
            {.window = 1, .head = TokenSpan{}}, text);

    Session other{random_model({.layers = 1, .vocab = 51})};
    check_error(ErrorCode::vocabulary, "models of 50 and 51 logits cannot be compared: expected the same vocabulary",
                [&] { compare_models(session, other, text); });
}

TEST_CASE("Logits that are no numbers are an error") {
    struct Broken {
        std::vector<float> logits;
        std::size_t held = 0;
        std::span<const float> evaluate(TokenSpan tokens) {
            held += tokens.size();
            return logits;
        }
        std::span<const float> evaluate_all(TokenSpan tokens) { return evaluate(tokens); }
        void truncate(std::size_t n) { held = n; }
        std::size_t size() const { return held; }
        std::size_t vocab_size() const { return 3; }
    };
    const PerplexityOptions how{.block = 1};
    for (const float bad : {std::nanf(""), HUGE_VALF, -HUGE_VALF}) {
        Broken broken{{0, bad, 1}};
        CHECK_THROWS_AS(perplexity(broken, TokenBuffer{1, 1}, how), Error);
    }
    Broken fine{{0, 0, 0}};
    CHECK(perplexity(fine, TokenBuffer{1, 1}, how).perplexity() == doctest::Approx(3));
    Broken few{{0, 0}};
    check_error(ErrorCode::logits, "the model gave 2 logits for 1 tokens, expected 3 for each", [&] {
        perplexity(few, TokenBuffer{1, 1}, how);
    });
}
