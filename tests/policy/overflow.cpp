#include "flashback/policy/overflow.hpp"

#include <cstddef>
#include <limits>
#include <string>
#include <type_traits>

#include <doctest/doctest.h>

using namespace flashback;

namespace {

static_assert(std::is_empty_v<StopWhenFull> && std::is_trivially_copyable_v<FullWindow>);
static_assert(noexcept(StopWhenFull{}(FullWindow{})));
static_assert(Overflow<StopWhenFull> && Overflow<DropOldest> && !Overflow<int>);
static_assert(DropOldest{0.5}(FullWindow{10, 11, 11}) == 6);

}  // namespace

TEST_CASE("StopWhenFull drops nothing") {
    CHECK(StopWhenFull{}(FullWindow{10, 11, 11}) == 0);
    CHECK(StopWhenFull{}(FullWindow{0, 1000, 1}) == 0);
}

TEST_CASE("DropOldest fills the given part of the room with the newest text, in all small windows") {
    // In eighths, so that the expected number is one of whole numbers.
    for (std::size_t eighths = 1; eighths <= 8; ++eighths) {
        const DropOldest overflow{static_cast<double>(eighths) / 8};
        for (std::size_t window = 0; window <= 24; ++window) {
            for (std::size_t fixed = 0; fixed <= 26; ++fixed) {
                for (std::size_t text = 0; text <= 60; ++text) {
                    if (fixed + text <= window) continue;
                    const std::size_t drop = overflow({window, fixed + text, text});
                    if (fixed >= window) {
                        REQUIRE(drop == 0);
                        continue;
                    }
                    const std::size_t room = window - fixed;
                    std::size_t keep = room * eighths / 8;
                    if (keep == 0) keep = 1;
                    REQUIRE(text - drop == keep);
                    // It neither drops nothing, which would end the generation, nor everything.
                    REQUIRE(drop > 0);
                    REQUIRE(drop < text);
                    REQUIRE(fixed + text - drop <= window);
                }
            }
        }
    }
}

TEST_CASE("DropOldest keeps half unless told otherwise, and at least one token") {
    CHECK(DropOldest{}(FullWindow{100, 101, 101}) == 51);
    CHECK(DropOldest{1e-300}(FullWindow{100, 101, 101}) == 100);
    CHECK(DropOldest{std::numeric_limits<double>::denorm_min()}(FullWindow{2, 9, 8}) == 7);
    CHECK(DropOldest{1}(FullWindow{100, 101, 101}) == 1);
}

TEST_CASE("DropOldest works in windows of any size") {
    constexpr std::size_t huge = std::size_t{1} << 5 * sizeof(std::size_t);
    CHECK(DropOldest{1}(FullWindow{huge, huge + 7, huge + 7}) == 7);
    CHECK(DropOldest{0.5}(FullWindow{huge, huge + 1, huge + 1}) == huge / 2 + 1);
    CHECK(DropOldest{1}(FullWindow{0, 5, 5}) == 0);
}

TEST_CASE("DropOldest refuses a part outside (0, 1] in words") {
    for (const double keep :
         {0.0, -0.0, -0.5, 1.0000001, 2.0, std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN()}) {
        CHECK_THROWS_WITH_AS(DropOldest{keep}, doctest::Contains("DropOldest keeps a part of the text in (0, 1], found"),
                             Error);
    }
}

TEST_CASE("a lambda is an overflow") {
    const auto drop_one = [](const FullWindow& full) { return full.wanted - full.window; };
    static_assert(Overflow<decltype(drop_one)>);
    CHECK(drop_one({10, 13, 5}) == 3);
}
