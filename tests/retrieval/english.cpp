#include "flashback/retrieval/english.hpp"
#include "flashback/text/normalise.hpp"
#include "flashback/text/unicode.hpp"

#include <cstddef>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

namespace test_retrieval_english {

using namespace flashback;

using Terms = std::vector<std::string>;

Terms terms(std::string_view text) {
    Terms found;
    const auto keep = [&found](std::string_view term) { found.emplace_back(term); };
    EnglishAnalyzer{}.analyze(text, keep);
    return found;
}

TEST_CASE("english: words as Unicode parts them") {
    CHECK(terms("") == Terms{});
    CHECK(terms("don't 3.14 1,000;5 U.S.A. x:y a.1 1.a") == Terms{"don't", "3.14", "1,000;5", "u.s.a", "x:y", "1", "1"});
    CHECK(terms("foo_bar __x__ _ __ 1_2") == Terms{"foo_bar", "__x__", "1_2"});
    CHECK(terms("x,y x;y 1:2 x..y x.'y 'x' .5 5.") == Terms{"x", "y", "x", "y", "1", "2", "x", "y", "x", "y", "x", "5", "5"});
    CHECK(terms("C++ C# x-y x/y") == Terms{"c", "c", "x", "y", "x", "y"});
    CHECK(terms("l\u00b7l x\u2019y") == Terms{"l\u00b7l", "x\u2019y"});
    CHECK(terms("e\u0301'\u0301e caf\u00e9.") == Terms{"\u00e9'\u0301e", "caf\u00e9"});
    CHECK(terms("x\xff.y") == Terms{"x", "y"});
}

TEST_CASE("english: possessives, upper case and stop words go") {
    CHECK(terms("John's JOHN'S John\u2019s John\uff07S Johns' John'") == Terms{"john", "john", "john", "john", "john", "john"});
    CHECK(terms("The cat AND a dog; that's it's") == Terms{"cat", "dog"});  // what is left of "that's" is a stop word
    CHECK(terms("o'neil's") == Terms{"o'neil"});
    CHECK(terms("a an and are as at be but by for if in into is it no not of on or such that the their then there these they "
                "this to was "
                "will with")
              .empty());
    CHECK(terms("were from") == Terms{"were", "from"});
}

TEST_CASE("english: endings go") {
    CHECK(terms("running runs flies happy relational conditional ponies") ==
          Terms{"run", "run", "fli", "happi", "relat", "condit", "poni"});
    CHECK(terms("generalizations oscillators hopefulness") == Terms{"gener", "oscil", "hope"});
    // Where Lucene follows Porter's program, and not his paper.
    CHECK(terms("possibly possible assemblies assembly assemble reliably") ==
          Terms{"possibl", "possibl", "assembl", "assembl", "assembl", "reliabl"});
    CHECK(terms("technology technologies technological apology logy blog bly bli logi") ==
          Terms{"technolog", "technolog", "technolog", "apolog", "logi", "blog", "bly", "bli", "logi"});
    CHECK(terms("us xs gas \u00e9s") == Terms{"us", "xs", "ga", "\u00e9s"});  // two letters stay
    CHECK(terms("na\u00efvet\u00e9s") == Terms{"na\u00efvet\u00e9"});
}

TEST_CASE("english: other scripts, long words, equivalent texts") {
    CHECK(terms("\u65e5\u672c\u8a9e texts") == Terms{"\u65e5\u672c", "\u672c\u8a9e", "text"});
    CHECK(terms("co\u00adoperat\u00ading") == terms("cooperating"));
    const Terms found = terms(std::string(1000, 'b'));
    REQUIRE(found.size() == 1);
    CHECK(found[0].size() == 255);
    std::mt19937 random{5};
    const char32_t letters[]{'a',   'S',   '\'', '.',   ':',   ',',    '_',    '1',    ' ', 0xb7,
                             0x387, 0x37e, ';',  0x301, 0x323, 0x304b, 0x3099, 0x212b, 0xad};
    for (int round = 0; round < 5000; ++round) {
        std::string text;
        for (std::size_t n = random() % 12; n > 0; --n) append_utf8(text, letters[random() % std::size(letters)]);
        const std::string composed = normal_form_c(text);
        CAPTURE(text);
        CHECK(terms(text) == terms(composed));
    }
}

TEST_CASE("english: an analyzer may be called from within, and by several threads") {
    Terms found;
    const auto keep = [&found](std::string_view term) { found.emplace_back(term); };
    const auto again = [&](std::string_view term) {
        EnglishAnalyzer{}.analyze("running quickly", keep);
        found.emplace_back(term);
    };
    EnglishAnalyzer{}.analyze("flies", again);
    CHECK(found == Terms{"run", "quickli", "fli"});

    const AnyAnalyzer shared = EnglishAnalyzer{};
    CHECK(shared.name() == "english");
    std::vector<std::size_t> counts(4, 0);
    std::vector<std::thread> threads;
    for (std::size_t& count : counts) {
        threads.emplace_back([&count, &shared] {
            const auto check = [&count](std::string_view term) { count += term == "relat" || term == "happi"; };
            for (int i = 0; i < 500; ++i) shared.analyze("Relational, happy", check);
        });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(counts == std::vector<std::size_t>(4, 1000));
}

}  // namespace test_retrieval_english
