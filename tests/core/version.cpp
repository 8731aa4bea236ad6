#include "flashback/core/version.hpp"

#include <string>
#include <string_view>

#include <doctest/doctest.h>

namespace {

constexpr bool agree() {
    std::string_view rest = FLASHBACK_VERSION;
    for (const int number : {FLASHBACK_VERSION_MAJOR, FLASHBACK_VERSION_MINOR, FLASHBACK_VERSION_PATCH}) {
        int found = 0;
        while (!rest.empty() && rest.front() != '.') {
            found = found * 10 + (rest.front() - '0');
            rest.remove_prefix(1);
        }
        if (found != number) return false;
        rest.remove_prefix(rest.empty() ? 0 : 1);
    }
    return rest.empty();
}
static_assert(agree(), "flashback/core/version.hpp: the text of the version and its three numbers differ");

// The numbers count in their order: 0.1.9 comes before 0.2.0, and 0.99.99 before 1.0.0.
static_assert(FLASHBACK_VERSION_AT_LEAST(FLASHBACK_VERSION_MAJOR, FLASHBACK_VERSION_MINOR, FLASHBACK_VERSION_PATCH));
static_assert(!FLASHBACK_VERSION_AT_LEAST(FLASHBACK_VERSION_MAJOR, FLASHBACK_VERSION_MINOR, FLASHBACK_VERSION_PATCH + 1));
static_assert(!FLASHBACK_VERSION_AT_LEAST(FLASHBACK_VERSION_MAJOR, FLASHBACK_VERSION_MINOR + 1, 0));
static_assert(!FLASHBACK_VERSION_AT_LEAST(FLASHBACK_VERSION_MAJOR + 1, 0, 0));
static_assert(FLASHBACK_VERSION_AT_LEAST(FLASHBACK_VERSION_MAJOR, FLASHBACK_VERSION_MINOR - 1, FLASHBACK_VERSION_PATCH + 1));
static_assert(FLASHBACK_VERSION_AT_LEAST(FLASHBACK_VERSION_MAJOR - 1, FLASHBACK_VERSION_MINOR + 1,
                                         FLASHBACK_VERSION_PATCH + 1));

}  // namespace

TEST_CASE("the version as text is made of its three numbers") {
    CHECK(std::to_string(FLASHBACK_VERSION_MAJOR) + '.' + std::to_string(FLASHBACK_VERSION_MINOR) + '.' +
              std::to_string(FLASHBACK_VERSION_PATCH) ==
          FLASHBACK_VERSION);
}
