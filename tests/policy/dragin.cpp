// DRAGIN worked by hand: scores of a sentence, and the query of what was read in front of the first word above the threshold.
#include "flashback/policy/dragin.hpp"

#include "flashback/policy/policies.hpp"
#include "policy/scripted_text.hpp"
#include "support/errors.hpp"

#include <cstddef>
#include <vector>

#include <doctest/doctest.h>

namespace test_policy_dragin {

using namespace flashback;
using namespace flashback_test;

namespace {

using Tokens = std::vector<TokenId>;
const Decision go = Decision::go_on();

/// Counts all tokens but one, and lets one go on with the word in front of it.
struct AllBut {
    TokenId none = -1;
    TokenId joined = -1;
    bool operator()(TokenId token) const { return token != none; }
    bool continues(TokenId token) const { return token == joined; }
};

// Three tokens of prompt behind a BOS, then 4 5 6 and a full stop. Two heads. A row is what the position in front of a token reads.
struct Taken {
    TokenId token;
    std::size_t among;  // equal logits: entropy ln among
    std::vector<float> read;
};
const std::vector<Taken> sentence{
    {4, 2, {0.7f, 0.1f, 0.1f, 0.1f, /**/ 0.4f, 0.1f, 0.2f, 0.3f}},
    {5, 8, {0.5f, 0.05f, 0.15f, 0.1f, 0.2f, /**/ 0.1f, 0.1f, 0.25f, 0.15f, 0.4f}},
    {6, 4, {0.5f, 0.1f, 0.0f, 0.0f, 0.3f, 0.1f, /**/ 0.8f, 0.0f, 0.0f, 0.0f, 0.1f, 0.1f}},
    {full_stop, 1, {0.4f, 0, 0, 0, 0.1f, 0.3f, 0.2f, /**/ 0.5f, 0, 0, 0, 0.2f, 0.1f, 0.2f}},
};
// What is read of 4: most by the first head max(0.2, 0.3, 0.1), by the second max(0.4, 0.1, 0.2): mean 0.35.
// Of 5: max(0.1, 0.3) and max(0.1, 0.1): 0.2. Of 6: 0.2 and 0.2: 0.2. Of the full stop: 0. In all 0.75.
// Entropies ln 2, ln 8, ln 4, 0. Scores of the four words:
//   4 ln 2 * 0.35 / 0.75 = 1.294, 4 ln 8 * 0.2 / 0.75 = 2.218, 4 ln 4 * 0.2 / 0.75 = 1.479, 0

template <class Method>
Decision type(ScriptedText& text, Method& method, const Taken& taken) {
    text.set_attention(2, taken.read, 1);
    text.choose_among(taken.among);
    return text.take(method, taken.token);
}

/// What is decided at the end of the sentence, and the query.
template <class Counts>
std::pair<Decision, Tokens> judged(Counts counts, DraginOptions options) {
    Dragin dragin{ends_at_full_stop, counts, options};
    ScriptedText text;
    dragin.reset();
    CHECK(dragin.schedule(text.step()) == go);
    for (std::size_t i = 0; i < 3; ++i) CHECK(type(text, dragin, sentence[i]) == go);
    const Decision decision = type(text, dragin, sentence[3]);
    for (const std::size_t layer : text.layers_asked) CHECK(layer == 1);
    return {decision, decision.retrieves() ? text.query(dragin, 4) : Tokens{}};
}
using Judged = std::pair<Decision, Tokens>;

}  // namespace

TEST_CASE("DRAGIN: scores, and the query of the words that are read most in front of the first one above the threshold") {
    // The first head and the second, on the three tokens of the prompt: 0.1 0.1 0.1 and 0.1 0.2 0.3.
    CHECK(judged(EveryToken{}, {.threshold = 1.29, .query_words = 2}) == Judged{Decision::retrieve(4), {2, 3}});
    // On the prompt and 4: the means are 0.075, 0.2, 0.125, 0.3.
    CHECK(judged(EveryToken{}, {.threshold = 1.30, .query_words = 2}) == Judged{Decision::retrieve(4), {2, 4}});
    CHECK(judged(EveryToken{}, {.threshold = 2.21, .query_words = 3}) == Judged{Decision::retrieve(4), {2, 3, 4}});
    CHECK(judged(EveryToken{}, {.threshold = 2.21}) == Judged{Decision::retrieve(4), {1, 2, 3, 4}});
    CHECK(judged(EveryToken{}, {.threshold = 2.22}) == Judged{go, {}});
}

TEST_CASE("DRAGIN: only content words are flagged and searched for") {
    CHECK(judged(AllBut{5}, {.threshold = 1.30, .query_words = 2}).first == Decision::retrieve(4));  // 6, of 1.479
    CHECK(judged(AllBut{5}, {.threshold = 1.48}) == Judged{go, {}});
    CHECK(judged(AllBut{4}, {.threshold = 1.0, .query_words = 2}) == Judged{Decision::retrieve(4), {2, 3}});
}

TEST_CASE(
    "DRAGIN: tokens of one word count together: attention is added up, entropy is their mean, and there are fewer words") {
    // Words 4, 5 6 and the full stop. Of 5 6: 3 * (ln 8 + ln 4) / 2 * 0.4 / 0.75 = 2.773; of 4: 3 ln 2 * 0.35 / 0.75 = 0.970.
    CHECK(judged(AllBut{-1, 6}, {.threshold = 2.77, .query_words = 1}) == Judged{Decision::retrieve(4), {4}});
    CHECK(judged(AllBut{-1, 6}, {.threshold = 2.78}) == Judged{go, {}});
    CHECK(judged(AllBut{5, 6}, {.threshold = 2.77}).first == Decision::retrieve(4));  // one of the two counts
    // A word of the prompt in two tokens: 2 and 3 are read 0.2 and 0.125, together more than 4.
    CHECK(judged(AllBut{-1, 3}, {.threshold = 1.30, .query_words = 1}) == Judged{Decision::retrieve(4), {2, 3}});
}

TEST_CASE("DRAGIN: a sentence that was written anew stands, then the passages go, and the next one is a draft") {
    Dragin dragin{ends_at_full_stop};
    ScriptedText text;
    dragin.reset();
    dragin.schedule(text.step());
    for (const Taken& taken : sentence) type(text, dragin, taken);
    text.take_back(dragin, 4);
    text.find(1);
    const std::size_t asked = text.layers_asked.size();
    for (std::size_t i = 0; i < 3; ++i) CHECK(type(text, dragin, sentence[i]) == go);
    CHECK(type(text, dragin, sentence[3]) == Decision::drop_passages());
    CHECK(text.layers_asked.size() == asked);  // what is not judged is not looked at
    text.passages.clear();
    // The same scores behind the first sentence: what is read of that does not matter.
    const auto behind = [](Taken taken) {
        const std::size_t length = taken.read.size() / 2;
        taken.read.insert(taken.read.begin() + static_cast<std::ptrdiff_t>(length + 4), 4, 0.9f);
        taken.read.insert(taken.read.begin() + 4, 4, 0.9f);
        return taken;
    };
    for (std::size_t i = 0; i < 3; ++i) CHECK(type(text, dragin, behind(sentence[i])) == go);
    CHECK(type(text, dragin, behind(sentence[3])) == Decision::retrieve(4));
    CHECK(text.query(dragin, 4) == Tokens{1, 2, 3, 4, 5, 6, full_stop});
}

TEST_CASE("DRAGIN: tokens that others take back leave no trace") {
    Dragin dragin{ends_at_full_stop, EveryToken{}, {.threshold = 2.21, .query_words = 2}};
    for (std::size_t kept = 0; kept <= 3; ++kept) {
        CAPTURE(kept);
        ScriptedText text;
        dragin.reset();
        dragin.schedule(text.step());
        for (std::size_t i = 0; i < kept; ++i) type(text, dragin, sentence[i]);
        // A detour that reads everything and is sure of nothing.
        for (std::size_t i = kept; i < 3; ++i) type(text, dragin, {7, 1000, std::vector<float>(2 * (4 + i), 1.0f)});
        text.take_back(dragin, 3 - kept);
        for (std::size_t i = kept; i < 3; ++i) CHECK(type(text, dragin, sentence[i]) == go);
        auto copy = dragin;
        CHECK(type(text, dragin, sentence[3]) == Decision::retrieve(4));
        CHECK(text.query(dragin, 4) == Tokens{2, 4});
        CHECK(copy.schedule(text.step()) == Decision::retrieve(4));  // a copy has all of it, too
        CHECK(text.query(copy, 4) == Tokens{2, 4});
    }
    // Back into a sentence that was judged: what is left of it is not scored again, what follows is.
    ScriptedText text;
    dragin.reset();
    dragin.schedule(text.step());
    for (const Taken& taken : sentence) type(text, dragin, taken);  // doubted, but kept by someone else
    type(text, dragin, {7, 1, std::vector<float>(16, 0.1f)});
    text.take_back(dragin, 3);  // 4 and 5 are left
    CHECK(type(text, dragin, sentence[2]) == go);
    CHECK(type(text, dragin, sentence[3]) == go);  // that sentence was doubted once
}

TEST_CASE("DRAGIN: at an end the last words are judged, whether the newest token is new or not") {
    Dragin dragin{ends_at_full_stop, EveryToken{}, {.threshold = 0.1}};
    ScriptedText text;
    dragin.reset();
    dragin.schedule(text.step());
    CHECK(dragin.at_end(text.step(), StopReason::eos) == go);
    for (std::size_t i = 0; i < 2; ++i) type(text, dragin, sentence[i]);
    StepView eos = text.step();  // the token that ends the text has logits, but is no part of it
    eos.logits = {};
    eos.attention = nullptr;
    auto other = dragin;
    CHECK(other.at_end(eos, StopReason::eos) == Decision::retrieve(2));
    text.set_attention(2, sentence[2].read, 1);
    text.choose_among(4);
    text.put(6);
    CHECK(dragin.at_end(text.step(), StopReason::max_tokens) == Decision::retrieve(3));
    text.take_back(dragin, 3);
    for (std::size_t i = 0; i < 2; ++i) type(text, dragin, sentence[i]);
    CHECK(dragin.at_end(text.step(), StopReason::max_tokens) == go);
}

TEST_CASE("DRAGIN: one token, tokens that nobody reads, and tokens that are held nowhere") {
    Dragin dragin{ends_at_full_stop, EveryToken{}, {.threshold = 0}};
    ScriptedText text;
    dragin.reset();
    dragin.schedule(text.step());
    CHECK(type(text, dragin, {full_stop, 8, std::vector<float>(8, 1.0f)}) == go);  // nobody has read it yet
    type(text, dragin, {4, 8, std::vector<float>(10, 0.0f)});
    type(text, dragin, {5, 8, std::vector<float>(12, 0.0f)});
    CHECK(type(text, dragin, {full_stop, 8, std::vector<float>(14, 0.0f)}) == go);
    // The window dropped the prompt: only what is held can be searched for.
    text.set_attention(1, std::vector<float>(9, 1.0f), 1);
    for (std::size_t i = 0; i < 3; ++i) text.places()[i] = StepAttention::nowhere;
    text.choose_among(4);
    text.take(dragin, 4);
    text.set_attention(1, std::vector<float>(10, 1.0f), 1);
    text.choose_among(4);
    CHECK(text.take(dragin, full_stop) == Decision::retrieve(2));
    CHECK(text.query(dragin, 2) == Tokens{full_stop, 4, 5, full_stop});
    // Without a content word in the text the newest tokens in front of the draft are the query.
    Dragin no_words{ends_at_full_stop, AllBut{}, {.threshold = 0}};
    ScriptedText empty{{}};
    no_words.reset();
    no_words.schedule(empty.step());
    empty.set_attention(1, {1.0f}, 1);
    empty.choose_among(4);
    empty.take(no_words, 4);
    empty.set_attention(1, {0.5f, 0.5f}, 1);
    CHECK(empty.take(no_words, full_stop) == Decision::retrieve(2));
    CHECK(empty.query(no_words, 2).empty());
}

TEST_CASE("DRAGIN: as policies it asks for attention, and what does not fit is refused in words") {
    CHECK(Policies{}.method(Dragin{ends_at_full_stop}).wants_attention());
    CHECK_FALSE(Policies{}.method(Dragin{ends_at_full_stop}).wants_surprisals());
    CHECK(to_string(DraginOptions{}) == "dragin(theta:1,words:25,look-ahead:64)");
    const auto refused = [](const char* words, DraginOptions options) {
        check_error(ErrorCode::contract, words, [&] { Dragin{ends_at_full_stop, EveryToken{}, options}; });
    };
    refused("the threshold of Dragin must be 0 or more, found", {.threshold = -1});
    refused("a query of at least 1 word, found 0", {.query_words = 0});
    refused("a look-ahead of at least 1 token, found 0", {.look_ahead = 0});
    Dragin dragin{ends_at_full_stop};
    dragin.reset();
    ScriptedText text;
    check_error(ErrorCode::contract, "the model must be an AttentiveModel", [&] { text.take(dragin, 4); });
}

}  // namespace test_policy_dragin
