// The user-defined tokens of a text, against a search that tries each of them at each place, and in counted steps.
#include "flashback/text/detail/token_finder.hpp"

#include "support/errors.hpp"

#include <algorithm>
#include <cstddef>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

namespace test_text_token_finder {

using namespace flashback;
using detail::TokenFinder;

namespace {

TokenFinder finder_of(const std::vector<std::string>& pieces) {
    std::vector<TokenFinder::Entry> entries;
    for (std::size_t i = 0; i < pieces.size(); ++i) entries.emplace_back(pieces[i], static_cast<TokenId>(i));
    return TokenFinder{std::move(entries)};
}

/// The longest piece at each place, -1 for none.
std::vector<TokenId> found(const TokenFinder& finder, std::string_view text) {
    std::vector<TokenId> longest(text.size(), -1);
    std::size_t before = text.size();
    for (const TokenFinder::Match& match : finder.find(text)) {
        REQUIRE(match.at < before);  // the last first, each place once
        before = match.at;
        longest[match.at] = match.token;
    }
    return longest;
}

std::vector<TokenId> tried(const std::vector<std::string>& pieces, std::string_view text) {
    std::vector<TokenId> longest(text.size(), -1);
    for (std::size_t at = 0; at < text.size(); ++at) {
        std::size_t length = 0;
        for (std::size_t i = 0; i < pieces.size(); ++i) {
            if (pieces[i].size() <= length || !text.substr(at).starts_with(pieces[i])) continue;
            length = pieces[i].size();
            longest[at] = static_cast<TokenId>(i);
        }
    }
    return longest;
}

std::size_t steps(const TokenFinder& finder, std::string_view text) {
    std::size_t count = 0;
    static_cast<void>(finder.find(text, [&] { ++count; }));
    return count;
}

}  // namespace

TEST_CASE("the longest piece at each place of a text is found, whatever pieces have in common") {
    std::mt19937 random{7};
    const auto below = [&](unsigned n) { return static_cast<unsigned>(random() % n); };
    for (int round = 0; round < 400; ++round) {
        const unsigned letters = 1 + below(3);
        const auto text_of = [&](unsigned most) {
            std::string text(1 + below(most), 'a');
            for (char& c : text) c = static_cast<char>(below(8) == 0 ? 0xff - below(2) : 'a' + below(letters));
            return text;
        };
        std::vector<std::string> pieces;
        for (unsigned n = below(12); n > 0; --n) {
            const std::string piece = text_of(6);
            if (std::ranges::find(pieces, piece) == pieces.end()) pieces.push_back(piece);
        }
        const TokenFinder finder = finder_of(pieces);
        for (int i = 0; i < 5; ++i) {
            const std::string text = text_of(40);
            CAPTURE(text);
            REQUIRE(found(finder, text) == tried(pieces, text));
        }
        CHECK(finder.find("").empty());
    }
}

TEST_CASE("hostile 37: thousands of user-defined tokens that have all in common are found in linear time") {
    // Each begins a token at almost every place, and ends as another one: a search at each place looks at 500 bytes or 500 tokens.
    std::vector<std::string> pieces;
    for (std::size_t n = 1; n <= 500; ++n) pieces.push_back(std::string(n, 'a') + 'b');
    for (std::size_t n = 1; n <= 500; ++n) pieces.push_back('c' + std::string(n, 'a'));
    const TokenFinder finder = finder_of(pieces);
    std::string mixed;
    while (mixed.size() < 20'000) mixed += 'c' + std::string(499, 'a');
    for (const std::string& text : {std::string(20'000, 'a'), std::string(20'000, 'b'), mixed}) {
        const std::size_t once = steps(finder, text);
        CHECK(once <= 2 * text.size());
        CHECK(steps(finder, text + text) <= 2 * once + 1000);
    }
}

TEST_CASE("no piece, and one that comes twice") {
    CHECK(TokenFinder{}.find("abc").empty());
    CHECK(finder_of({}).find("abc").empty());
    flashback_test::check_error(ErrorCode::vocabulary, "the user-defined tokens 0 and 2 have the same text '?[2J'", [] {
        finder_of({"\x1b[2J", "x", "\x1b[2J"});
    });
}

}  // namespace test_text_token_finder
