#include "flashback/policy/stopping.hpp"

#include "flashback/core/random.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;

namespace {

using Strings = std::vector<std::string>;

static_assert(std::is_empty_v<NeverStop>&& noexcept(NeverStop{}(StepView{})));

/// A text that grows token by token; a token is the number of a piece.
struct Typed {
    Strings pieces;
    std::vector<TokenId> context{7};  // a prompt, which no criterion may look at
    std::string whole;                // all pieces together, from the start

    TokenId token_of(const std::string& piece) {
        pieces.push_back(piece);
        return static_cast<TokenId>(pieces.size() - 1);
    }
    template <class Stopping>
    bool type(Stopping& stopping, const std::string& piece) {
        context.push_back(token_of(piece));
        whole += piece;
        return stopping(StepView{context, 1});
    }
    void take_back(std::size_t tokens) {
        for (; tokens > 0; --tokens, context.pop_back())
            whole.resize(whole.size() - pieces[static_cast<std::size_t>(context.back())].size());
    }
    auto detokenizer() const {
        return [this](TokenId token) { return pieces.at(static_cast<std::size_t>(token)); };
    }
};

/// Where the first of the strings begins in a text.
std::size_t first_of(const Strings& strings, std::string_view text) {
    for (std::size_t at = 0; at < text.size(); ++at) {
        for (const std::string& string : strings) {
            if (text.substr(at).starts_with(string)) return at;
        }
    }
    return std::string::npos;
}

std::string random_string(SplitMix64& random, std::size_t least, std::size_t most, std::string_view letters) {
    std::string out(least + random.below(most - least + 1), ' ');
    for (char& c : out) c = letters[random.below(letters.size())];
    return out;
}

/// Types the pieces one by one; whether and where it stopped.
std::pair<std::size_t, std::string> typed(const Strings& strings, const Strings& pieces) {
    Typed text;
    StopStrings stopping{strings, text.detokenizer()};
    for (std::size_t i = 0; i < pieces.size(); ++i) {
        if (text.type(stopping, pieces[i])) return {i, stopping.text()};
    }
    return {pieces.size(), stopping.text()};
}

using Stopped = std::pair<std::size_t, std::string>;

}  // namespace

TEST_CASE("a stop string is found wherever the tokens are cut, and the text ends in front of it") {
    CHECK(typed({"stop"}, {"no s", "top here"}) == Stopped{1, "no "});
    CHECK(typed({"stop"}, {"s", "t", "o", "p"}) == Stopped{3, ""});
    CHECK(typed({"stop"}, {"xs", "", "t", "", "op", "y"}) == Stopped{4, "x"});
    CHECK(typed({"stop"}, {"a stop in a token"}) == Stopped{0, "a "});
    CHECK(typed({"stop"}, {"sto", "sto", "pp"}) == Stopped{2, "sto"});
    CHECK(typed({"aab"}, {"a", "a", "a", "b"}) == Stopped{3, "a"});
    CHECK(typed({"stop"}, {"sto", "", "ne"}) == Stopped{3, "stone"});
}

TEST_CASE("of several stop strings the one that begins first counts, also where they overlap") {
    CHECK(typed({"world", "lo w"}, {"hello ", "wor", "ld"}) == Stopped{1, "hel"});
    CHECK(typed({"b", "abc"}, {"a", "b", "c"}) == Stopped{1, "a"});
    CHECK(typed({"b", "abc"}, {"abc"}) == Stopped{0, ""});
    CHECK(typed({"abcd", "bc"}, {"ab", "cd"}) == Stopped{1, ""});
    CHECK(typed({"abcd", "bc"}, {"ab", "c", "d"}) == Stopped{1, "a"});
    CHECK(typed({"x", "x"}, {"ax"}) == Stopped{0, "a"});
}

TEST_CASE("no stop strings never stop, and the text is kept all the same") { CHECK(typed({}, {"a", "b"}) == Stopped{2, "ab"}); }

TEST_CASE("stop strings of several bytes to a character are found where tokens cut the characters") {
    CHECK(typed({"\xe2\x82\xac"}, {"5 \xe2", "\x82", "\xac!"}) == Stopped{2, "5 "});
    CHECK(typed({"\xc3\xa9"}, {"caf\xc3", "\xa8", "\xc3\xa9"}) == Stopped{2, "caf\xc3\xa8"});
    const std::string zero{"a\0b", 3};
    CHECK(typed({zero}, {std::string{"xa"}, std::string{"\0b", 2}}) == Stopped{1, "x"});
}

TEST_CASE("any text that a detokenizer gives will do: a view, a pointer, a character") {
    const std::array<TokenId, 2> context{7, 1};
    const auto stops = [&](auto detokenize) { return StopStrings{{"a"}, detokenize}(StepView{context, 1}); };
    CHECK(stops([](TokenId) { return std::string_view{"xa"}; }));
    CHECK(stops([](TokenId) { return "xa"; }));
    CHECK(stops([](TokenId) { return 'a'; }));
    CHECK_FALSE(stops([](TokenId) { return 'b'; }));
}

TEST_CASE("random texts, strings and rewinds stop where a search of the whole text does") {
    SplitMix64 random{17};
    std::size_t stops = 0;
    std::size_t straddled = 0;
    for (int round = 0; round < 4000; ++round) {
        Strings strings(random.below(5));
        for (std::string& string : strings) string = random_string(random, 1, 6, round % 2 ? "ab" : "abc");
        Typed text;
        StopStrings stopping{strings, text.detokenizer()};
        for (int step = 0; step < 40; ++step) {
            if (text.context.size() > 1 && random.below(8) == 0) text.take_back(random.below(text.context.size()));
            const std::size_t before = text.whole.size();
            const std::string piece = random_string(random, 0, 3, round % 2 ? "ab" : "abc");
            const bool stopped = text.type(stopping, piece);
            const std::size_t first = first_of(strings, text.whole);
            REQUIRE(stopped == (first != std::string::npos));
            REQUIRE(stopping.text() == text.whole.substr(0, first));
            if (!stopped) continue;
            ++stops;
            if (first + 1 < before) ++straddled;
            break;
        }
    }
    CHECK(stops > 1000);
    CHECK(straddled > 200);
}

