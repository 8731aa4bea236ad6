// ETC worked by hand: second differences of entropy, smoothed, and what is taken back.
#include "flashback/policy/entropy_trend.hpp"

#include "flashback/policy/policies.hpp"
#include "policy/scripted_text.hpp"
#include "support/errors.hpp"

#include <cmath>
#include <cstddef>
#include <vector>

#include <doctest/doctest.h>

namespace test_policy_entropy_trend {

using namespace flashback;
using namespace flashback_test;

namespace {

using Tokens = std::vector<TokenId>;
const Decision go = Decision::go_on();

/// Takes a token from `among` equal logits: entropy ln among. All tokens in front of it are read as much as their place says.
template <class Method>
Decision type(ScriptedText& text, Method& method, TokenId token, std::size_t among) {
    std::vector<float> read(text.step().context.size());
    for (std::size_t i = 0; i < read.size(); ++i) read[i] = 0.1f * static_cast<float>(i + 1);
    text.set_attention(1, read);
    text.choose_among(among);
    return text.take(method, token);
}

// In units of ln 2 the entropies 0 1 3 0 1 2 have the second differences D = 1 -5 4 0 from the third on, the running means E = 1 -2 0 0,
// the weights w = 1, 3 / (3 + 3), 5 / (4 + 5), 4 / (0 + 4), and so M = 1, -5/2 + 1/2 = -2, 20/9 - 20/9 = 0, 0.
const std::vector<std::size_t> among{1, 2, 8, 1, 2, 4};
const double ln2 = std::log(2.0);

}  // namespace

TEST_CASE("ETC: smoothed second differences") {
    detail::EntropySeries series;
    series.reset();
    const std::vector<double> expected{0, 0, 1, -2, 0, 0};
    for (std::size_t i = 0; i < among.size(); ++i) {
        series.add(i + 1, std::log(static_cast<double>(among[i])));
        CAPTURE(i);
        CHECK(std::fabs(series.smoothed() - expected[i] * ln2) < 1e-12);
    }
    // As much is known as before what is taken back.
    series.keep(3);
    CHECK(series.smoothed() == doctest::Approx(ln2));
    series.add(4, 0.0);
    CHECK(series.smoothed() == doctest::Approx(-2 * ln2));
    // A series that begins anew knows nothing of the one before, until its begin is taken back.
    series.keep(3);
    series.begin_anew(3);
    for (std::size_t i = 0; i < 3; ++i) series.add(4 + i, std::log(static_cast<double>(among[i])));
    CHECK(series.smoothed() == doctest::Approx(ln2));
    series.keep(2);
    series.add(3, 3 * ln2);
    CHECK(series.smoothed() == doctest::Approx(ln2));
    // Three equal differences of 0: no distance at all.
    series.reset();
    for (std::size_t i = 1; i < 6; ++i) series.add(i, 1.0);
    CHECK(series.smoothed() == 0);
}

TEST_CASE("ETC: a turn of alpha or more takes its word back, and a new series begins") {
    Etc etc{EveryToken{}, {.alpha = 1.99 * ln2, .query_words = 2}};
    ScriptedText text;
    etc.reset();
    CHECK(etc.schedule(text.step()) == go);
    for (std::size_t i = 0; i < 3; ++i) CHECK(type(text, etc, 4, among[i]) == go);
    CHECK(text.layers_asked.empty());  // attention is for the query alone
    CHECK(type(text, etc, 5, 1) == Decision::retrieve(1));
    CHECK(text.layers_asked == std::vector<std::size_t>{1});
    CHECK(text.query(etc, 1) == Tokens{4, 4});
    text.take_back(etc, 1);
    // Whatever the entropies, two words stand before the next turn.
    CHECK(type(text, etc, 6, 1) == go);
    CHECK(type(text, etc, 7, 1000) == go);
    CHECK(type(text, etc, 8, 1) == Decision::retrieve(1));
    CHECK(text.query(etc, 1) == Tokens{6, 7});
}

TEST_CASE("ETC: nothing happens below alpha, and a place that another schedule kept goes on in its series") {
    Etc etc{EveryToken{}, {.alpha = 2.01 * ln2}};
    ScriptedText text;
    etc.reset();
    etc.schedule(text.step());
    for (const std::size_t count : among) CHECK(type(text, etc, 4, count) == go);
    CHECK(text.query(etc, 0).size() == 9);  // of someone else's retrieval: the newest tokens
    Etc overruled{EveryToken{}, {.alpha = 0.9 * ln2}};
    ScriptedText other;
    overruled.reset();
    overruled.schedule(other.step());
    CHECK(type(other, overruled, 4, 1) == go);
    CHECK(type(other, overruled, 4, 2) == go);
    CHECK(type(other, overruled, 4, 8) == Decision::retrieve(1));
    CHECK(type(other, overruled, 4, 1) == Decision::retrieve(1));
    CHECK(type(other, overruled, 4, 2) == go);
}

TEST_CASE("ETC: what others take back leaves no trace") {
    Etc etc{EveryToken{}, {.alpha = 1.99 * ln2}};
    ScriptedText text;
    etc.reset();
    etc.schedule(text.step());
    for (std::size_t i = 0; i < 2; ++i) type(text, etc, 4, among[i]);
    type(text, etc, 4, 1);
    type(text, etc, 4, 1);
    text.take_back(etc, 2);
    CHECK(type(text, etc, 4, among[2]) == go);
    const auto copy = etc;
    CHECK(type(text, etc, 4, among[3]) == Decision::retrieve(1));
    etc = copy;
    CHECK(etc.schedule(text.step()) == Decision::retrieve(1));
    etc.reset();
    CHECK(etc.schedule(text.step()) == go);
}

TEST_CASE("ETC: words that do not count have no part in the series, nor tokens that go on with a word") {
    struct Some {
        bool operator()(TokenId token) const { return token != 7; }
        bool continues(TokenId token) const { return token == 8; }
    };
    Etc etc{Some{}, {.alpha = 1.99 * ln2}};
    ScriptedText text;
    etc.reset();
    etc.schedule(text.step());
    for (std::size_t i = 0; i < 3; ++i) {
        CHECK(type(text, etc, 4, among[i]) == go);
        CHECK(type(text, etc, 8, 500) == go);
        CHECK(type(text, etc, 7, 1) == go);
    }
    CHECK(type(text, etc, 5, among[3]) == Decision::retrieve(1));
    CHECK(text.query(etc, 1) == Tokens{1, 2, 3, 4, 8, 4, 8, 4, 8});
}

TEST_CASE("ETC: at an end the newest token is judged if it is new") {
    Etc etc{EveryToken{}, {.alpha = 1.99 * ln2}};
    ScriptedText text;
    etc.reset();
    etc.schedule(text.step());
    for (std::size_t i = 0; i < 3; ++i) type(text, etc, 4, among[i]);
    CHECK(etc.at_end(text.step(), StopReason::eos) == go);
    std::vector<float> read(6, 1.0f);
    text.set_attention(1, read);
    text.choose_among(1);
    text.put(5);
    CHECK(etc.at_end(text.step(), StopReason::max_tokens) == Decision::retrieve(1));
    text.take_back(etc, 1);
    text.put(5);
    CHECK(etc.at_end(text.step(), StopReason::max_tokens) == go);
}

TEST_CASE("ETC: as policies it asks for attention, and what does not fit is refused in words") {
    CHECK(Policies{}.method(Etc{}).wants_attention());
    CHECK(to_string(EtcOptions{}) == "etc(alpha:1.3,words:35)");
    check_error(ErrorCode::contract, "the alpha of Etc must be above 0, found", [] { Etc{EveryToken{}, {.alpha = 0}}; });
    check_error(ErrorCode::contract, "the alpha of Etc must be above 0, found", [] {
        Etc{EveryToken{}, {.alpha = std::nan("")}};
    });
    check_error(ErrorCode::contract, "a query of at least 1 word, found 0", [] { Etc{EveryToken{}, {.query_words = 0}}; });
}

}  // namespace test_policy_entropy_trend
