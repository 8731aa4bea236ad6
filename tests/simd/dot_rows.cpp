// dot_rows, bit for bit against plain loops, whatever stands beside a row or a query.
#include "flashback/simd/dot_rows.hpp"

#include "flashback/core/random.hpp"
#include "flashback/simd/cache_element.hpp"
#include "flashback/testing/plain/dot_rows.hpp"

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

namespace test_simd_dot_rows {

using namespace flashback;

namespace {

float random_float(SplitMix64& random) { return static_cast<float>(2 * random.uniform() - 1); }
template <class Element>
Element random_element(SplitMix64& random) {
    if constexpr (sizeof(Element) == 4) return random_float(random);
    if constexpr (sizeof(Element) == 2) return simd::Half{float_to_half(random_float(random))};
    if constexpr (sizeof(Element) == 1) return simd::Int8{static_cast<std::int8_t>(static_cast<int>(random.below(255)) - 127)};
}

/// Products of all shapes; what is between the rows is poison.
template <class Element>
void check_every_shape() {
    for (const std::size_t n : {16u, 32u, 48u, 400u}) {
        for (const std::size_t rows : {1u, 2u, 3u, 4u, 5u, 7u, 8u, 15u, 16u, 17u, 33u, 100u}) {
            for (const std::size_t queries : {1u, 2u, 3u, 4u, 5u, 8u, 9u, 33u}) {
                SplitMix64 random{n + rows + queries};
                const std::size_t stride = n + 3;
                std::vector<Element> row(rows * stride);
                for (Element& x : row) x = random_element<Element>(random);
                std::vector<float> query(queries * stride, std::numeric_limits<float>::quiet_NaN());
                for (std::size_t q = 0; q < queries; ++q) {
                    for (std::size_t k = 0; k < n; ++k) query[q * stride + k] = random_float(random);
                }
                const std::size_t out_stride = rows + 1;
                std::vector<float> out(queries * out_stride, -7.0f);
                simd::dot_rows<Element>({row.data(), stride, rows}, {query.data(), stride, queries}, n,
                                        {out.data(), out_stride});
                bool right = true;
                for (std::size_t q = 0; q < queries; ++q) {
                    for (std::size_t r = 0; r < rows; ++r) {
                        const float expected = testing::plain::dot_row(row.data() + r * stride, query.data() + q * stride, n);
                        right &=
                            std::bit_cast<std::uint32_t>(out[q * out_stride + r]) == std::bit_cast<std::uint32_t>(expected);
                        right &= simd::dot_row(row.data() + r * stride, query.data() + q * stride, n) == expected;
                    }
                    right &= out[q * out_stride + rows] == -7.0f;
                }
                CAPTURE(n);
                CAPTURE(rows);
                CAPTURE(queries);
                CHECK(right);
            }
        }
    }
}

}  // namespace

TEST_CASE("dot_rows has the bits of plain loops for every shape and element") {
    check_every_shape<float>();
    check_every_shape<simd::Half>();
    check_every_shape<simd::Int8>();
}

TEST_CASE("dot_rows of plain loops is that of doubles") {
    SplitMix64 random{5};
    for (const std::size_t n : {16u, 768u, 4096u}) {
        std::vector<float> a(n);
        std::vector<float> b(n);
        for (float& x : a) x = random_float(random);
        for (float& x : b) x = random_float(random);
        double exact = 0;
        double magnitude = 0;
        for (std::size_t i = 0; i < n; ++i) {
            exact += static_cast<double>(a[i]) * static_cast<double>(b[i]);
            magnitude += std::abs(static_cast<double>(a[i]) * static_cast<double>(b[i]));
        }
        const double rounds = static_cast<double>(n) / 16 + 4;
        CHECK(std::abs(static_cast<double>(testing::plain::dot_row(a.data(), b.data(), n)) - exact) <=
              rounds * 0x1p-24 * magnitude);
    }
}

TEST_CASE("dot_rows of no rows or no queries writes nothing") {
    const std::vector<float> some(16, 1.0f);
    float out = -7;
    simd::dot_rows<float>({some.data(), 16, 0}, {some.data(), 16, 1}, 16, {&out, 1});
    simd::dot_rows<float>({some.data(), 16, 1}, {some.data(), 16, 0}, 16, {&out, 1});
    CHECK(out == -7.0f);
}

}  // namespace test_simd_dot_rows
