#include "flashback/policy/reuse.hpp"

#include <array>

#include <doctest/doctest.h>

using namespace flashback;

TEST_CASE("the common prefix ends at the first difference or at the shorter end") {
    constexpr std::array<TokenId, 4> a{1, 2, 3, 4};
    constexpr std::array<TokenId, 4> b{1, 2, 9, 4};
    static_assert(common_prefix(a, b) == 2);
    CHECK(common_prefix(a, a) == 4);
    CHECK(common_prefix(a, TokenSpan{a}.first(3)) == 3);
    CHECK(common_prefix(TokenSpan{a}.first(3), a) == 3);
    CHECK(common_prefix(a, TokenSpan{a}.subspan(1)) == 0);
    CHECK(common_prefix({}, a) == 0);
    CHECK(common_prefix({}, {}) == 0);
}

TEST_CASE("KeepCommonPrefix keeps the common prefix, RecomputeAll nothing") {
    constexpr std::array<TokenId, 3> a{1, 2, 3};
    CHECK(KeepCommonPrefix{}(a, a) == 3);
    CHECK(KeepCommonPrefix{}(a, TokenSpan{a}.first(2)) == 2);
    CHECK(RecomputeAll{}(a, a) == 0);
}
