#include "flashback/policy/distribution.hpp"

#include "flashback/core/random.hpp"

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;
using flashback::exp_of_negative;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

/// How many doubles lie between two positive numbers.
std::uint64_t units_apart(double a, double b) {
    const auto x = std::bit_cast<std::uint64_t>(a);
    const auto y = std::bit_cast<std::uint64_t>(b);
    return x > y ? x - y : y - x;
}

/// The greatest error in units in the last place, against long double, which is exact enough to round.
std::uint64_t worst_error(const std::vector<double>& arguments) {
    std::uint64_t worst = 0;
    for (const double x : arguments) {
        const auto exact = static_cast<double>(std::exp(static_cast<long double>(x)));
        worst = std::max(worst, units_apart(exp_of_negative(x), exact));
    }
    return worst;
}

}  // namespace

TEST_CASE("exp_of_negative is within 2 units in the last place of e^x") {
    std::vector<double> arguments;
    for (int i = 0; i <= 708 * 512; ++i) arguments.push_back(-i / 512.0);
    SplitMix64 random{3};
    for (int i = 0; i < 200000; ++i) arguments.push_back(-708 * random.uniform());
    for (int i = 0; i < 20000; ++i) arguments.push_back(-std::ldexp(random.uniform(), -static_cast<int>(random.below(70))));
    // Where the reduced argument changes its integer.
    for (int n = 0; n <= 1021; ++n) {
        const double border = -(n + 0.5) * 0.69314718055994530942;
        for (const double x : {border, std::nextafter(border, 0.0), std::nextafter(border, -infinity)}) {
            if (x >= -708) arguments.push_back(x);
        }
    }
    CHECK(worst_error(arguments) <= 2);
}

TEST_CASE("exp_of_negative at its borders") {
    CHECK(exp_of_negative(0.0) == 1);
    CHECK(exp_of_negative(-0.0) == 1);
    CHECK(exp_of_negative(-5e-324) == 1);
    CHECK(exp_of_negative(-0x1p-60) == 1);
    CHECK(worst_error({-708, std::nextafter(-708.0, 0.0), -707.9999}) <= 2);
    CHECK(exp_of_negative(-708) > std::numeric_limits<double>::min());
    CHECK(exp_of_negative(std::nextafter(-708.0, -1000.0)) == 0);
    CHECK(exp_of_negative(-745) == 0);
    CHECK(exp_of_negative(-std::numeric_limits<double>::max()) == 0);
    CHECK(exp_of_negative(-infinity) == 0);
    CHECK(std::isnan(exp_of_negative(std::numeric_limits<double>::quiet_NaN())));
}

TEST_CASE("exp_of_negative never falls as its argument rises, as far as samplers can tell") {
    double before = 0;
    for (int i = 708 * 64; i >= 0; --i) {
        const double now = exp_of_negative(-i / 64.0);
        REQUIRE(now > before);
        before = now;
    }
}

TEST_CASE("exp_of_negative has the same bits with every compiler and library") {
    SplitMix64 random{1};
    std::uint64_t hash = 0;
    for (int i = 0; i < 10000; ++i) {
        const auto bits = std::bit_cast<std::uint64_t>(exp_of_negative(-40 * random.uniform()));
        hash = SplitMix64{hash ^ bits}.next();
    }
    CHECK(hash == 0x7b3a5e82a9c3c79eu);
    CHECK(std::bit_cast<std::uint64_t>(exp_of_negative(-1)) == 0x3fd78b56362cef38);  // these two are rounded correctly
    CHECK(std::bit_cast<std::uint64_t>(exp_of_negative(-0.5)) == 0x3fe368b2fc6f960a);
}

TEST_CASE("rounded gives its argument back") {
    for (const double x : {0.0, -1.5, 1e300, infinity}) CHECK(detail::rounded(x) == x);
    CHECK(std::isnan(detail::rounded(std::numeric_limits<double>::quiet_NaN())));
}
