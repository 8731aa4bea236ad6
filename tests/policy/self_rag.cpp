// Self-RAG's ratio: of probabilities, at the start of a sentence, and once at a place.
#include "flashback/policy/self_rag.hpp"

#include "flashback/policy/policies.hpp"
#include "policy/scripted_text.hpp"
#include "support/errors.hpp"

#include <cmath>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

namespace test_policy_self_rag {

using namespace flashback;
using namespace flashback_test;

namespace {

const Decision go = Decision::go_on();
constexpr float masked = -std::numeric_limits<float>::infinity();

/// What is decided at the first token, if [Retrieval], token 0, has the probability `yes` and [No Retrieval], token 1, `no`.
Decision first(double yes, double no, double delta = 0.2) {
    ReflectionRatio ratio{ends_at_full_stop, {.retrieve = 0, .no_retrieve = 1, .delta = delta}};
    ScriptedText text;
    ratio.reset();
    CHECK(ratio(text.step()) == go);
    text.set_logits({static_cast<float>(std::log(yes)), static_cast<float>(std::log(no)),
                     static_cast<float>(std::log(1 - yes - no)), -5.0f});
    text.put(4);
    return ratio(text.step());
}

}  // namespace

TEST_CASE("Self-RAG: the ratio is of probabilities") {
    CHECK(first(0.21, 0.79 - 1e-9) == Decision::retrieve(1));  // 0.21
    CHECK(first(0.19, 0.81 - 1e-9) == go);
    CHECK(first(0.03, 0.10) == Decision::retrieve(1));  // 0.03 / 0.13 = 0.23
    CHECK(first(0.02, 0.10) == go);                     // 0.02 / 0.12 = 0.17
    // Of log-probabilities, ln 0.02 / (ln 0.02 + ln 0.10) = 0.63 would be above 0.2.
    CHECK(first(0.5, 0.25, 0.66) == Decision::retrieve(1));  // 2/3
    CHECK(first(0.5, 0.25, 0.67) == go);
    CHECK(first(1e-30, 1e-31, 0.9) == Decision::retrieve(1));  // 10/11: what is left of the mass does not matter
}

TEST_CASE("Self-RAG: at the start of each sentence, and once at a place") {
    ReflectionRatio ratio{ends_at_full_stop, {.retrieve = 0, .no_retrieve = 1}};
    ScriptedText text;
    const auto take = [&](TokenId token, float yes) {
        text.set_logits({yes, 0.0f, 0.0f});
        text.put(token);
        return ratio(text.step());
    };
    const auto take_back = [&](std::size_t count) { text.take_back(ratio, count); };
    ratio.reset();
    ratio(text.step());
    CHECK(take(4, 1.0f) == Decision::retrieve(1));
    take_back(1);
    CHECK(take(4, 1.0f) == go);  // that place was judged
    CHECK(take(5, 1.0f) == go);  // no start
    CHECK(take(full_stop, 1.0f) == go);
    const auto copy = ratio;
    CHECK(take(5, -9.0f) == go);
    CHECK(take(5, 1.0f) == go);
    take_back(2);  // by someone else: the start was judged
    CHECK(take(5, 1.0f) == go);
    ratio = copy;
    CHECK(ratio(text.step()) == Decision::retrieve(1));
    take_back(1);
    CHECK(take(full_stop, 1.0f) == go);  // belongs to the end before it
    CHECK(take(5, 1.0f) == go);
    CHECK(take(full_stop, 1.0f) == go);
    CHECK(take(5, 1.0f) == Decision::retrieve(1));
    ratio.reset();
}

TEST_CASE("Self-RAG: a token that it never saw may be taken back, at an end that another schedule puts off") {
    ReflectionRatio ratio{ends_at_full_stop, {.retrieve = 0, .no_retrieve = 1}};
    ScriptedText text;
    const auto take = [&](TokenId token, float yes) {
        text.set_logits({yes, 0.0f});
        text.put(token);
        return ratio(text.step());
    };
    ratio.reset();
    ratio(text.step());
    CHECK(take(4, -9.0f) == go);
    CHECK(take(full_stop, 0.0f) == go);
    CHECK(take(5, -9.0f) == go);  // judged
    text.put(6);                  // max_tokens
    text.take_back(ratio, 1);
    CHECK(take(6, 1.0f) == go);  // no start
    text.put(6);
    text.take_back(ratio, 3);
    CHECK(take(7, 1.0f) == go);  // a start, which was judged
    CHECK(take(full_stop, 1.0f) == go);
    CHECK(take(7, 1.0f) == Decision::retrieve(1));
}

TEST_CASE("Self-RAG: one of the two tokens may be masked, not both") {
    ReflectionRatio ratio{ends_at_full_stop, {.retrieve = 0, .no_retrieve = 3}};
    const auto decide = [&](std::vector<float> logits) {
        ScriptedText text;
        ratio.reset();
        text.set_logits(std::move(logits));
        text.put(4);
        return ratio(text.step());
    };
    CHECK(decide({masked, 0, 0, 0}) == go);
    CHECK(decide({0, 0, 0, masked}) == Decision::retrieve(1));
    check_error(ErrorCode::contract, "the tokens 0 and 3 of ReflectionRatio are both masked", [&] {
        decide({masked, 0, 0, masked});
    });
    check_error(ErrorCode::contract, "looks at token 3, but the model has 3 logits", [&] { decide({0, 0, 0}); });
}

TEST_CASE("Self-RAG: its options") {
    const auto refused = [](const char* sentence, ReflectionOptions options) {
        check_error(ErrorCode::contract, sentence, [&] { ReflectionRatio{ends_at_full_stop, options}; });
    };
    refused("needs the ids of two tokens, found -1 and -1", {});
    refused("needs the ids of two tokens, found 3 and 3", {.retrieve = 3, .no_retrieve = 3});
    refused("the delta of ReflectionRatio must be in [0, 1], found", {.retrieve = 1, .no_retrieve = 3, .delta = 1.1});
    CHECK(to_string(ReflectionOptions{.retrieve = 5, .no_retrieve = 6}) == "self-rag(retrieve:5,no-retrieve:6,delta:0.2)");
}

}  // namespace test_policy_self_rag
