#include "flashback/policy/query.hpp"

#include <array>
#include <cstddef>

#include <doctest/doctest.h>

using namespace flashback;

TEST_CASE("LastNTokens takes the newest tokens, or all if there are fewer") {
    constexpr std::array<TokenId, 4> generated{5, 6, 7, 8};
    const auto taken = [&](std::size_t count, TokenSpan text) { return LastNTokens{count}(StepView{text, 1}).tokens; };
    CHECK(taken(2, generated).data() == generated.data() + 2);
    CHECK(taken(2, generated).size() == 2);
    CHECK(taken(4, generated).size() == 4);
    CHECK(taken(5, generated).size() == 4);
    CHECK(taken(5, {}).empty());
    CHECK(LastNTokens{}(StepView{generated, 1}).text.empty());
}

TEST_CASE("LastNTokens takes 32 tokens unless told otherwise") {
    constexpr std::array<TokenId, 40> generated{};
    CHECK(LastNTokens{}(StepView{generated, 1}).tokens.size() == 32);
}

TEST_CASE("LastNTokens refuses a query of 0 tokens in words") {
    CHECK_THROWS_WITH_AS(LastNTokens{0}, "LastNTokens needs a query of at least 1 token, found 0", Error);
}
