#include "flashback/testing/plain/rows.hpp"

#include "flashback/core/random.hpp"

#include <cmath>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;
using namespace flashback::simd;

namespace {

constexpr double epsilon = 0x1p-24;  // the most that one rounding changes, relative

std::vector<float> random_values(std::size_t count, double most, std::uint64_t seed) {
    SplitMix64 random{seed};
    std::vector<float> values(count);
    for (float& value : values) value = static_cast<float>((2 * random.uniform() - 1) * most);
    return values;
}

}  // namespace

TEST_CASE("tree_sum adds all 16 parts") {
    float part[16];
    for (std::size_t j = 0; j < 16; ++j) part[j] = static_cast<float>(1u << j);
    CHECK(testing::plain::tree_sum(part) == 65535.0f);
}

TEST_CASE("rms_norm is that of doubles, for widths that are no multiple of 16 too") {
    for (const std::size_t n : {1u, 15u, 16u, 17u, 100u, 1000u}) {
        CAPTURE(n);
        std::vector<float> x = random_values(n, 3, n);
        x.resize(padded(n));
        const std::vector<float> weight = random_values(n, 2, n + 1);
        std::vector<float> y(n + 1, 77.0f);
        testing::plain::rms_norm(x.data(), weight.data(), n, 1e-5f, y.data());
        double squares = 0;
        for (const float value : x) squares += static_cast<double>(value) * static_cast<double>(value);
        const double root = std::sqrt(squares / static_cast<double>(n) + static_cast<double>(1e-5f));
        // n / 16 additions in a lane, 4 in the tree, and 6 roundings besides
        const double tolerance = (static_cast<double>(n) / 16 + 10) * epsilon;
        for (std::size_t i = 0; i < n; ++i) {
            const double exact = static_cast<double>(x[i]) / root * static_cast<double>(weight[i]);
            CHECK(std::abs(static_cast<double>(y[i]) - exact) <= tolerance * std::abs(exact));
        }
        CHECK(y[n] == 77.0f);
    }
}

TEST_CASE("rms_norm of zeros is zeros") {
    const std::vector<float> x(16);
    const std::vector<float> weight(16, 2.0f);
    std::vector<float> y(16, 5.0f);
    testing::plain::rms_norm(x.data(), weight.data(), 16, 1e-5f, y.data());
    for (const float value : y) CHECK(value == 0.0f);
}

TEST_CASE("rotate_pairs turns each pair by its angle") {
    for (const std::size_t pairs : {1u, 2u, 7u, 8u, 32u}) {
        const std::vector<float> before = random_values(2 * pairs + 1, 4, pairs);
        const std::vector<float> angles = random_values(pairs, 100, pairs + 9);
        std::vector<float> cosine(pairs);
        std::vector<float> sine(pairs);
        for (std::size_t i = 0; i < pairs; ++i) {
            cosine[i] = std::cos(angles[i]);
            sine[i] = std::sin(angles[i]);
        }
        std::vector<float> x = before;
        testing::plain::rotate_pairs(x.data(), cosine.data(), sine.data(), pairs);
        for (std::size_t i = 0; i < pairs; ++i) {
            const double a = static_cast<double>(before[2 * i]);
            const double b = static_cast<double>(before[2 * i + 1]);
            const double c = static_cast<double>(cosine[i]);
            const double s = static_cast<double>(sine[i]);
            const double tolerance = 2 * epsilon * (std::abs(a) + std::abs(b));
            CHECK(std::abs(static_cast<double>(x[2 * i]) - (a * c - b * s)) <= tolerance);
            CHECK(std::abs(static_cast<double>(x[2 * i + 1]) - (a * s + b * c)) <= tolerance);
        }
        CHECK(x.back() == before.back());
    }
}

TEST_CASE("rotate_pairs by an angle of 0 changes no bit") {
    const std::vector<float> before = random_values(16, 4, 5);
    const std::vector<float> cosine(8, 1.0f);
    const std::vector<float> sine(8, 0.0f);
    std::vector<float> x = before;
    testing::plain::rotate_pairs(x.data(), cosine.data(), sine.data(), 8);
    CHECK(x == before);
}

TEST_CASE("silu_times is that of doubles") {
    std::vector<float> gate = random_values(1001, 30, 1);
    gate[0] = 0.0f;
    gate[1] = 80.0f;
    gate[2] = -80.0f;
    const std::vector<float> before = gate;
    const std::vector<float> up = random_values(1001, 3, 2);
    testing::plain::silu_times(gate.data(), up.data(), 1000);
    for (std::size_t i = 0; i < 1000; ++i) {
        const double z = static_cast<double>(before[i]);
        const double exact = z / (1 + std::exp(-z)) * static_cast<double>(up[i]);
        // 2 units of exp, 1/2 each of the sum, the quotient and the product
        CHECK(std::abs(static_cast<double>(gate[i]) - exact) <= 7 * epsilon * std::abs(exact));
    }
    CHECK(gate[1000] == before[1000]);
}

TEST_CASE("silu_times goes to 0 for large negative values and to the product for large positive ones") {
    std::vector<float> gate{-1e4f, -89.0f, -std::numeric_limits<float>::max(), 1e4f, 100.0f};
    const std::vector<float> up{2.0f, 2.0f, 2.0f, 2.0f, -3.0f};
    testing::plain::silu_times(gate.data(), up.data(), gate.size());
    CHECK(gate == std::vector<float>{0.0f, 0.0f, 0.0f, 2e4f, -300.0f});
}

TEST_CASE("add adds the second row to the first") {
    std::vector<float> x{1.0f, 2.0f, 3.0f};
    const std::vector<float> y{0.5f, -2.0f, 100.0f};
    testing::plain::add(x.data(), y.data(), 2);
    CHECK(x == std::vector<float>{1.5f, 0.0f, 3.0f});
}