TEST_CASE("what is settled is never taken back, and no more is held back than must be") {
    SplitMix64 random{23};
    std::size_t held_back = 0;
    for (int round = 0; round < 3000; ++round) {
        Strings strings(1 + random.below(3));
        for (std::string& string : strings) string = random_string(random, 1, 5, "ab");
        Typed text;
        StopStrings stopping{strings, text.detokenizer()};
        std::string shown;
        bool stopped = false;
        for (int step = 0; step < 30 && !stopped; ++step) {
            stopped = text.type(stopping, random_string(random, 0, 2, "aab"));
            REQUIRE(stopping.settled() <= stopping.text().size());
            REQUIRE(stopping.text().starts_with(shown));
            REQUIRE(stopping.settled() >= shown.size());
            shown = stopping.text().substr(0, stopping.settled());
            if (stopped || shown == stopping.text()) continue;

            // Something can still follow that makes exactly the rest the start of a stop string.
            ++held_back;
            const std::string rest = stopping.text().substr(shown.size());
            const auto begun = std::ranges::find_if(
                strings, [&](const std::string& string) { return string.size() > rest.size() && string.starts_with(rest); });
            REQUIRE(begun != strings.end());
            auto other = stopping;
            Typed& same = text;  // the detokenizer of the copy looks into it
            same.context.push_back(same.token_of(begun->substr(rest.size())));
            REQUIRE(other(StepView{same.context, 1}));
            REQUIRE(other.text() == shown);
            same.context.pop_back();
        }
        if (stopped) REQUIRE(stopping.settled() == stopping.text().size());
    }
    CHECK(held_back > 1000);
}

TEST_CASE("a rewind takes the text back and a stop string that stood in it") {
    Typed text;
    StopStrings stopping{{"abc"}, text.detokenizer()};
    CHECK_FALSE(text.type(stopping, "xa"));
    CHECK_FALSE(text.type(stopping, "b"));
    text.take_back(1);
    CHECK_FALSE(text.type(stopping, "c"));
    CHECK(stopping.text() == "xac");
    text.take_back(2);
    CHECK_FALSE(text.type(stopping, "bc"));
    CHECK(stopping.text() == "bc");
    CHECK_FALSE(text.type(stopping, "a"));
    CHECK(text.type(stopping, "bcd"));
    CHECK(stopping.text() == "bc");
    text.take_back(1);
    CHECK_FALSE(text.type(stopping, "d"));
    CHECK(stopping.text() == "bcad");
    CHECK(stopping.settled() == 4);
}

TEST_CASE("a rewind that is told takes the text back at once") {
    Typed text;
    StopStrings stopping{{"abc"}, text.detokenizer()};
    for (const char* piece : {"x", "y", "ab"}) CHECK_FALSE(text.type(stopping, piece));
    stopping.rewind(0);
    CHECK(stopping.text() == "xyab");
    stopping.rewind(2);
    text.take_back(2);
    CHECK(stopping.text() == "x");
    CHECK(stopping.settled() == 1);
    CHECK(text.type(stopping, "abcd"));
    stopping.rewind(1);
    text.take_back(1);
    CHECK(stopping.text() == "x");
    CHECK_FALSE(text.type(stopping, "bc"));
    CHECK(stopping.text() == "xbc");
    stopping.rewind(9);
    CHECK(stopping.text().empty());
}

TEST_CASE("whoever goes on after a stop string finds the whole text there") {
    Typed text;
    StopStrings stopping{{"stop"}, text.detokenizer()};
    CHECK(text.type(stopping, "a stop and"));
    CHECK(stopping.text() == "a ");
    CHECK_FALSE(text.type(stopping, " on"));
    CHECK(stopping.text() == "a stop and on");
    CHECK(text.type(stopping, " stop"));
    CHECK(stopping.text() == "a stop and on ");
}

TEST_CASE("reset forgets the text, and the next generation starts with its first token") {
    Typed text;
    StopStrings stopping{{"ab"}, text.detokenizer()};
    CHECK(text.type(stopping, "xab"));
    stopping.reset();
    CHECK(stopping.text().empty());
    CHECK(stopping.settled() == 0);
    text.take_back(1);
    CHECK_FALSE(text.type(stopping, "a"));
    stopping.reset();
    text.take_back(1);
    CHECK_FALSE(text.type(stopping, "b"));
    CHECK(stopping.text() == "b");
}

TEST_CASE("an empty stop string is refused in words") {
    const auto make = [] { return StopStrings{{"a", ""}, [](TokenId) { return "x"; }}; };
    CHECK_THROWS_WITH_AS(make(), "a stop string is empty, expected at least 1 character", Error);
}

TEST_CASE("a lambda is a stopping criterion") {
    const auto at_three = [](const StepView& step) { return step.generated() == 3; };
    static_assert(StoppingCriterion<decltype(at_three)> && StoppingCriterion<NeverStop> && !StoppingCriterion<int>);
    const std::array<TokenId, 4> context{1, 2, 3, 4};
    CHECK(at_three(StepView{context, 1}));
    CHECK_FALSE(NeverStop{}(StepView{context, 1}));
}
