// IRCoT: a retrieval for each sentence, and when the chain of thought ends.
#include "flashback/policy/ircot.hpp"

#include "flashback/core/random.hpp"
#include "flashback/policy/policies.hpp"
#include "policy/scripted_text.hpp"
#include "support/errors.hpp"

#include <algorithm>
#include <cstddef>
#include <string_view>
#include <vector>

#include <doctest/doctest.h>

namespace test_policy_ircot {

using namespace flashback;
using namespace flashback_test;

namespace {

using Tokens = std::vector<TokenId>;
const Decision go = Decision::go_on();

std::string_view piece(TokenId token) {
    switch (token) {
        case 4: return " The ans";
        case 5: return "wer i";
        case 6: return "s Paris";
        case full_stop: return ".";
        default: return " well";
    }
}

}  // namespace

TEST_CASE("IRCoT: the prompt is searched for, then each sentence, until there are as many as there may be") {
    IrCot ircot{ends_at_full_stop, {.steps = 3}};
    ScriptedText text;
    ircot.reset();
    CHECK(ircot.schedule(text.step()) == Decision::retrieve());
    CHECK(text.query(ircot, 0) == Tokens{1, 2, 3});
    CHECK(text.take(ircot, 4) == go);
    CHECK(text.take(ircot, full_stop) == Decision::retrieve());
    CHECK(text.query(ircot, 0) == Tokens{4, full_stop});
    CHECK(text.take(ircot, 5) == go);
    CHECK(text.query(ircot, 0) == Tokens{4, full_stop});  // of someone else's retrieval: the sentence that ended last
    CHECK(text.take(ircot, 6) == go);
    CHECK(text.take(ircot, full_stop) == Decision::retrieve());
    CHECK(text.query(ircot, 0) == Tokens{5, 6, full_stop});
    CHECK(text.take(ircot, full_stop) == go);  // belongs to the end before it
    CHECK(text.take(ircot, 7) == go);
    const auto copy = ircot;
    CHECK(text.take(ircot, full_stop) == Decision::stop());
    // Taken back, it is the third sentence again; and taken back further, the second.
    text.take_back(ircot, 2);
    CHECK(text.take(ircot, 8) == go);
    CHECK(text.take(ircot, full_stop) == Decision::stop());
    text.take_back(ircot, 4);
    CHECK(text.take(ircot, full_stop) == Decision::retrieve());
    CHECK(text.query(ircot, 0) == Tokens{5, 6, full_stop});
    text.take_back(ircot, 5);
    CHECK(text.query(ircot, 0) == Tokens{1, 2, 3});
    CHECK(text.take(ircot, 7) == go);
    text.take_back(ircot, 1);
    CHECK(IrCot{copy}.schedule(text.step()) == Decision::retrieve());  // a copy is where it was copied; this is a start
}

TEST_CASE("IRCoT: the text ends after the sentence with the answer, and not before its end") {
    IrCot ircot{ends_at_full_stop, AnswerPhrase{piece}};
    ScriptedText text;
    ircot.reset();
    ircot.schedule(text.step());
    // The phrase in two sentences is none.
    CHECK(text.take(ircot, 4) == go);
    CHECK(text.take(ircot, full_stop) == Decision::retrieve());
    for (const TokenId token : {7, 4, 5, 6, 7}) CHECK(text.take(ircot, token) == go);
    CHECK(text.take(ircot, full_stop) == Decision::stop());
    check_error(ErrorCode::contract, "the phrase of an answer is empty", [] { AnswerPhrase{piece, ""}; });
}

TEST_CASE("IRCoT: a token that it never saw may be taken back, at an end that another schedule puts off") {
    IrCot ircot{ends_at_full_stop, {.steps = 3}};
    ScriptedText text;
    ircot.reset();
    ircot.schedule(text.step());
    text.take(ircot, 4);
    CHECK(text.take(ircot, full_stop) == Decision::retrieve());
    text.take(ircot, 5);
    text.put(6);  // the last one of the text: max_tokens
    text.take_back(ircot, 2);
    CHECK(text.take(ircot, 7) == go);
    CHECK(text.query(ircot, 0) == Tokens{4, full_stop});  // that sentence still is one
    CHECK(text.take(ircot, full_stop) == Decision::retrieve());
    CHECK(text.query(ircot, 0) == Tokens{7, full_stop});
    CHECK(text.query(ircot, 1) == Tokens{4, full_stop});  // what is taken back is no sentence
    CHECK(text.query(ircot, 3) == Tokens{1, 2, 3});
}

TEST_CASE("IRCoT: whatever is taken back, by whom and at which ends, it goes on as if that had never been") {
    SplitMix64 random{5};
    std::size_t unseen = 0, stops = 0;
    for (int round = 0; round < 300; ++round) {
        IrCot ircot{ends_at_full_stop, {.steps = 4}};
        ScriptedText text;
        ircot.reset();
        ircot.schedule(text.step());
        Tokens kept;
        for (int i = 0; i < 60; ++i) {
            const auto token = random.below(4) == 0 ? full_stop : static_cast<TokenId>(random.below(4));
            text.put(token);
            kept.push_back(token);
            const bool asked = random.below(4) > 0;  // or the text is about to end, and another schedule puts that off
            Decision decision = Decision::go_on();
            if (asked) {
                decision = ircot.schedule(text.step());
                IrCot fresh{ends_at_full_stop, {.steps = 4}};
                ScriptedText again;
                fresh.reset();
                Decision expected = fresh.schedule(again.step());
                for (const TokenId one : kept) expected = again.take(fresh, one);
                REQUIRE(decision == expected);
                REQUIRE(text.query(ircot, 0) == again.query(fresh, 0));
                stops += decision.stops();
            }
            if (asked && random.below(4) > 0) continue;
            unseen += !asked;
            const std::size_t count = 1 + random.below(std::min<std::size_t>(kept.size(), 9));
            kept.resize(kept.size() - count);
            text.take_back(ircot, count);
        }
    }
    CHECK(unseen > 1000);
    CHECK(stops > 15);
}

TEST_CASE("IRCoT: its options") {
    CHECK(to_string(IrCotOptions{}) == "ircot(steps:8)");
    CHECK_FALSE(Policies{}.method(IrCot{ends_at_full_stop}).wants_surprisals());
    check_error(ErrorCode::contract, "IrCot needs at least 1 step, found 0", [] { IrCot{ends_at_full_stop, {.steps = 0}}; });
}

}  // namespace test_policy_ircot
