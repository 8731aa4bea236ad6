/// \file What failed in a report of a suite.
#pragma once

#include "flashback/testing/suite_report.hpp"

#include <string>

namespace test_testing {

/// The names of the checks that failed, in their order.
inline std::string failed_in(const flashback::testing::SuiteReport& report) {
    std::string names;
    for (const auto& check : report.checks)
        if (check.outcome == flashback::testing::CheckOutcome::failed) names += (names.empty() ? "" : ", ") + check.name;
    return names;
}

}  // namespace test_testing
