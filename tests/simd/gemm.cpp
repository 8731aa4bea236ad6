// gemm and transpose, bit for bit against plain loops.
#include "flashback/simd/gemm.hpp"

#include "flashback/simd/matmul.hpp"
#include "flashback/simd/transpose.hpp"
#include "flashback/testing/plain/gemm.hpp"
#include "support/random_numbers.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;

namespace {

bool same(const std::vector<float>& a, const std::vector<float>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace

TEST_CASE("gemm has the bits of plain loops, for every shape, layout and start") {
    for (const std::size_t rows : {1u, 5u, 6u, 7u, 13u}) {
        for (const std::size_t panels : {1u, 2u, 3u, 4u, 5u, 9u}) {
            for (const std::size_t depth : {0u, 1u, 3u, 255u, 256u, 257u, 600u}) {
                for (const bool transposed : {false, true}) {
                    for (const auto start : {simd::GemmStart::zero, simd::GemmStart::accumulate}) {
                        const std::size_t stride = std::max(rows, depth) + 3;
                        const auto a = flashback_test::random_numbers(stride * (std::max(rows, depth) + 1), 1);
                        const auto b = flashback_test::random_numbers((depth + 1) * panels * 16, 2);
                        const auto before = flashback_test::random_numbers(rows * panels * 16, 3);
                        // As rows beside each other, and as panels.
                        for (const bool as_panels : {false, true}) {
                            const simd::GemmRows left{a.data(), stride, transposed};
                            const simd::GemmPanels right{b.data(), as_panels ? depth * 16 : 16, as_panels ? 16 : panels * 16};
                            auto found = before;
                            auto expected = before;
                            const std::size_t panel = as_panels ? rows * 16 : 16;
                            const std::size_t row = as_panels ? 16 : panels * 16;
                            simd::gemm(left, right, {found.data(), panel, row}, {rows, panels, depth}, start);
                            testing::plain::gemm(left, right, {expected.data(), panel, row}, {rows, panels, depth}, start);
                            CAPTURE(rows);
                            CAPTURE(panels);
                            CAPTURE(depth);
                            CHECK(same(found, expected));
                        }
                    }
                }
            }
        }
    }
}

TEST_CASE("gemm with a packed matrix is matmul") {
    const std::size_t rows = 37;
    const std::size_t outputs = 75;
    const std::size_t inputs = 300;
    const auto weights = flashback_test::random_numbers(outputs * inputs, 4);
    const auto x = flashback_test::random_numbers(rows * inputs, 5);
    const auto w = simd::PackedMatrix::of(DType::f32, outputs, inputs,
                                          [&](std::size_t o, std::size_t i) { return weights[o * inputs + i]; });
    const std::size_t stride = simd::row_stride(outputs);
    std::vector<float> expected(rows * stride);
    simd::matmul(w, {0, w.panels()}, {x.data(), inputs}, rows, {expected.data(), stride});
    std::vector<float> found(rows * stride);
    simd::gemm({x.data(), inputs}, {reinterpret_cast<const float*>(w.panel(0)), inputs * 16, 16}, {found.data(), 16, stride},
               {rows, w.panels(), inputs});
    CHECK(same(found, expected));
}

TEST_CASE("transpose moves every element and writes nothing else") {
    for (const std::size_t rows : {1u, 15u, 16u, 17u, 48u}) {
        for (const std::size_t columns : {1u, 7u, 16u, 33u, 64u}) {
            const auto from = flashback_test::random_numbers(rows * (columns + 2), 6);
            std::vector<float> to(columns * (rows + 5), -9.0f);
            simd::transpose(from.data(), columns + 2, rows, columns, to.data(), rows + 5);
            bool right = true;
            for (std::size_t c = 0; c < columns; ++c) {
                for (std::size_t r = 0; r < rows + 5; ++r)
                    right &= to[c * (rows + 5) + r] == (r < rows ? from[r * (columns + 2) + c] : -9.0f);
            }
            CAPTURE(rows);
            CAPTURE(columns);
            CHECK(right);
        }
    }
}
