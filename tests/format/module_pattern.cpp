// Expressions over module names against those of the standard library.
#include "flashback/format/module_pattern.hpp"

#include "flashback/core/random.hpp"
#include "support/errors.hpp"

#include <cstddef>
#include <regex>
#include <string>

#include <doctest/doctest.h>

using namespace flashback;
using flashback_test::check_error;

namespace {

const std::string letters = "ab.0_";

/// An expression of a small grammar that Python and ECMAScript read alike.
std::string random_expression(SplitMix64& random, std::size_t depth) {
    const auto below = [&](std::size_t n) { return static_cast<std::size_t>(random.below(n)); };
    const auto atom = [&]() -> std::string {
        switch (below(depth == 0 ? 7 : 10)) {
            case 0: return ".";
            case 1: return "\\.";
            case 2: return "\\d";
            case 3: return "[ab_]";
            case 4: return "[^a.]";
            case 5: return "\\w";
            case 6: return std::string(1, "ab0_"[below(4)]);
            case 7: return "(?:" + random_expression(random, depth - 1) + ")";
            default: return "(" + random_expression(random, depth - 1) + ")";
        }
    };
    std::string text;
    const std::size_t count = below(4);
    for (std::size_t i = 0; i < count; ++i) {
        if (i > 0 && below(4) == 0) text += '|';
        text += atom();
        constexpr const char* repeats[]{"", "", "", "*", "+", "?", "{2}", "{1,3}", "{2,}", "*?"};
        text += repeats[below(10)];
    }
    return text;
}

}  // namespace

TEST_CASE("names match as the standard library finds") {
    SplitMix64 random{4};
    std::size_t matches = 0;
    std::size_t ends = 0;
    for (std::size_t i = 0; i < 600; ++i) {
        const std::string text = random_expression(random, 2);
        CAPTURE(text);
        const ModulePattern pattern{text};
        const std::regex whole{text};
        const std::regex end{"(?:.*\\.)?(?:" + text + ")"};
        for (std::size_t j = 0; j < 12; ++j) {
            std::string name;
            for (std::size_t n = static_cast<std::size_t>(random.below(6)); n > 0; --n)
                name += letters[static_cast<std::size_t>(random.below(letters.size()))];
            CAPTURE(name);
            const bool expected = std::regex_match(name, whole);
            const bool expected_end = std::regex_match(name, end);
            CHECK(pattern.matches(name) == expected);
            CHECK(pattern.matches_end(name) == expected_end);
            matches += expected;
            ends += expected_end && !expected;
        }
    }
    CHECK(matches > 200);
    CHECK(ends > 200);
}

TEST_CASE("places, escapes and braces that are characters") {
    CHECK(ModulePattern{"^a$"}.matches("a"));
    CHECK(ModulePattern{"^b"}.matches_end("b"));
    CHECK_FALSE(ModulePattern{"^b"}.matches_end("a.b"));
    CHECK(ModulePattern{"\\Aq_proj\\Z"}.matches("q_proj"));
    CHECK(ModulePattern{".*\\bproj"}.matches("q.proj"));
    CHECK_FALSE(ModulePattern{".*\\bproj"}.matches("q_proj"));
    CHECK(ModulePattern{".*\\Bproj"}.matches("q_proj"));
    CHECK(ModulePattern{"a{,2}"}.matches("aa"));
    CHECK_FALSE(ModulePattern{"a{,2}"}.matches("aaa"));
    CHECK(ModulePattern{"a{x}"}.matches("a{x}"));
    CHECK(ModulePattern{"a{"}.matches("a{"));
    CHECK(ModulePattern{"[]a-c\\-]+"}.matches("]b-"));
    CHECK(ModulePattern{"[a\\d-]+"}.matches("1-a"));
    CHECK(ModulePattern{"(?P<name>q|k)_proj"}.matches("k_proj"));
    CHECK(ModulePattern{"(a*)*(b|)+"}.matches("aab"));
    CHECK(ModulePattern{""}.matches(""));
    CHECK_FALSE(ModulePattern{""}.matches("a"));
    CHECK(ModulePattern{"\\S\\s\\D\\W"}.matches("a a."));
}

TEST_CASE("no expression takes exponential time or boundless memory") {
    const std::string name(60, 'a');
    CHECK_FALSE(ModulePattern{"(a*)*(a*)*(a|aa)*(a|a)*b"}.matches(name));
    CHECK_FALSE(ModulePattern{"((((a+)+)+)+)+b"}.matches_end(name + '.' + name));
    const auto refuse = [](const std::string& text, const char* sentence, ErrorCode code = ErrorCode::format) {
        check_error(code, sentence, [&] { ModulePattern{text}; });
    };
    refuse("(((a{60}){60}){60}){60}", "is too large: more than 248 steps for 23 characters");
    refuse(std::string(600, '.') + "{8}(a{9}){500}", "is too large: more than 4096 steps for 614 characters");
    refuse("a{99999999}", "repeats more than 4096 times");
    refuse("(|){5000}", "repeats more than 4096 times");
    refuse("(|){4000}", "is too large: more than 136 steps for 9 characters");
    refuse("a{99999999999999999999999}", "repeats more than 4096 times");
    refuse(std::string(5000, 'a'), "has 5000 characters, expected at most 4096");
    refuse(std::string(1000, '('), "has groups in groups, more than 64 deep");
    refuse("a)", "closes a group that was not opened at character 1");
    refuse("(a", "opens a group that is not closed");
    refuse("[a", "has a class without end");
    refuse("[a-\\", "ends in a backslash");
    refuse("[\\", "has a class without end");
    refuse("[b-a]", "has a range of characters that ends before it begins");
    refuse("a\\", "ends in a backslash");
    refuse("+", "repeats nothing at character 0");
    refuse("^*", "repeats what has no length at character 0");
    refuse("a**", "repeats twice at character 2");
    refuse("a{3,2}", "repeats at least 3 and at most 2 times");
    refuse("(?P<x", "has a name of a group without end");
    refuse("(?i)a", "has a group of a kind that is not implemented at character 2", ErrorCode::unsupported);
    refuse("(a)\\1", "has the escape \\1, which is not implemented", ErrorCode::unsupported);
    refuse("a*+", "has a possessive quantifier", ErrorCode::unsupported);
}
