#include "flashback/core/random.hpp"

#include <array>
#include <cmath>
#include <cstdint>

#include <doctest/doctest.h>

using namespace flashback;

TEST_CASE("SplitMix64 gives the published stream") {
    // Sebastiano Vigna's splitmix64.c, the second seed as in Rosetta Code's task.
    const auto check = [](std::uint64_t seed, const std::array<std::uint64_t, 5>& stream) {
        SplitMix64 random{seed};
        for (const std::uint64_t number : stream) CHECK(random.next() == number);
    };
    check(0, {0xe220a8397b1dcdafu, 0x6e789e6aa1b965f4u, 0x06c45d188009454fu, 0xf88bb8a8724c81ecu, 0x1b39896a51a8749bu});
    check(1234567,
          {6457827717110365317u, 3203168211198807973u, 9817491932198370423u, 4593380528125082431u, 16408922859458223821u});
}

TEST_CASE("uniform numbers are the upper 53 bits") {
    SplitMix64 bits{99};
    SplitMix64 random{99};
    for (int i = 0; i < 1000; ++i) {
        const auto upper = static_cast<double>(bits.next() >> 11);
        REQUIRE(random.uniform() == std::ldexp(upper, -53));
    }
}

TEST_CASE("uniform numbers lie in [0, 1) and below(n) reaches all of n") {
    SplitMix64 random{7};
    double sum = 0;
    std::array<int, 5> counts{};
    for (int i = 0; i < 10000; ++i) {
        const double u = random.uniform();
        REQUIRE(u >= 0);
        REQUIRE(u < 1);
        sum += u;
        ++counts.at(random.below(5));
    }
    CHECK(std::abs(sum - 5000) < 5 * std::sqrt(10000.0 / 12));
    for (const int count : counts) CHECK(std::abs(count - 2000) < 5 * std::sqrt(10000 * 0.2 * 0.8));
    for (int i = 0; i < 100; ++i) CHECK(random.below(1) == 0);
}

TEST_CASE("the stream is known at compile time, and copies go their own ways") {
    constexpr auto third = [] {
        SplitMix64 random{1234567};
        random.next();
        random.next();
        return random.next();
    }();
    static_assert(third == 9817491932198370423u);
    SplitMix64 one{3};
    SplitMix64 two = one;
    CHECK(one.next() == two.next());
    one.next();
    const std::uint64_t third_of_one = one.next();
    two.next();
    CHECK(two.next() == third_of_one);
}
