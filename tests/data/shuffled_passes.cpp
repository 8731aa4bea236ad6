// Every pass holds everything once, in an order of its own.
#include "flashback/data/shuffled_passes.hpp"

#include "support/errors.hpp"

#include <algorithm>
#include <cstdint>
#include <map>
#include <set>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;
using namespace flashback_test;

TEST_CASE("An order goes through all things, then through all again in another order") {
    for (const std::size_t count : {1u, 2u, 3u, 4u, 5u, 16u, 17u, 63u, 64u, 65u, 1000u}) {
        CAPTURE(count);
        ShuffledPasses order{count, 77};
        std::vector<std::vector<std::size_t>> passes;
        for (std::size_t pass = 0; pass < 3; ++pass) {
            std::vector<std::size_t> seen(count);
            for (std::size_t i = 0; i < count; ++i) seen[i] = order[pass * count + i];
            CHECK(std::set<std::size_t>{seen.begin(), seen.end()}.size() == count);
            CHECK(*std::max_element(seen.begin(), seen.end()) == count - 1);
            passes.push_back(seen);
        }
        for (const std::size_t place : {2 * count, std::size_t{0}, count}) CHECK(order[place] == passes[place / count][0]);
        if (count < 16) continue;
        CHECK(passes[0] != passes[1]);
        CHECK(passes[1] != passes[2]);
        ShuffledPasses other{count, 78};
        std::set<std::vector<std::size_t>> orders;  // no seed has an order of another seed
        for (std::uint64_t seed = 0; seed < 4; ++seed) {
            ShuffledPasses one{count, seed};
            for (std::uint64_t pass = 0; pass < 4; ++pass) {
                std::vector<std::size_t> seen(count);
                for (std::size_t i = 0; i < count; ++i) seen[i] = one[pass * count + i];
                orders.insert(seen);
            }
        }
        CHECK(orders.size() == 16);
        std::size_t same = 0;
        for (std::size_t i = 0; i < count; ++i) same += other[i] == passes[0][i];
        CHECK(same < count / 3);
    }
}

TEST_CASE("Anything is as likely as any other to come first, and to follow another") {
    constexpr std::size_t count = 6;
    std::map<std::vector<std::size_t>, int> seen;
    constexpr int passes = 7200;
    for (std::uint64_t seed = 0; seed < 2; ++seed) {
        ShuffledPasses order{count, seed};
        for (std::uint64_t pass = 0; pass < passes / 2; ++pass) ++seen[{order[pass * count], order[pass * count + 1]}];
    }
    CHECK(seen.size() == count * (count - 1));
    double chi_squared = 0;
    const double expected = static_cast<double>(passes) / (count * (count - 1));
    for (const auto& one : seen) chi_squared += (one.second - expected) * (one.second - expected) / expected;
    CHECK(chi_squared < 60);  // 29 degrees of freedom: 29 +- 7.6
}

TEST_CASE("Passes over nothing are refused in words") {
    check_error(ErrorCode::contract, "passes over nothing, expected at least 1", [] {
        static_cast<void>(ShuffledPasses{0, 1});
    });
}
