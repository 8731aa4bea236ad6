#include "flashback/policy/model_queries.hpp"

#include "policy/scripted_text.hpp"

#include <cmath>
#include <cstddef>
#include <vector>

#include <doctest/doctest.h>

namespace test_policy_model_queries {

using namespace flashback;
using flashback_test::ScriptedText;

namespace {

template <class Builder>
TokenBuffer asked(Builder&& query, const StepView& step) {
    const TokenSpan tokens = query(step).tokens;
    return {tokens.begin(), tokens.end()};
}

}  // namespace

TEST_CASE("MaskedDraft: the draft without what the model was not sure of") {
    ScriptedText text{{1, 2, 3}};
    text.put(4, 0.9);
    text.put(5, 0.41);
    text.put(6, 0.39);
    text.put(7, 0.1);
    text.put(8, 1);
    MaskedDraft query;
    CHECK(asked(query, text.step(5)) == TokenBuffer{4, 5, 8});
    CHECK(asked(query, text.step(3)) == TokenBuffer{8});
    CHECK(asked(MaskedDraft{0}, text.step(4)) == TokenBuffer{5, 6, 7, 8});
    CHECK(asked(MaskedDraft{0.95}, text.step(2)) == TokenBuffer{8});
    CHECK(asked(MaskedDraft{1}, text.step(2)) == TokenBuffer{1, 2, 3, 4, 5, 6});  // nothing is left: what stays
    CHECK(asked(query, text.step(0)).size() == 8);
    StepView none = text.step(2);
    none.surprisals = {};
    CHECK(asked(query, none) == TokenBuffer{1, 2, 3, 4, 5, 6});
    CHECK_THROWS_WITH_AS(MaskedDraft{1.5}, "the mask of MaskedDraft is a probability in [0, 1], found 1.500000", Error);
    CHECK_THROWS_AS(MaskedDraft{std::nan("")}, Error);
}

TEST_CASE("AttentionTopN: what the newest position reads most, in the order of the text") {
    ScriptedText text{{11, 12, 13, 14}};
    // Two heads, which read of the four tokens, at the places 1 to 4; the mean is .20 .15 .10 .35.
    text.set_attention(2, {0.2f, 0.3f, 0.1f, 0.1f, 0.3f, 0.2f, 0.1f, 0.2f, 0.1f, 0.4f}, 1);
    text.put(15);
    CHECK(asked(AttentionTopN{1}, text.step()) == TokenBuffer{14});
    CHECK(asked(AttentionTopN{2}, text.step()) == TokenBuffer{11, 14});
    CHECK(asked(AttentionTopN{3}, text.step()) == TokenBuffer{11, 12, 14});
    CHECK(asked(AttentionTopN{}, text.step()) == TokenBuffer{11, 12, 13, 14});  // the newest token is not read yet
    CHECK(text.layers_asked.back() == 1);                                       // the last of two

    const auto odd = [](TokenId token) { return token % 2 == 1; };
    CHECK(asked(AttentionTopN{2, odd}, text.step()) == TokenBuffer{11, 13});
    const auto none = [](TokenId) { return false; };
    CHECK(asked(AttentionTopN{2, none}, text.step()) == TokenBuffer{11, 12, 13, 14, 15});  // the newest 32

    CHECK(asked(AttentionTopN{2}, text.step(2)) == TokenBuffer{11, 12});  // of what stays: 11 12 13
    text.places()[0] = StepAttention::nowhere;                            // the window dropped it
    CHECK(asked(AttentionTopN{2}, text.step()) == TokenBuffer{12, 14});
}

TEST_CASE("AttentionTopN without attention asks for the newest tokens, and refuses 0 words") {
    const TokenBuffer text{1, 2, 3};
    CHECK(asked(AttentionTopN{2}, StepView{text, 3}) == text);
    CHECK_THROWS_WITH_AS(AttentionTopN{0}, "AttentionTopN needs a query of at least 1 word, found 0", Error);
    static_assert(AttentionTopN<>::wants_attention());
}

}  // namespace test_policy_model_queries
