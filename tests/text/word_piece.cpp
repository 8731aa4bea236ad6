#include "flashback/text/word_piece.hpp"
#include "flashback/text/unicode.hpp"
#include "support/errors.hpp"

#include <chrono>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

namespace test_text_word_piece {

using namespace flashback;
using flashback_test::check_error;

namespace {

WordPieceVocabulary vocabulary(std::vector<std::string> more) {
    WordPieceVocabulary v;
    v.pieces = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
    v.pieces.insert(v.pieces.end(), more.begin(), more.end());
    return v;
}

WordPieceVocabulary english() {
    return vocabulary({"un",  "##aff",  "##able", "want",   "##want",   "##ed",     "wa",  "runn",     "##ing",
                       ",",   "low",    "##est",  "hello",  "!",        "how",      "are", "you",      "?",
                       "the", "##e",    "resume", "a",      "##a",      "[",        "]",   "cls",      "'",
                       "s",   "\u4e2d", "\u6587", "\u1112", "##\u1161", "##\u11ab", "$",   "unaffable"});
}

/// The pieces of a text, without those in front of it and after it, with a space between two.
std::string pieces_of(const WordPiece& w, std::string_view text) {
    const std::vector<TokenId> tokens = w.encode(text);
    REQUIRE(tokens.size() >= 2);
    CHECK(w.vocabulary().pieces[static_cast<std::size_t>(tokens.front())] == w.vocabulary().cls);
    CHECK(w.vocabulary().pieces[static_cast<std::size_t>(tokens.back())] == w.vocabulary().separator);
    std::string all;
    for (std::size_t i = 1; i + 1 < tokens.size(); ++i)
        all += (i == 1 ? "" : " ") + w.vocabulary().pieces[static_cast<std::size_t>(tokens[i])];
    return all;
}

}  // namespace

TEST_CASE("words become their longest pieces") {
    WordPieceVocabulary v = english();
    v.pieces.pop_back();
    const WordPiece w{v};
    CHECK(w.size() == v.pieces.size());
    const std::vector<std::pair<std::string, std::string>> cases{
        {"", ""},
        {" \t\r\n\u3000\u2028 ", ""},
        {"unaffable", "un ##aff ##able"},
        {"unwanted running", "un ##want ##ed runn ##ing"},
        {"unwantedX running", "[UNK] runn ##ing"},  // a word is cut as a whole, or not at all
        {" \tHeLLo!how  \n Are yoU?  ", "hello ! how are you ?"},
        {"H\u00e9llo", "hello"},
        {"He\u0301llo", "hello"},
        {"R\u00c9SUM\u00c9", "resume"},
        {"the", "the"},
        {"thee", "the ##e"},
        {"a\u4e2d\u6587a", "a \u4e2d \u6587 a"},
        {"\u4e2d\u4e01", "\u4e2d [UNK]"},
        {"\ud55c", "\u1112 ##\u1161 ##\u11ab"},  // Korean is taken apart with the accents
        {"he\u200bllo", "hello"},                // controls are left out
        {"he\x01llo\x7f", "hello"},
        {std::string{"he\0llo", 6}, "hello"},
        {"he\xffllo \xe4\xb8", "hello"},  // bytes that are not UTF-8
        {"he\ufffdllo", "hello"},
        {"[CLS] the [SEP]", "[ cls ] the [ [UNK] ]"},  // text never becomes a token of control
        {"a's $a", "a ' s $ a"},
        {"\u037e", "[UNK]"},  // the Greek question mark becomes a semicolon
        {"\u0301", ""},       // nothing is left of it
        {"##ing", "[UNK] [UNK] [UNK]"},
        {"a\u00a0a\u2003a", "a a a"}};
    for (const auto& one : cases) {
        CAPTURE(one.first);
        CHECK(pieces_of(w, one.first) == one.second);
    }
}

TEST_CASE("special tokens never come from text, whatever their names are") {
    WordPieceVocabulary v = vocabulary({"cls", "sep", "unk", "a"});
    v.cls = "cls";
    v.separator = "sep";
    v.unknown = "unk";
    CHECK(WordPiece{v}.encode("a cls sep [CLS]") == std::vector<TokenId>{5, 8, 7, 7, 7, 7, 7, 6});
}

TEST_CASE("capitals, accents and Chinese may be kept") {
    WordPieceVocabulary v = vocabulary({"Hello", "hello", "H\u00e9llo", "h\u00e9llo", "\u4e2d\u6587", "\u4e2d", "\u6587"});
    CHECK(pieces_of(WordPiece{v}, "Hello H\u00e9llo \u4e2d\u6587") == "hello hello \u4e2d \u6587");
    v.strip_accents = false;
    CHECK(pieces_of(WordPiece{v}, "Hello H\u00e9llo") == "hello h\u00e9llo");
    v.lower_case = false;
    CHECK(pieces_of(WordPiece{v}, "Hello H\u00e9llo") == "Hello H\u00e9llo");
    v.strip_accents = true;
    CHECK(pieces_of(WordPiece{v}, "Hello H\u00e9llo") == "Hello Hello");
    v.strip_accents.reset();  // as capitals
    CHECK(pieces_of(WordPiece{v}, "Hello H\u00e9llo") == "Hello H\u00e9llo");
    v.split_cjk = false;
    CHECK(pieces_of(WordPiece{v}, "\u4e2d\u6587\u4e2d") == "[UNK]");
    CHECK(pieces_of(WordPiece{v}, "\u4e2d\u6587") == "\u4e2d\u6587");
}

TEST_CASE("a word of more than 100 characters is unknown") {
    const WordPiece w{vocabulary({"a", "##a", "\u00e5", "##\u00e5"})};
    CHECK(w.encode(std::string(100, 'a')).size() == 102);
    CHECK(w.encode(std::string(101, 'a')) == std::vector<TokenId>{2, 1, 3});
    CHECK(w.encode(std::string(100, 'a') + "\u0301").size() == 102);  // an accent that is taken off does not count
    std::string wide;
    for (int i = 0; i < 100; ++i) wide += "\u00e5";
    WordPieceVocabulary v = w.vocabulary();
    v.strip_accents = false;
    CHECK(WordPiece{v}.encode(wide).size() == 102);
    v.longest_word = 99;
    CHECK(WordPiece{v}.encode(wide).size() == 3);
}

TEST_CASE("a text is cut to what fits") {
    const WordPiece w{vocabulary({"a", "b", "##b"})};
    std::vector<TokenId> tokens{77};
    CHECK_FALSE(w.encode("a a", 4, tokens));
    CHECK(tokens == std::vector<TokenId>{77, 2, 5, 5, 3});
    tokens.clear();
    CHECK(w.encode("a a a", 4, tokens));
    CHECK(tokens == std::vector<TokenId>{2, 5, 5, 3});
    tokens.clear();
    CHECK(w.encode("bbbb", 4, tokens));  // within a word, too
    CHECK(tokens == std::vector<TokenId>{2, 6, 7, 3});
    tokens.clear();
    CHECK(w.encode("a", 2, tokens));
    CHECK(tokens == std::vector<TokenId>{2, 3});
    tokens.clear();
    CHECK_FALSE(w.encode(" ", 2, tokens));
    check_error(ErrorCode::contract, "a text has at least 2 tokens", [&] { w.encode("a", 1, tokens); });
}

TEST_CASE("a vocabulary that contradicts itself is refused") {
    const auto refuse = [](const WordPieceVocabulary& v, std::string_view sentence) {
        check_error(ErrorCode::vocabulary, sentence, [&] { WordPiece{v}; });
    };
    refuse({}, "lacks the token '[CLS]', which stands in front of a text");
    refuse(vocabulary({"a", "b", "a"}), "has the token 'a' twice, with the ids 5 and 7");
    refuse(vocabulary({"[SEP]"}), "has the token '[SEP]' twice");
    for (const char* name : {"[UNK]", "[CLS]", "[SEP]"}) {
        WordPieceVocabulary v = vocabulary({"a"});
        std::erase(v.pieces, name);
        refuse(v, std::string{"lacks the token '"} + name + "'");
    }
    WordPieceVocabulary v = vocabulary({"", "a", ""});  // tokens without text are never found
    CHECK(pieces_of(WordPiece{v}, "a") == "a");
    v.cls = "";
    refuse(v, "lacks the token ''");
}

TEST_CASE("any bytes are tokenised, in linear time") {
    const WordPiece w{english()};
    std::mt19937 random{4};
    for (int run = 0; run < 300; ++run) {
        std::string text(random() % 60, ' ');
        for (char& c : text) c = static_cast<char>(random() % (run % 2 == 0 ? 256 : 128));
        const std::vector<TokenId> tokens = w.encode(text);
        // What is not UTF-8 counts for nothing.
        std::string valid = replace_invalid_utf8(text).text;
        CHECK(w.encode(valid) == tokens);
        for (std::size_t i = 1; i + 1 < tokens.size(); ++i) {
            CHECK(tokens[i] != 2);
            CHECK(tokens[i] != 3);
        }
    }
    WordPieceVocabulary deep = vocabulary({});
    for (std::size_t n = 1; n <= 99; ++n) {  // each prefix of a long piece is one, and none ends the word
        deep.pieces.push_back(std::string(n, 'a'));
        deep.pieces.push_back("##" + std::string(n, 'a'));
    }
    const WordPiece worst{deep};
    const auto begin = std::chrono::steady_clock::now();
    std::string all(1000000, 'a');
    CHECK(w.encode(all).size() == 3);
    CHECK(worst.encode(all).size() == 3);
    for (std::size_t i = 100; i < all.size(); i += 101) all[i] = ' ';
    CHECK(worst.encode(all).size() == 2 + 2 * (all.size() / 101 + 1));
    for (std::size_t i = 99; i < all.size(); i += 101) all[i] = 'b';
    CHECK(worst.encode(all).size() == 2 + all.size() / 101 + 1);
    std::string accents(1000000, 'e');
    for (std::size_t i = 1; i + 1 < accents.size(); i += 2) accents.replace(i, 2, "\u0301");
    CHECK(w.encode(accents).size() == 3);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    CHECK(seconds.count() < 60);  // a quadratic one takes hours
}

}  // namespace test_text_word_piece
