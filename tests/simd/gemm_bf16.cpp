// gemm with factors that are rounded to bf16, bit for bit against plain loops. test_amx runs it with the twin of tiles.
#include "flashback/simd/gemm_bf16.hpp"

#include "flashback/testing/plain/gemm.hpp"
#include "support/random_numbers.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <vector>

#include <doctest/doctest.h>

namespace test_simd_gemm_bf16 {

using namespace flashback;

namespace {

void check(const simd::GemmShape& shape, bool transposed, bool as_panels, simd::GemmStart start) {
    const std::size_t rows = shape.rows, panels = shape.panels, depth = shape.depth;
    const std::size_t stride = (transposed ? rows : depth) + 3;
    const auto a = flashback_test::random_numbers(stride * ((transposed ? depth : rows) + 1), 1);
    const auto b = flashback_test::random_numbers((depth + 1) * panels * 16, 2);
    std::vector<float> found = flashback_test::random_numbers(rows * panels * 16, 3);
    std::vector<float> expected = found;
    const simd::GemmRows left{a.data(), stride, transposed};
    const simd::GemmPanels right{b.data(), as_panels ? depth * 16 : 16, as_panels ? 16 : panels * 16};
    const std::size_t panel = as_panels ? rows * 16 : 16;
    const std::size_t row = as_panels ? 16 : panels * 16;
    simd::GemmBF16Scratch scratch;
    simd::gemm_bf16(left, right, {found.data(), panel, row}, shape, start, scratch);
    testing::plain::gemm_bf16(left, right, {expected.data(), panel, row}, shape, start);
    CAPTURE(rows);
    CAPTURE(panels);
    CAPTURE(depth);
    CAPTURE(transposed);
    CHECK(std::memcmp(found.data(), expected.data(), found.size() * sizeof(float)) == 0);
}

}  // namespace

TEST_CASE("gemm_bf16 has the bits of plain loops, for every shape, layout and start") {
    for (const bool transposed : {false, true}) {
        for (const auto start : {simd::GemmStart::zero, simd::GemmStart::accumulate}) {
            for (const std::size_t rows : {1u, 7u, 16u, 33u}) {
                for (const std::size_t panels : {1u, 3u, 9u}) {
                    for (const std::size_t depth : {0u, 1u, 31u, 32u, 33u, 511u, 512u, 513u})
                        check({rows, panels, depth}, transposed, panels == 3, start);
                }
            }
            check({200, 10, 1100}, transposed, true, start);
            check({191, 8, 40}, transposed, false, start);
        }
    }
}

TEST_CASE("gemm_bf16 has the same bits however rows and panels are divided among calls") {
    constexpr std::size_t rows = 205, panels = 11, depth = 700, row = panels * 16;
    const auto a = flashback_test::random_numbers(rows * depth, 1);
    const auto b = flashback_test::random_numbers(depth * row, 2);
    simd::GemmBF16Scratch scratch;
    std::vector<float> whole(rows * row);
    simd::gemm_bf16({a.data(), depth}, {b.data(), 16, row}, {whole.data(), 16, row}, {rows, panels, depth},
                    simd::GemmStart::zero, scratch);
    for (const std::size_t some_rows : {1u, 50u, 192u}) {
        for (const std::size_t some_panels : {1u, 5u, 9u}) {
            std::vector<float> parts(rows * row);
            for (std::size_t r = 0; r < rows; r += some_rows) {
                for (std::size_t p = 0; p < panels; p += some_panels) {
                    simd::gemm_bf16({a.data() + r * depth, depth}, {b.data() + p * 16, 16, row},
                                    {parts.data() + r * row + p * 16, 16, row},
                                    {std::min(some_rows, rows - r), std::min(some_panels, panels - p), depth},
                                    simd::GemmStart::zero, scratch);
                }
            }
            CHECK(std::memcmp(parts.data(), whole.data(), whole.size() * sizeof(float)) == 0);
        }
    }
}

}  // namespace test_simd_gemm_bf16
