// The kernels against doubles, with tolerances counted from their roundings, and what they make of NaN and infinity.
#include "flashback/core/random.hpp"
#include "flashback/simd/activation.hpp"
#include "flashback/simd/elementwise.hpp"
#include "flashback/simd/norm.hpp"
#include "flashback/simd/softmax.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

namespace test_simd_accuracy {

using namespace flashback;
using namespace flashback::simd;

namespace {

constexpr double epsilon = 0x1p-24;  // the most that one rounding changes, relative
constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();
constexpr float infinity = std::numeric_limits<float>::infinity();
const std::vector<std::size_t> lengths{1, 2, 15, 16, 17, 31, 33, 100, 1000};

std::vector<float> random_values(std::size_t count, double most, std::uint64_t seed) {
    SplitMix64 random{seed};
    std::vector<float> values(count);
    for (float& value : values) value = static_cast<float>((2 * random.uniform() - 1) * most);
    return values;
}

bool all_nan(const std::vector<float>& values) {
    return std::ranges::all_of(values, [](float v) { return std::isnan(v); });
}

}  // namespace

TEST_CASE("layer_norm is that of doubles") {
    for (const std::size_t n : lengths) {
        for (const double offset : {0.0, 5.0}) {
            CAPTURE(n);
            CAPTURE(offset);
            std::vector<float> x = random_values(n, 3, n);
            for (float& value : x) value += static_cast<float>(offset);
            const std::vector<float> weight = random_values(n, 2, n + 1);
            const std::vector<float> bias = random_values(n, 1, n + 2);
            std::vector<float> y(n);
            layer_norm(x.data(), weight.data(), bias.data(), n, 1e-5f, y.data());
            double mean = 0;
            double magnitude = 0;
            for (const float value : x) {
                mean += static_cast<double>(value) / static_cast<double>(n);
                magnitude = std::max(magnitude, std::abs(static_cast<double>(value)));
            }
            double variance = 0;
            for (const float value : x) variance += std::pow(static_cast<double>(value) - mean, 2) / static_cast<double>(n);
            const double root = std::sqrt(variance + static_cast<double>(1e-5f));
            // The mean: n / 16 additions in a lane, 4 in the tree, a division; then one subtraction each. What is off in a
            // difference is off in the root by no more; a sum of squares adds as many roundings as the mean.
            const double roundings = static_cast<double>(n) / 16 + 8;
            const double off = roundings * epsilon * magnitude + magnitude * epsilon;
            for (std::size_t i = 0; i < n; ++i) {
                const double scaled = (static_cast<double>(x[i]) - mean) / root;
                const double w = static_cast<double>(weight[i]);
                const double exact = scaled * w + static_cast<double>(bias[i]);
                const double tolerance =
                    std::abs(w) * (off / root + std::abs(scaled) * (off / root + (roundings + 4) * epsilon)) +
                    epsilon * std::abs(exact);
                CHECK(std::abs(static_cast<double>(y[i]) - exact) <= tolerance);
            }
        }
    }
}

TEST_CASE("softmax is that of doubles and adds up to 1") {
    for (const std::size_t n : lengths) {
        for (const double most : {1.0, 40.0, 1000.0}) {
            CAPTURE(n);
            CAPTURE(most);
            const std::vector<float> x = random_values(n, most, n);
            std::vector<float> y(n);
            softmax(x.data(), n, y.data());
            const double greatest = static_cast<double>(*std::max_element(x.begin(), x.end()));
            double total = 0;
            for (const float value : x) total += std::exp(static_cast<double>(value) - greatest);
            double sum = 0;
            // 2 units of exp in the weight and in the total, n / 16 + 4 additions, a division; the difference to the greatest
            // is rounded once, which counts as often as it is large: up to 87, below is 0.
            const double relative = (4 + 4 + static_cast<double>(n) / 16 + 4 + 1 + 2 * std::min(2 * most, 88.0)) * epsilon;
            for (std::size_t i = 0; i < n; ++i) {
                const double exact = std::exp(static_cast<double>(x[i]) - greatest) / total;
                CHECK(std::abs(static_cast<double>(y[i]) - exact) <= relative * exact + 2e-38);
                sum += static_cast<double>(y[i]);
            }
            CHECK(std::abs(sum - 1) <= relative);
        }
    }
}

TEST_CASE("silu and gelu are those of doubles") {
    for (const double most : {0.1, 3.0, 30.0, 80.0}) {
        const std::vector<float> x = random_values(1000, most, 3);
        std::vector<float> s = x;
        std::vector<float> g = x;
        silu(s.data(), s.size());
        gelu(g.data(), g.size());
        for (std::size_t i = 0; i < x.size(); ++i) {
            CAPTURE(x[i]);
            const double z = static_cast<double>(x[i]);
            const double silu_exact = z / (1 + std::exp(-z));
            // 2 units of exp (each up to 2 epsilon), the sum, the quotient
            CHECK(std::abs(static_cast<double>(s[i]) - silu_exact) <= 6 * epsilon * std::abs(silu_exact));
            const double u = std::sqrt(2 / 3.14159265358979323846) * (z + 0.044715 * z * z * z);
            const double gelu_exact = z / (1 + std::exp(-2 * u));
            // Besides, the exponent -2u is off by 3 roundings and two rounded constants; e^(-2u) is off by that times 2u.
            const double relative = (6 + 5 * 2 * std::abs(u)) * epsilon;
            CHECK(std::abs(static_cast<double>(g[i]) - gelu_exact) <= relative * std::abs(gelu_exact) + 1e-37);
        }
    }
}

TEST_CASE("gelu is half of x times 1 + tanh") {
    std::vector<float> x{-3.0f, -1.0f, -0.5f, 0.0f, 0.5f, 1.0f, 3.0f};
    const std::vector<double> expected{-0.0036373920817729943, -0.15880800939172324, -0.15428599017485735, 0,
                                       0.34571400982514264,    0.8411919906082768,   2.996362607918227};
    gelu(x.data(), x.size());
    for (std::size_t i = 0; i < x.size(); ++i) CHECK(std::abs(static_cast<double>(x[i]) - expected[i]) <= 5e-7);
}

TEST_CASE("gelu_erf is x times the distribution function of the standard normal") {
    for (const double most : {0.1, 3.0, 8.0, 12.0}) {
        const std::vector<float> x = random_values(2000, most, 3);
        std::vector<float> y = x;
        gelu_erf(y.data(), y.size());
        for (std::size_t i = 0; i < x.size(); ++i) {
            CAPTURE(x[i]);
            const double z = static_cast<double>(x[i]);
            const double exact = z / 2 * std::erfc(-z / std::sqrt(2.0));
            // The tail is off by the roundings of its polynomial, and by two of the exponent z²/2, times that; above 0, at most half of
            // the result is tail, and one sum comes in addition.
            const double relative = (z < 0 ? 7 + z * z : 7) * 0x1p-24;
            CHECK(std::abs(static_cast<double>(y[i]) - exact) <= relative * std::abs(exact) + 1e-37);
        }
    }
    std::vector<float> x{infinity,
                         -infinity,
                         not_a_number,
                         0.0f,
                         1e-30f,
                         -1e-30f,
                         std::numeric_limits<float>::max(),
                         std::numeric_limits<float>::lowest()};
    gelu_erf(x.data(), x.size());
    CHECK(x[0] == infinity);
    CHECK(x[1] == 0.0f);
    CHECK(std::isnan(x[2]));
    CHECK(x[3] == 0.0f);
    CHECK(std::abs(x[4] / 5e-31f - 1) < 1e-6f);
    CHECK(std::abs(x[5] / -5e-31f - 1) < 1e-6f);
    CHECK(x[6] == std::numeric_limits<float>::max());
    CHECK(x[7] == 0.0f);
}

TEST_CASE("relu keeps what is not below 0") {
    std::vector<float> x{-1.0f, 2.0f, -0.0f, 0.0f, -infinity, infinity, not_a_number, -1e-45f};
    relu(x.data(), x.size());
    CHECK(x[0] == 0.0f);
    CHECK(x[1] == 2.0f);
    CHECK(std::bit_cast<std::uint32_t>(x[2]) == 0x80000000u);
    CHECK(std::bit_cast<std::uint32_t>(x[3]) == 0);
    CHECK(x[4] == 0.0f);
    CHECK(x[5] == infinity);
    CHECK(std::isnan(x[6]));
    CHECK(std::bit_cast<std::uint32_t>(x[7]) == 0);
}

TEST_CASE("silu and gelu of what is not a finite number") {
    std::vector<float> s{infinity, -infinity, not_a_number, std::numeric_limits<float>::max(),
                         std::numeric_limits<float>::lowest()};
    std::vector<float> g = s;
    silu(s.data(), s.size());
    gelu(g.data(), g.size());
    for (const std::vector<float>& y : {s, g}) {
        CHECK(y[0] == infinity);
        CHECK(std::isnan(y[1]));
        CHECK(std::isnan(y[2]));
        CHECK(y[3] == std::numeric_limits<float>::max());
        CHECK(std::bit_cast<std::uint32_t>(y[4]) == 0x80000000u);
    }
}

TEST_CASE("Norms pass on what is not finite") {
    const std::vector<float> ones(20, 1.0f);
    for (const float special : {not_a_number, infinity, -infinity}) {
        for (const std::size_t at : {0u, 15u, 19u}) {
            std::vector<float> x(20, 2.0f);
            x[at] = special;
            std::vector<float> y(20);
            layer_norm(x.data(), ones.data(), ones.data(), 20, 1e-5f, y.data());
            CHECK(all_nan(y));
            rms_norm(x.data(), ones.data(), 20, 1e-5f, y.data());
            CHECK(std::isnan(y[at]));
            for (std::size_t i = 0; i < 20; ++i) {
                if (i == at) continue;
                if (std::isnan(special)) CHECK(std::isnan(y[i]));
                if (!std::isnan(special)) CHECK(y[i] == 0.0f);
            }
        }
    }
}

TEST_CASE("the weights of a softmax, divided by their sum, are the softmax") {
    SplitMix64 random{8};
    for (const std::size_t n : {1u, 15u, 16u, 17u, 100u}) {
        std::vector<float> x(n);
        for (float& value : x) value = static_cast<float>(20 * (random.uniform() - 0.5));
        if (n > 2) x[n / 2] = -std::numeric_limits<float>::infinity();
        std::vector<float> all(n);
        softmax(x.data(), n, all.data());
        const float sum = softmax_weights(x.data(), n, x.data());
        for (std::size_t i = 0; i < n; ++i) CHECK(x[i] / sum == all[i]);
        CHECK(*std::max_element(x.begin(), x.end()) == 1);
    }
}

TEST_CASE("softmax of what is not finite") {
    for (const float special : {not_a_number, infinity}) {
        for (const std::size_t at : {0u, 1u, 15u, 16u, 19u}) {
            std::vector<float> x(20, 1.0f);
            x[at] = special;
            softmax(x.data(), x.size(), x.data());
            CHECK(all_nan(x));
        }
    }
    std::vector<float> x(20, 1.0f);
    x[3] = x[19] = -infinity;
    softmax(x.data(), x.size(), x.data());
    for (std::size_t i = 0; i < 20; ++i) CHECK(x[i] == (i == 3 || i == 19 ? 0.0f : 1.0f / 18.0f));
    std::fill(x.begin(), x.end(), -infinity);
    softmax(x.data(), x.size(), x.data());
    CHECK(all_nan(x));
}

TEST_CASE("rotate_halves turns the pairs (x[i], x[pairs + i])") {
    for (const std::size_t pairs : {1u, 2u, 7u, 16u, 17u, 32u}) {
        const std::vector<float> before = random_values(2 * pairs, 4, pairs);
        std::vector<float> cosine(pairs);
        std::vector<float> sine(pairs);
        const std::vector<float> angles = random_values(pairs, 100, pairs + 9);
        for (std::size_t i = 0; i < pairs; ++i) {
            cosine[i] = std::cos(angles[i]);
            sine[i] = std::sin(angles[i]);
        }
        std::vector<float> x = before;
        rotate_halves(x.data(), cosine.data(), sine.data(), pairs);
        for (std::size_t i = 0; i < pairs; ++i) {
            const double a = static_cast<double>(before[i]);
            const double b = static_cast<double>(before[pairs + i]);
            const double c = static_cast<double>(cosine[i]);
            const double s = static_cast<double>(sine[i]);
            const double tolerance = 2 * epsilon * (std::abs(a) + std::abs(b));
            CHECK(std::abs(static_cast<double>(x[i]) - (a * c - b * s)) <= tolerance);
            CHECK(std::abs(static_cast<double>(x[pairs + i]) - (a * s + b * c)) <= tolerance);
        }
    }
}

}  // namespace test_simd_accuracy
