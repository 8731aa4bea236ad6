#define DOCTEST_CONFIG_IMPLEMENT
#include "support/shared.hpp"

#include <doctest/doctest.h>

int main(int argc, char** argv) {
    doctest::Context context{argc, argv};
    context.setOption("no-intro", true);
    const int result = context.run();
    if (context.shouldExit() || result != 0) return result;
    return flashback_test::skipped_something() ? 77 : 0;
}
