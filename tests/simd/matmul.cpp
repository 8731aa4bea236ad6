#include "flashback/simd/plain/matmul.hpp"

#include "flashback/policy/random.hpp"

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;
using simd::PackedMatrix;

namespace {

struct Product {
    PackedMatrix w;
    std::vector<float> x;
    std::size_t rows, stride;
};

float random_value(SplitMix64& random) { return static_cast<float>(2 * random.uniform() - 1); }

Product random_product(std::size_t outputs, std::size_t inputs, std::size_t rows, std::size_t gap = 0) {
    SplitMix64 random{outputs * 1000003 + inputs * 1009 + rows};
    Product p{PackedMatrix{outputs, inputs}, std::vector<float>(rows * (inputs + gap)), rows, inputs + gap};
    for (std::size_t o = 0; o < outputs; ++o) {
        for (std::size_t i = 0; i < inputs; ++i) p.w.at(o, i) = random_value(random);
    }
    for (float& value : p.x) value = random_value(random);
    for (std::size_t r = 0; r < rows; ++r) {
        for (std::size_t i = inputs; i < p.stride; ++i) p.x[r * p.stride + i] = std::numeric_limits<float>::quiet_NaN();
    }
    return p;
}

std::vector<float> multiply(const Product& p) {
    const std::size_t y_stride = simd::padded(p.w.outputs());
    std::vector<float> y(p.rows * y_stride, std::numeric_limits<float>::quiet_NaN());
    simd::plain::matmul(p.w, 0, p.w.panels(), p.x.data(), p.rows, p.stride, y.data(), y_stride);
    return y;
}

std::uint32_t bits(float value) { return std::bit_cast<std::uint32_t>(value); }

float chain(const Product& p, std::size_t row, std::size_t output) {
    float sum = 0;
    for (std::size_t k = 0; k < p.w.inputs(); ++k) sum = simd::fma(p.w.at(output, k), p.x[row * p.stride + k], sum);
    return sum;
}

}  // namespace

TEST_CASE("A product is that of doubles, up to one rounding for each multiply-add") {
    for (const std::size_t inputs : {1u, 3u, 16u, 100u, 1000u}) {
        const Product p = random_product(70, inputs, 5);
        const std::vector<float> y = multiply(p);
        for (std::size_t r = 0; r < p.rows; ++r) {
            for (std::size_t o = 0; o < 70; ++o) {
                double exact = 0;
                double magnitude = 0;
                for (std::size_t k = 0; k < inputs; ++k) {
                    const double term = static_cast<double>(p.w.at(o, k)) * static_cast<double>(p.x[r * p.stride + k]);
                    exact += term;
                    magnitude += std::abs(term);
                }
                const double tolerance = static_cast<double>(inputs) * 0x1p-23 * magnitude;
                CHECK(std::abs(static_cast<double>(y[r * simd::padded(70) + o]) - exact) <= tolerance);
            }
        }
    }
}

TEST_CASE("Every output is one chain of multiply-adds in ascending order, whatever tile it falls into") {
    for (const std::size_t outputs : {1u, 15u, 16u, 17u, 48u, 64u, 65u, 80u, 130u}) {
        for (const std::size_t rows : {1u, 2u, 3u, 4u, 5u, 7u, 8u, 9u, 16u, 17u}) {
            CAPTURE(outputs);
            CAPTURE(rows);
            const Product p = random_product(outputs, 37, rows, 3);
            const std::vector<float> y = multiply(p);
            bool same = true;
            for (std::size_t r = 0; r < rows; ++r) {
                for (std::size_t o = 0; o < outputs; ++o)
                    same = same && bits(y[r * simd::padded(outputs) + o]) == bits(chain(p, r, o));
            }
            CHECK(same);
        }
    }
}

TEST_CASE("The padding of the last panel is written as zeros") {
    for (const std::size_t outputs : {1u, 17u, 66u}) {
        const Product p = random_product(outputs, 9, 6);
        const std::vector<float> y = multiply(p);
        for (std::size_t r = 0; r < p.rows; ++r) {
            for (std::size_t o = outputs; o < simd::padded(outputs); ++o) CHECK(bits(y[r * simd::padded(outputs) + o]) == 0);
        }
    }
}

TEST_CASE("Some panels of a product are those of the whole, and nothing else is written") {
    const Product p = random_product(150, 20, 5);
    const std::vector<float> whole = multiply(p);
    const std::size_t stride = simd::padded(150);
    for (std::size_t first = 0; first <= p.w.panels(); ++first) {
        for (std::size_t last = first; last <= p.w.panels(); ++last) {
            std::vector<float> y(p.rows * stride, 1234.5f);
            simd::plain::matmul(p.w, first, last, p.x.data(), p.rows, p.stride, y.data(), stride);
            bool right = true;
            for (std::size_t i = 0; i < y.size(); ++i) {
                const std::size_t panel = i % stride / simd::panel_outputs;
                right = right && bits(y[i]) == bits(panel >= first && panel < last ? whole[i] : 1234.5f);
            }
            CHECK(right);
        }
    }
}

TEST_CASE("The address of the rows changes no bit") {
    const Product p = random_product(40, 33, 6);
    const std::vector<float> expected = multiply(p);
    const std::size_t stride = simd::padded(40);
    for (std::size_t shift = 1; shift < 16; ++shift) {
        CAPTURE(shift);
        std::vector<float> x(p.x.size() + shift);
        std::copy(p.x.begin(), p.x.end(), x.begin() + static_cast<std::ptrdiff_t>(shift));
        std::vector<float> y(expected.size() + shift);
        simd::plain::matmul(p.w, 0, p.w.panels(), x.data() + shift, p.rows, p.stride, y.data() + shift, stride);
        bool same = true;
        for (std::size_t i = 0; i < expected.size(); ++i) same = same && bits(y[i + shift]) == bits(expected[i]);
        CHECK(same);
    }
}

TEST_CASE("A packed matrix gives back what was put in, and fills its last panel with zeros") {
    PackedMatrix w{18, 3};
    for (std::size_t o = 0; o < 18; ++o) {
        for (std::size_t i = 0; i < 3; ++i) w.at(o, i) = static_cast<float>(10 * o + i);
    }
    CHECK(w.panels() == 2);
    for (std::size_t o = 0; o < 32; ++o) {
        for (std::size_t i = 0; i < 3; ++i) {
            CHECK(w.panel(o / 16)[i * 16 + o % 16] == (o < 18 ? static_cast<float>(10 * o + i) : 0.0f));
        }
    }
}
