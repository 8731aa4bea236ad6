#include "flashback/policy/content_words.hpp"

#include <array>
#include <cstddef>
#include <string_view>

#include <doctest/doctest.h>

namespace test_policy_content_words {

using namespace flashback;

TEST_CASE("content words have a letter or a digit, and are none of those that are in every text") {
    std::string_view text;
    ContentWords counts{[&](TokenId) { return text; }};
    const auto is = [&](std::string_view of) {
        text = of;
        return counts(0);
    };
    for (const std::string_view word : {"compiler", " Compiler", "\xe2\x96\x81Paris", " 1984", "\xc3\xa9t\xc3\xa9", " (Berlin)",
                                        "\n\nRome", "\xe5\x8c\x97"}) {
        CAPTURE(word);
        CHECK(is(word));
    }
    for (const std::string_view word : {"", " ", ".", "\n", " the", "The", "\xe2\x96\x81of", " (the", " which,", "'s", "--",
                                        "\xe2\x80\x9c", "\xc2\xab", "\xe2\x96\x81", " \xe2\x80\x94", "yourselves", "a"}) {
        CAPTURE(word);
        CHECK_FALSE(is(word));
    }
}

TEST_CASE("a token continues a word if it begins with a letter or a digit") {
    std::string_view text;
    ContentWords counts{[&](TokenId) { return text; }};
    const auto continues = [&](std::string_view of) {
        text = of;
        return counts.continues(0);
    };
    for (const std::string_view word : {"ing", "s", "84", "\xc3\xa9", "the"}) CHECK(continues(word));
    for (const std::string_view word : {"", " ing", ".", "'s", "\xe2\x96\x81ing", "\n", "\xe2\x80\x9c"})
        CHECK_FALSE(continues(word));
}

TEST_CASE("a detokenizer may give characters") {
    ContentWords counts{[](TokenId token) { return static_cast<char>(token); }};
    CHECK(counts('q'));
    CHECK_FALSE(counts('a'));
    CHECK_FALSE(counts('.'));
    static_assert(ContentWord<decltype(counts)> && ContentWord<EveryToken>);
}

}  // namespace test_policy_content_words
