// FLARE worked by hand: which drafts are doubted, what is searched for, and what is taken back.
#include "flashback/policy/flare.hpp"

#include "flashback/policy/any_policy.hpp"
#include "policy/scripted_text.hpp"
#include "support/errors.hpp"

#include <cmath>
#include <cstddef>
#include <vector>

#include <doctest/doctest.h>

namespace test_policy_flare {

using namespace flashback;
using namespace flashback_test;

namespace {

constexpr TokenId stop = full_stop;
constexpr auto ends = ends_at_full_stop;
using Tokens = std::vector<TokenId>;

const Decision go = Decision::go_on();

}  // namespace

TEST_CASE("FLARE: a draft with a token of 0.8 or less is taken back, and what is above 0.4 is searched for") {
    Flare flare{ends};
    ScriptedText text;
    flare.reset();
    CHECK(flare.schedule(text.step()) == Decision::retrieve());
    CHECK(text.query(flare, 0) == Tokens{1, 2, 3});
    text.find(1);
    // The first draft is sure of everything: it stands, and the passages of the prompt go.
    CHECK(text.take(flare, 4, 0.81) == go);
    CHECK(text.take(flare, 5, 0.99) == go);
    CHECK(text.take(flare, stop, 1.0) == Decision::drop_passages());
    text.passages.clear();
    // p = 0.9, 0.3, 0.7, 0.95: the second and the third are not above 0.8; the second is not above 0.4.
    CHECK(text.take(flare, 6, 0.9) == go);
    CHECK(text.take(flare, 7, 0.3) == go);
    CHECK(text.take(flare, 8, 0.7) == go);
    CHECK(text.take(flare, stop, 0.95) == Decision::retrieve(4));
    CHECK(text.query(flare, 4) == Tokens{6, 8, stop});
    text.take_back(flare, 4);
    text.find(2);
    // Written anew it is as unsure, and stands.
    CHECK(text.take(flare, 6, 0.1) == go);
    CHECK(text.take(flare, stop, 0.1) == Decision::drop_passages());
    text.passages.clear();
    // A draft that stands without passages leaves nothing to drop.
    CHECK(text.take(flare, 5, 0.9) == go);
    CHECK(text.take(flare, stop, 0.9) == go);
    // The next one is a draft again; at the end of the text it is verified, too.
    CHECK(text.take(flare, 5, 0.5) == go);
    CHECK(flare.at_end(text.step(), StopReason::eos) == Decision::retrieve(1));
    CHECK(text.query(flare, 1) == Tokens{5});
    text.take_back(flare, 1);
    CHECK(text.take(flare, 5, 0.2) == go);
    CHECK(flare.at_end(text.step(), StopReason::eos) == go);
}

TEST_CASE("FLARE: the newest token may be new at an end, and a draft that was settled is not verified again") {
    Flare flare{ends};
    ScriptedText text;
    flare.reset();
    flare.schedule(text.step());
    CHECK(flare.at_end(text.step(), StopReason::eos) == go);  // nothing was written
    text.put(4, 0.1);
    CHECK(flare.at_end(text.step(), StopReason::max_tokens) == Decision::retrieve(1));
    text.take_back(flare, 1);
    text.take(flare, stop, 0.1);
    CHECK(flare.at_end(text.step(), StopReason::eos) == go);
}

TEST_CASE("FLARE: a draft without a sentence's end is cut at the look-ahead") {
    Flare flare{ends, {.look_ahead = 3}};
    ScriptedText text;
    flare.reset();
    flare.schedule(text.step());
    CHECK(text.take(flare, 4, 0.5) == go);
    CHECK(text.take(flare, 5, 0.9) == go);
    CHECK(text.take(flare, 6, 0.9) == Decision::retrieve(3));
    text.take_back(flare, 3);
    for (int i = 0; i < 3; ++i) CHECK(text.take(flare, 4, 0.1) == go);  // written anew: as long, and it stands
    CHECK(text.take(flare, 4, 0.9) == go);
    CHECK(text.take(flare, 4, 0.9) == go);
    CHECK(text.take(flare, 4, 0.9) == go);
    CHECK(text.take(flare, 4, 0.1) == go);
    CHECK(text.take(flare, stop, 0.9) == Decision::retrieve(2));
}

TEST_CASE("FLARE: if nothing of the draft is left, the newest 32 tokens in front of it are the query") {
    Flare flare{ends};
    ScriptedText text{{5, 5, 5}};
    flare.reset();
    flare.schedule(text.step());
    for (int i = 0; i < 39; ++i) text.take(flare, i == 38 ? stop : 6, 1.0);
    CHECK(text.take(flare, 4, 0.4) == go);
    CHECK(text.take(flare, stop, 0.4) == Decision::retrieve(2));
    Tokens expected(32, 6);
    expected.back() = stop;
    CHECK(text.query(flare, 2) == expected);
    // A retrieval of someone else has no draft.
    text.take_back(flare, 2);
    text.take(flare, 4, 1.0);
    CHECK(text.query(flare, 0).size() == 32);
    CHECK(text.query(flare, 0).back() == 4);
}

TEST_CASE("FLARE: theta 0 doubts each draft, theta 1 as well, and tokens that end a sentence side by side end it once") {
    for (const double theta : {0.0, 1.0}) {
        Flare flare{ends, {.threshold = theta}};
        ScriptedText text;
        flare.reset();
        flare.schedule(text.step());
        CHECK(text.take(flare, stop, 1.0) == Decision::retrieve(1));
        text.take_back(flare, 1);
        CHECK(text.take(flare, stop, 1.0) == go);
        CHECK(text.take(flare, stop, 1.0) == go);  // no end: it goes with the one before
        CHECK(text.take(flare, 4, 1.0) == go);
        CHECK(text.take(flare, stop, 1.0) == Decision::retrieve(3));
    }
}

TEST_CASE("FLARE: what others take back, and what others keep") {
    Flare flare{ends};
    ScriptedText text;
    flare.reset();
    flare.schedule(text.step());
    text.take(flare, 4, 0.9);
    text.take(flare, stop, 0.9);
    text.take(flare, 5, 0.1);
    // Back into the first sentence, which is a draft again.
    text.take_back(flare, 2);
    CHECK(text.take(flare, stop, 0.7) == Decision::retrieve(2));
    text.take_back(flare, 2);
    text.take(flare, 4, 0.1);
    CHECK(text.take(flare, stop, 0.1) == go);
    text.take(flare, 6, 0.9);
    // Back into the first sentence, which is written anew already: it stands.
    text.take_back(flare, 2);
    CHECK(text.take(flare, stop, 0.1) == go);
    // A draft that is doubted and not taken back, because another schedule had its way, stands.
    text.take(flare, 6, 0.9);
    CHECK(text.take(flare, stop, 0.1) == Decision::retrieve(2));
    CHECK(text.take(flare, 7, 0.9) == go);
    CHECK(text.take(flare, stop, 0.5) == Decision::retrieve(2));
}

TEST_CASE("FLARE: it drops what it found, and leaves alone what another schedule found") {
    Flare flare{ends};
    ScriptedText text;
    flare.reset();
    flare.schedule(text.step());
    text.find(1);
    text.take(flare, 4, 0.9);
    text.find(2);  // someone else's
    CHECK(text.take(flare, stop, 0.9) == go);
    CHECK(text.take(flare, 4, 0.1) == go);
    CHECK(text.take(flare, stop, 0.9) == Decision::retrieve(2));
    // Someone else keeps the draft: nothing of its own was found.
    CHECK(text.take(flare, 4, 0.9) == go);
    CHECK(text.take(flare, stop, 0.9) == go);
    CHECK(text.take(flare, stop, 0.9) == go);
    CHECK(text.take(flare, 4, 0.1) == go);
    CHECK(text.take(flare, stop, 0.9) == Decision::retrieve(3));
    text.take_back(flare, 3);
    text.find(1);
    text.take(flare, 4, 0.9);
    CHECK(text.take(flare, stop, 0.9) == Decision::drop_passages());
}

TEST_CASE("FLARE: as policies it asks for surprisals, and what does not fit is refused in words") {
    CHECK(Policies{}.method(Flare{ends}).wants_surprisals());
    CHECK_FALSE(Policies{}.method(Flare{ends}).wants_attention());
    CHECK(to_string(FlareOptions{}) == "flare(theta:0.8,beta:0.4,look-ahead:64)");
    CHECK(to_string(FlareOptions{.threshold = 0, .mask = 0.25, .look_ahead = 7}) == "flare(theta:0,beta:0.25,look-ahead:7)");
    check_error(ErrorCode::contract, "the threshold of Flare is a probability in [0, 1], found", [] {
        Flare{ends, {.threshold = 1.5}};
    });
    check_error(ErrorCode::contract, "the mask of Flare is a probability in [0, 1], found", [] {
        Flare{ends, {.mask = std::nan("")}};
    });
    check_error(ErrorCode::contract, "a look-ahead of at least 1 token, found 0", [] { Flare{ends, {.look_ahead = 0}}; });
    Flare flare{ends};
    flare.reset();
    const std::vector<TokenId> tokens{1, 2, stop};
    check_error(ErrorCode::contract, "Flare needs the surprisals of 2 tokens, found 0",
                [&] { flare.schedule({.context = tokens, .prompt_tokens = 1}); });
}

}  // namespace test_policy_flare
