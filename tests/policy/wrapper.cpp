#include "flashback/policy/wrapper.hpp"

#include <array>

#include <doctest/doctest.h>

using namespace flashback;

namespace {

constexpr std::array<TokenId, 2> passage{7, 8};

}  // namespace

TEST_CASE("NoMarkers adds the passage alone") {
    TokenBuffer out{1};
    NoMarkers{}(passage, out);
    CHECK(out == TokenBuffer{1, 7, 8});
    CHECK(markers_of(NoMarkers{}).empty());
}

TEST_CASE("MarkerTokens puts one token on each side and names them") {
    constexpr MarkerTokens markers{100, 101};
    TokenBuffer out{1};
    markers(passage, out);
    markers({}, out);
    CHECK(out == TokenBuffer{1, 100, 7, 8, 101, 100, 101});
    REQUIRE(markers_of(markers).size() == 2);
    CHECK(markers_of(markers)[0] == 100);
    CHECK(markers_of(markers)[1] == 101);
}

TEST_CASE("MarkerText puts a text on each side, either of which may be empty, and masks nothing") {
    const auto wrapped = [](const MarkerText& wrapper, TokenSpan tokens) {
        TokenBuffer out{1};
        wrapper(tokens, out);
        wrapper({}, out);
        return out;
    };
    CHECK(wrapped({{10, 11}, {12}}, passage) == TokenBuffer{1, 10, 11, 7, 8, 12, 10, 11, 12});
    CHECK(wrapped({{}, {12}}, passage) == TokenBuffer{1, 7, 8, 12, 12});
    CHECK(wrapped({{10}, {}}, passage) == TokenBuffer{1, 10, 7, 8, 10});
    CHECK(wrapped({{}, {}}, passage) == TokenBuffer{1, 7, 8});
    CHECK(markers_of(MarkerText{{10}, {12}}).empty());
}

TEST_CASE("a wrapper whose markers are no tokens has none") {
    struct Named {
        static const char* markers() { return "[]"; }
        void operator()(TokenSpan tokens, TokenBuffer& out) const { append(out, tokens); }
    };
    CHECK(markers_of(Named{}).empty());
}

TEST_CASE("a lambda is a wrapper without markers") {
    const auto twice = [](TokenSpan tokens, TokenBuffer& out) {
        append(out, tokens);
        append(out, tokens);
    };
    static_assert(MarkerWrapper<decltype(twice)> && !MarkerWrapper<int>);
    TokenBuffer out;
    twice(passage, out);
    CHECK(out == TokenBuffer{7, 8, 7, 8});
    CHECK(markers_of(twice).empty());
}
