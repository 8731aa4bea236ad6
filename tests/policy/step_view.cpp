#include "flashback/policy/step_view.hpp"

#include <array>

#include <doctest/doctest.h>

using namespace flashback;

TEST_CASE("a step tells what was generated and the newest token") {
    constexpr std::array<TokenId, 5> context{1, 2, 3, 4, 5};
    CHECK(StepView{context, 3}.generated() == 2);
    CHECK(StepView{context, 5}.generated() == 0);
    CHECK(StepView{context, 3}.last_token() == 5);
    CHECK(StepView{TokenSpan{context}.first(2), 2}.last_token() == 2);
}
