#include "flashback/policy/schedule.hpp"

#include <array>

#include <doctest/doctest.h>

using namespace flashback;

TEST_CASE("EveryNTokens fires before the first token and then every stride tokens") {
    constexpr EveryNTokens schedule{4};
    constexpr std::array<TokenId, 3> prompt{5, 6, 7};
    CHECK(schedule(StepView{prompt, 3, 0, 0}));
    CHECK_FALSE(schedule(StepView{prompt, 3, 1, 3}));
    CHECK(schedule(StepView{prompt, 3, 1, 4}));
    CHECK(schedule(StepView{prompt, 3, 1, 5}));
}

TEST_CASE("EveryNTokens refuses a stride of 0 in words") {
    CHECK_THROWS_WITH_AS(EveryNTokens{0}, "EveryNTokens needs a stride of at least 1 token, found 0", Error);
}

TEST_CASE("Never never retrieves, Once retrieves once") {
    constexpr std::array<TokenId, 3> prompt{5, 6, 7};
    CHECK_FALSE(Never{}(StepView{prompt, 3, 0, 0}));
    CHECK(Once{}(StepView{prompt, 3, 0, 0}));
    CHECK_FALSE(Once{}(StepView{prompt, 3, 1, 0}));
}

TEST_CASE("EveryNTokens has a stride of 16 unless told otherwise") {
    static_assert(EveryNTokens{}.stride() == 16);
    CHECK_FALSE(EveryNTokens{}(StepView{{}, 0, 1, 15}));
    CHECK(EveryNTokens{}(StepView{{}, 0, 1, 16}));
}

TEST_CASE("a lambda is a schedule, a thing that cannot be asked is none") {
    const auto at_start = [](const StepView& step) { return step.generated() == 0; };
    static_assert(RetrievalSchedule<decltype(at_start)> && !RetrievalSchedule<int>);
    constexpr std::array<TokenId, 3> context{5, 6, 7};
    CHECK(at_start(StepView{context, 3}));
    CHECK_FALSE(at_start(StepView{context, 2}));
}
