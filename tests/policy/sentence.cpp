#include "flashback/policy/sentence.hpp"

#include "flashback/policy/any_policy.hpp"

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include <doctest/doctest.h>

namespace test_policy_sentence {

using namespace flashback;

namespace {

/// A text in pieces; its tokens are 0, 1, 2 ...
struct Pieces {
    std::vector<std::string> pieces;

    TokenBuffer tokens() const {
        TokenBuffer all;
        for (std::size_t i = 0; i < pieces.size(); ++i) all.push_back(static_cast<TokenId>(i));
        return all;
    }
    auto rule() const {
        return SentenceByPiece{
            [this](TokenId token) -> const std::string& { return pieces.at(static_cast<std::size_t>(token)); }};
    }
};

/// Whether a sentence ends with the last of these pieces.
bool ends(const std::vector<std::string>& pieces) {
    const Pieces text{pieces};
    return text.rule()(text.tokens());
}

std::string last_sentence(const std::vector<std::string>& pieces, std::size_t most = 64, std::size_t rewind = 0) {
    const Pieces text{pieces};
    const TokenBuffer tokens = text.tokens();
    StepView step{tokens, 0};
    step.rewind = rewind;
    LastSentence query{text.rule(), most};
    std::string found;
    for (const TokenId token : query(step).tokens) found += text.pieces[static_cast<std::size_t>(token)];
    return found;
}

}  // namespace

TEST_CASE("a sentence ends with . ! ? and their like, and what closes after it") {
    for (const char* end :
         {".",    "!",  "?",   "...", "\u2026", "\u3002", "\uff01", "\uff1f", "?!",       ".\"", ".)",     ".\u201d",
          ".'\"", ". ", ".\n", "\n",  "\n\n",   " \n  ",  "!\" ",   "\u0964", ".]\u00a0", ":\n", "?\u300d"}) {
        CAPTURE(end);
        CHECK(ends({" word", end}));
        CHECK(ends({std::string{" word"} + end}));
    }
    for (const char* no : {"", " ", ",", ":", "\"", ")", "a", "-", "\u00e9", "\"a", ".a", ".com", ") "}) {
        CAPTURE(no);
        CHECK_FALSE(ends({" word", no}));
    }
    CHECK_FALSE(ends({}));
    CHECK(ends({"one\nand"}));  // the sentence ended within it
    CHECK_FALSE(ends({"one\n", "and"}));
}

TEST_CASE("an end may be cut into tokens, of bytes even") {
    CHECK(ends({" word", ".", "\""}));
    CHECK(ends({" word", ".", " ", "\""}));
    CHECK(ends({" word", ".", "\"", " "}));
    CHECK(ends({" word", "\xe3", "\x80", "\x82"}));  // U+3002
    CHECK_FALSE(ends({" word", "\xe3", "\x80"}));
    CHECK(ends({" word", "\n", "  "}));
    CHECK(ends({" word", ".", "", "", ""}));
    CHECK_FALSE(ends({" word", ".", " The"}));
}

TEST_CASE("a full stop after a digit or an initial is no end, because it cannot be known") {
    for (const char* no : {"3.", " 1999.", "J.", " U.S.", " e.g.", "(A.", "\u00c9.", " \u0418."}) {
        CAPTURE(no);
        CHECK_FALSE(ends({no}));
        CHECK_FALSE(ends({no, " "}));
        CHECK(ends({no, "\n"}));
    }
    CHECK(ends({"(in 1999", ".)"}));  // what closes shows that the number does not go on
    CHECK(ends({"3", "!"}));
    CHECK(ends({"3", "..."}));
    CHECK(ends({" is", "."}));
    CHECK(ends({" caf\u00e9", "."}));
    CHECK(ends({" Mr."}));  // abbreviations are not known
    CHECK(ends({"."}));
    CHECK(ends({std::string(200, 'x'), "."}));
    CHECK_FALSE(ends({std::string(200, ' ')}));
}

TEST_CASE("a detokenizer may give characters, views, and be referred to") {
    const auto letter = [](TokenId token) { return static_cast<char>(token); };
    CHECK(SentenceByPiece{letter}(TokenBuffer{'a', 'b', '.'}));
    CHECK_FALSE(SentenceByPiece{letter}(TokenBuffer{'a', 'b', '.', 'c'}));
    const auto view = [](TokenId token) { return std::string_view{token == 1 ? "so." : " it"}; };
    CHECK(SentenceByPiece{view}(TokenBuffer{0, 1}));
    static_assert(SentenceRule<SentenceByPiece<decltype(view)>>);
    static_assert(!SentenceRule<decltype(view)>);
}

TEST_CASE("EverySentence retrieves before the first token and once for each end") {
    const Pieces text{{"Hi", ".", "\"", " He", " ran", "!", "\n", " It", "."}};
    const TokenBuffer tokens = text.tokens();
    EverySentence schedule{text.rule()};
    AnySchedule any{schedule};
    std::string asked;
    std::size_t retrievals = 0;
    for (std::size_t n = 1; n <= tokens.size(); ++n) {
        StepView step{TokenSpan{tokens}.first(n), 1, retrievals, n == 1 ? std::size_t{0} : std::size_t{1}};
        const bool retrieves = schedule(step);
        CHECK(any(step).retrieves() == retrieves);
        asked += retrieves ? '1' : '0';
        retrievals += retrieves;
    }
    CHECK(asked == "110001001");
    CHECK_FALSE(schedule(StepView{TokenSpan{tokens}.first(2), 1, 1, 0}));  // nothing new since the last retrieval
}

TEST_CASE("LastSentence is the unfinished sentence, or else the newest that ended") {
    CHECK(last_sentence({"One", ".", " Two", " words"}) == " Two words");
    CHECK(last_sentence({"One", ".", " Two", " words", "."}) == " Two words.");
    CHECK(last_sentence({"One", ".", " Two", " words", ".", "\""}) == " Two words.\"");
    CHECK(last_sentence({"One", ".", "\"", " Two", " words"}) == " Two words");
    CHECK(last_sentence({"One", " two"}) == "One two");
    CHECK(last_sentence({"."}) == ".");
    CHECK(last_sentence({}).empty());
    CHECK(last_sentence({"\n", "\n"}) == "\n\n");
    CHECK(last_sentence({"Pi", " is", " 3.", "14", "."}) == "Pi is 3.14.");
}

TEST_CASE("LastSentence is bounded, and a draft is no part of it") {
    CHECK(last_sentence({"a", "b", "c", "d"}, 3) == "bcd");
    CHECK(last_sentence({"a", "b", "c", "."}, 2) == "c.");
    CHECK(last_sentence({"One", ".", " Two", ".", " A", " draft"}, 64, 2) == " Two.");
    CHECK(last_sentence({"One", ".", " Two", " A", " draft"}, 64, 2) == " Two");
    const auto rule = [](TokenSpan) { return false; };
    CHECK_THROWS_WITH_AS((LastSentence{rule, 0}), "LastSentence needs a query of at least 1 token, found 0", Error);
    const TokenBuffer many(100, 1);
    CHECK(LastSentence{rule}(StepView{many, 0}).tokens.size() == 64);
}

}  // namespace test_policy_sentence
