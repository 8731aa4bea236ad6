#include "flashback/policy/schedule.hpp"

#include <cstddef>
#include <string>

#include <doctest/doctest.h>

namespace test_policy_stale_every_n {

using namespace flashback;

TEST_CASE("StaleEveryN retrieves as EveryNTokens does, and hints one token after each retrieval") {
    const StaleEveryN stale{4};
    const EveryNTokens plain{4};
    for (std::size_t retrievals = 0; retrievals < 3; ++retrievals) {
        for (std::size_t since = 0; since < 9; ++since) {
            const StepView step{.context = {}, .retrievals = retrievals, .since_retrieval = since};
            CHECK(stale(step).retrieves() == plain(step));
            CHECK(stale(step).prefetches() == (retrievals > 0 && since == 1));
        }
    }
    CHECK(StaleEveryN{}.interval() == 16);
    CHECK_THROWS_WITH(StaleEveryN{1}, "StaleEveryN needs an interval of at least 2 tokens, found 1");
}

}  // namespace test_policy_stale_every_n
