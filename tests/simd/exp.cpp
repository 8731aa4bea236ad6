#include "flashback/testing/plain/exp.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include <doctest/doctest.h>

using flashback::testing::plain::exp;

namespace {

// The distance between the float and the exact value, in units of the last place of the exact value.
double ulp_error(float found, double exact) {
    const double unit = std::ldexp(1.0, std::max(std::ilogb(exact), -126) - 23);
    return std::abs(static_cast<double>(found) - exact) / unit;
}

}  // namespace

TEST_CASE("exp is within 2 units in the last place over its whole range") {
    double worst = 0;
    float worst_at = 0;
    const auto check = [&](float x) {
        const double error = ulp_error(exp(x), std::exp(static_cast<double>(x)));
        if (!(error <= worst)) {
            worst = error;
            worst_at = x;
        }
    };
    // Every 776th float of either sign, from 0 to the ends of the range, then the ends themselves.
    for (std::uint32_t bits = 0; std::bit_cast<float>(bits) <= 88.7228f; bits += 776) check(std::bit_cast<float>(bits));
    for (std::uint32_t bits = 0; std::bit_cast<float>(bits) <= 87.3365f; bits += 776) check(-std::bit_cast<float>(bits));
    // NOLINTNEXTLINE(cert-flp30-c): every sum is exact
    for (float x = -87.3365f; x <= 88.7228f; x += 0x1p-12f) check(x);
    check(88.7228f);
    check(-87.3365f);
    CAPTURE(worst_at);
    CHECK(worst <= 2);
    CHECK(worst > 0.25);
}

TEST_CASE("exp of 0 is 1") {
    CHECK(exp(0.0f) == 1.0f);
    CHECK(exp(-0.0f) == 1.0f);
}

TEST_CASE("exp is 0 where the result would be subnormal and infinity where it would be too large") {
    constexpr float infinity = std::numeric_limits<float>::infinity();
    for (const float x : {-87.34f, -88.0f, -103.0f, -1000.0f, std::numeric_limits<float>::lowest(), -infinity}) {
        CAPTURE(x);
        CHECK(std::bit_cast<std::uint32_t>(exp(x)) == 0);
    }
    for (const float x : {88.73f, 89.0f, 1000.0f, std::numeric_limits<float>::max(), infinity}) {
        CAPTURE(x);
        CHECK(exp(x) == infinity);
    }
    CHECK(std::isfinite(exp(88.7228f)));
    CHECK(exp(-87.3365f) >= std::numeric_limits<float>::min());
}

TEST_CASE("exp of what is not a number is not a number, whatever its payload") {
    for (const std::uint32_t bits : {0x7fc00000u, 0xffc00000u, 0x7fffffffu, 0xffffffffu, 0x7fc00001u, 0x7fe12345u}) {
        CAPTURE(bits);
        CHECK(std::isnan(exp(std::bit_cast<float>(bits))));
    }
}
