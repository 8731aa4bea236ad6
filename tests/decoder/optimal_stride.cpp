#include "flashback/decoder/optimal_stride.hpp"

#include "decoder/helpers.hpp"

#include <cstddef>
#include <limits>

#include <doctest/doctest.h>

namespace test_decoder_optimal_stride {

using namespace flashback;
using namespace flashback_test;

TEST_CASE("the best stride, worked by hand: g 0.6, a step of 1 s, a search of 10 s") {
    // (1 - g^k) / L(k), L(k) = k + 10: 0.4/11 = 0.0364, 0.64/12 = 0.0533, 0.784/13 = 0.0603, 0.8704/14 = 0.06217, 0.92224/15 = 0.06148
    CHECK(OptimalStride{}.best(0.6, 1, 10) == 4);
    // g 0.5, b 1, L(k) = k + 1: 0.5/2 = 0.25, 0.75/3 = 0.25 (no loss yet), 0.875/4 = 0.219
    CHECK(OptimalStride{}.best(0.5, 1, 1) == 2);
    CHECK(OptimalStride{}.best(0.5, 1, 0.9) == 1);
    CHECK(OptimalStride{}.best(0.5, 1, 1.1) == 2);
}

TEST_CASE("the best stride of asynchronous checks, worked by hand") {
    const OptimalStride asynchronous{true};
    // g 0.5, a 1, b 1: L(1) = 0.5 * 1 + 0.5 * 2 = 1.5; L(2) = 0.25 * 2 + 0.75 * 3 = 2.75; 0.5/1.5 = 0.333, 0.75/2.75 = 0.273
    CHECK(asynchronous.best(0.5, 1, 1) == 1);
    // g 0.6, b 10: L(k) = g^k (k - 1 + 10) + (1 - g^k) (k + 10) = k + 10 - g^k
    // 0.4/10.4 = 0.0385, 0.64/11.64 = 0.0550, 0.784/12.784 = 0.0613, 0.8704/13.8704 = 0.06275, 0.92224/14.92224 = 0.06180
    CHECK(asynchronous.best(0.6, 1, 10) == 4);
    // g 0.5, b 1.5: L(1) = 0.5 * 1.5 + 0.5 * 2.5 = 2, L(2) = 0.25 * 2.5 + 0.75 * 3.5 = 3.25: 0.25, 0.2308; in turn 0.5/2.5 = 0.2, 0.75/3.5 = 0.214
    CHECK(asynchronous.best(0.5, 1, 1.5) == 1);
    CHECK(OptimalStride{}.best(0.5, 1, 1.5) == 2);
}

TEST_CASE("without a match one guess is made, without a cost of steps as many as are allowed") {
    CHECK(OptimalStride{}.best(0, 1, 100) == 1);
    CHECK(OptimalStride{}.best(0.6, 0, 1) == 64);
    CHECK(OptimalStride{false, 5}.best(0.6, 0, 1) == 5);
    CHECK(OptimalStride{}.best(0.6, 0, 0) == 64);
}

TEST_CASE("g, a and b are those of the last five rounds, and g is at most 0.6") {
    OptimalStride stride;
    CHECK(stride.stride() == 1);
    const auto round = [&](std::size_t matches, bool failed, double a, double b) {
        for (std::size_t i = 0; i < matches + 1; ++i) stride.step(a);
        stride.round(matches, failed, b);
    };
    round(3, false, 1, 10);  // g = 1, so 0.6
    CHECK(stride.stride() == 4);
    round(0, true, 1, 10);  // 3 of 4: 0.6
    CHECK(stride.stride() == 4);
    round(0, true, 1, 10);
    round(0, true, 1, 10);  // 3 of 6: 0.5/11 = 0.0455, 0.75/12 = 0.0625, 0.875/13 = 0.0673, 0.9375/14 = 0.0670
    CHECK(stride.stride() == 3);
    round(0, true, 1, 10);  // 3 of 7, 0.4286: 0.5714/11 = 0.0519, 0.8163/12 = 0.0680, 0.9213/13 = 0.0709, 0.9663/14 = 0.0690
    CHECK(stride.stride() == 3);
    round(0, true, 1, 10);  // the first round is forgotten: 0 of 5
    CHECK(stride.stride() == 1);
    for (int i = 0; i < 5; ++i) round(2, false, 0, 10);
    CHECK(stride.stride() == 64);
}

TEST_CASE("times that are none count as 0") {
    OptimalStride stride;
    for (const double bad : {-1.0, std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
        stride.step(bad);
        stride.round(2, true, bad);
        CHECK(stride.stride() == 64);
    }
    CHECK(error_of(ErrorCode::contract, [] { OptimalStride{false, 0}; }) == "OptimalStride needs at least 1 guess, found 0");
}

}  // namespace test_decoder_optimal_stride
