#include "flashback/retrieval/analyzer.hpp"
#include "flashback/retrieval/token_analyzer.hpp"
#include "flashback/text/normalise.hpp"
#include "flashback/text/unicode.hpp"

#include <cstddef>
#include <iterator>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

namespace test_retrieval_analyzer {

using namespace flashback;

using Terms = std::vector<std::string>;

template <class A>
Terms terms(const A& analyzer, std::string_view text) {
    Terms found;
    const auto keep = [&found](std::string_view term) { found.emplace_back(term); };
    analyzer.analyze(text, keep);
    return found;
}

Terms words(std::string_view text) { return terms(WordAnalyzer{}, text); }

TEST_CASE("words: letters, marks and digits in lower case") {
    CHECK(words("") == Terms{});
    CHECK(words(" .,;-\n") == Terms{});
    CHECK(words("The cat, the CAT.") == Terms{"the", "cat", "the", "cat"});
    CHECK(words("x86-64_v3 don't 3.14") == Terms{"x86", "64", "v3", "don", "t", "3", "14"});
    CHECK(words("NA\u00cfVE \u0394\u03a3 \u041c\u041e\u0421\u041a\u0412\u0410") ==
          Terms{"na\u00efve", "\u03b4\u03c3", "\u043c\u043e\u0441\u043a\u0432\u0430"});
    CHECK(words("\u0928\u092e\u0938\u094d\u0924\u0947 \ud55c\uad6d\uc5b4") ==
          Terms{"\u0928\u092e\u0938\u094d\u0924\u0947", "\ud55c\uad6d\uc5b4"});
    CHECK(words("\u0130 a\u00d7b\u00f7c") == Terms{"i", "a", "b", "c"});
}

TEST_CASE("words: bytes that are not UTF-8 part words") {
    CHECK(words("a\xff"
                "b") == Terms{"a", "b"});
    CHECK(words("\xc3") == Terms{});
    CHECK(words("caf\xc3") == Terms{"caf"});
    CHECK(words("\xe4\xb8") == Terms{});
    CHECK(words(std::string_view{"a\0b", 3}) == Terms{"a", "b"});
}

TEST_CASE("words: scripts without spaces become pairs of neighbours") {
    CHECK(words("\u65e5") == Terms{"\u65e5"});
    CHECK(words("\u65e5\u672c") == Terms{"\u65e5\u672c"});
    CHECK(words("\u65e5\u672c\u8a9e") == Terms{"\u65e5\u672c", "\u672c\u8a9e"});
    CHECK(words("\u65e5\u3002\u672c") == Terms{"\u65e5", "\u672c"});
    CHECK(words("\u30c7\u30fc\u30bf") == Terms{"\u30c7\u30fc", "\u30fc\u30bf"});
    CHECK(words("iPhone\u624b\u673a5G") == Terms{"iphone", "\u624b\u673a", "5g"});
    CHECK(words("\U00020000\U00020001") == Terms{"\U00020000\U00020001"});
    // Thai: a vowel sign above belongs to its consonant. Lao, Khmer, Myanmar.
    CHECK(words("\u0e01\u0e34\u0e19") == Terms{"\u0e01\u0e34\u0e19"});
    CHECK(words("\u0e01\u0e34\u0e19\u0e19\u0e34") == Terms{"\u0e01\u0e34\u0e19", "\u0e19\u0e19\u0e34"});
    CHECK(words("\u0e81\u0e82\u0e84") == Terms{"\u0e81\u0e82", "\u0e82\u0e84"});
    CHECK(words("\u1780\u1781\u1782") == Terms{"\u1780\u1781", "\u1781\u1782"});
    CHECK(words("\u1000\u1001\u1002") == Terms{"\u1000\u1001", "\u1001\u1002"});
}

TEST_CASE("words: equivalent texts give the same terms") {
    CHECK(words("cafe\u0301") == Terms{"caf\u00e9"});
    CHECK(words("\u304b\u3099\u304b") == Terms{"\u304c\u304b"});
    CHECK(words("\u212bngstr\u00f6m") == words("A\u030angstro\u0308m"));
    CHECK(words("I\u0307") == words("\u0130"));
    CHECK(words("\u2260 =\u0338") == Terms{});  // a mark of something that is no word is no word either
    CHECK(words("e\u0323\u0302") == words("e\u0302\u0323"));
    CHECK(words("\u1112\u1161\u11ab") == Terms{"\ud55c"});

    std::mt19937 random{3};
    const char32_t letters[]{'a',    'E',    ' ',    '=',    0xc5,  0x1e69, 0x300,   0x301,  0x323,  0x338,  0x345,
                             0x1100, 0x1161, 0x11a8, 0xac00, 0x915, 0x93c,  0x212b,  0x304b, 0x3099, 0x30ab, 0x65e5,
                             0xf900, 0xe01,  0xe34,  0xe48,  0xad,  0x200d, '+',     '#',    0x1fc1, 0x2260, 0x1000,
                             0x102e, 0x1025, 0x439,  0x390,  0x958, 0xfb1d, 0x1d15e, 0x37e,  0x387};
    for (int round = 0; round < 5000; ++round) {
        std::string text;
        for (std::size_t n = random() % 12; n > 0; --n) append_utf8(text, letters[random() % std::size(letters)]);
        CAPTURE(text);
        CHECK(words(text) == words(normal_form_c(text)));
    }
}

TEST_CASE("words: what nobody sees parts no word, and a zero width space does") {
    CHECK(words("co\u00adoper\u00adate") == Terms{"cooperate"});
    CHECK(words("\u00adsoft\u00ad \ufeffmark") == Terms{"soft", "mark"});
    CHECK(words("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645") == Terms{"\u0645\u06cc\u062e\u0648\u0627\u0647\u0645"});
    CHECK(words("e\u200d\u0301") == Terms{"\u00e9"});
    CHECK(words("\u845b\U000e0100\u57ce") == Terms{"\u845b\u57ce"});
    CHECK(words("zero\u200bwidth") == Terms{"zero", "width"});
    CHECK(words("\u00ad\u200d") == Terms{});
}

TEST_CASE("words: C, C++ and C# differ") {
    CHECK(words("C C++ C# F# g++ c") == Terms{"c", "c++", "c#", "f#", "g++", "c"});
    CHECK(words("(C++)") == Terms{"c++"});
    CHECK(words("C++.") == Terms{"c++"});
    CHECK(words("C++11 C#x a++b") == Terms{"c", "11", "c", "x", "a", "b"});
    CHECK(words("C++\u00e9 C#\u65e5") == Terms{"c", "\u00e9", "c", "\u65e5"});
    CHECK(words("C++\u0301 C#\u0301") == Terms{"c", "c"});
    CHECK(words("C+ C+++ ++ # #1 ##") == Terms{"c", "c++", "1"});
    CHECK(words("\u65e5++") == Terms{"\u65e5"});
    CHECK(words("\u00c9++ \u00e9#") == Terms{"\u00e9++", "\u00e9#"});
    CHECK(words("C#") == Terms{"c#"});
}

TEST_CASE("words: of a long term the whole characters in the first 255 bytes stay") {
    CHECK(words(std::string(255, 'A')) == Terms{std::string(255, 'a')});
    CHECK(words(std::string(1000, 'a') + " b") == Terms{std::string(255, 'a'), "b"});
    std::string accents, expected;
    for (int i = 0; i < 200; ++i) accents += "\u00c9";
    for (int i = 0; i < 127; ++i) expected += "\u00e9";
    CHECK(words(accents) == Terms{expected});
    std::string marks = "\u0e01";
    for (int i = 0; i < 1000; ++i) marks += "\u0e34";
    const Terms found = words(marks + "\u0e19");
    REQUIRE(found.size() == 1);
    CHECK(found[0].size() == 255);
}

TEST_CASE("words: a megabyte of anything takes linear time") {
    for (const char* part :
         {"a", "\u0301", "e\u0301", "\u65e5", "a\u00ad", "\u00ad", "a.", "a++", "#", "\xff", "\u0e01\u0e34"}) {
        std::string text = "x";
        while (text.size() < 1'000'000) text += part;
        std::size_t count = 0;
        const auto add = [&count](std::string_view term) { count += term.size() < 256; };
        WordAnalyzer{}.analyze(text, add);
        CHECK(count >= 1);
    }
}

TEST_CASE("words: an exception of the caller passes through") {
    const auto fail = [](std::string_view) { throw std::runtime_error{"enough"}; };
    CHECK_THROWS_WITH(WordAnalyzer{}.analyze("a b", fail), "enough");
}

struct Letters {
    void analyze(std::string_view text, FunctionRef<void(std::string_view)> on_term) const {
        for (std::size_t i = 0; i < text.size(); ++i) on_term(text.substr(i, 1));
    }
    std::string name() const { return "letters of one byte, and a name that is not short"; }
};

TEST_CASE("any analyzer holds words, or another") {
    const AnyAnalyzer none;
    CHECK(none.name() == "words");
    CHECK(terms(none, "A b") == Terms{"a", "b"});
    AnyAnalyzer letters = Letters{};
    const AnyAnalyzer copy = letters;
    CHECK(copy.name() == Letters{}.name());
    CHECK(terms(copy, "Ab") == Terms{"A", "b"});
    const AnyAnalyzer moved = std::move(letters);
    CHECK(terms(moved, "Ab") == Terms{"A", "b"});
    CHECK_THROWS_AS(static_cast<void>(letters.name()), Error);  // NOLINT(*use-after-move)
}

TEST_CASE("tokens: four bytes each") {
    Codec codec;
    codec.fingerprint = 0xfedcba9876543210;
    CHECK_THROWS_AS(TokenAnalyzer{codec}, Error);
    codec.encode = [](std::string_view text) {
        std::vector<TokenId> tokens;
        for (const char c : text) tokens.push_back(c == '!' ? 0x01020304 : c - 'a');
        return tokens;
    };
    const TokenAnalyzer analyzer{codec};
    CHECK(analyzer.name() == "tokens fedcba9876543210");
    CHECK(terms(analyzer, "") == Terms{});
    CHECK(terms(analyzer, "b!") == Terms{std::string{"\1\0\0\0", 4}, "\4\3\2\1"});
    CHECK(AnyAnalyzer{analyzer}.name() == analyzer.name());
}

}  // namespace test_retrieval_analyzer
