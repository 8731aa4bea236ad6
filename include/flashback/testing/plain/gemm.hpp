/// \file What gemm computes, as plain loops.
#pragma once

#include "flashback/simd/fma.hpp"
#include "flashback/simd/gemm.hpp"
#include "flashback/simd/gemm_bf16.hpp"
#include "flashback/testing/plain/matmul.hpp"

#include <algorithm>
#include <cstddef>

namespace flashback::inline FLASHBACK_ISA::testing::plain {

/// C = A B or C += A B.
inline void gemm(const simd::GemmRows& a, const simd::GemmPanels& b, const simd::GemmResult& c, const simd::GemmShape& shape,
                 simd::GemmStart start) noexcept {
    for (std::size_t r = 0; r < shape.rows; ++r) {
        for (std::size_t column = 0; column < shape.panels * simd::panel_outputs; ++column) {
            const std::size_t panel = column / simd::panel_outputs;
            const std::size_t lane = column % simd::panel_outputs;
            float& out = c.data[panel * c.panel + r * c.row + lane];
            float sum = start == simd::GemmStart::accumulate ? out : 0.0f;
            for (std::size_t k = 0; k < shape.depth; ++k) {
                const float left = a.transposed ? a.data[k * a.stride + r] : a.data[r * a.stride + k];
                sum = simd::fma(b.data[panel * b.panel + k * b.step + lane], left, sum);
            }
            out = sum;
        }
    }
}

/// The same with factors rounded to bf16: 512 elements after 512 elements are summed and then added to C.
inline void gemm_bf16(const simd::GemmRows& a, const simd::GemmPanels& b, const simd::GemmResult& c,
                      const simd::GemmShape& shape, simd::GemmStart start) noexcept {
    for (std::size_t r = 0; r < shape.rows; ++r) {
        for (std::size_t column = 0; column < shape.panels * simd::panel_outputs; ++column) {
            const std::size_t panel = column / simd::panel_outputs;
            const std::size_t lane = column % simd::panel_outputs;
            float& out = c.data[panel * c.panel + r * c.row + lane];
            bool begun = start == simd::GemmStart::accumulate;
            for (std::size_t first = 0; first < shape.depth || first == 0; first += simd::gemm_bf16_block) {
                const std::size_t count = std::min(simd::gemm_bf16_block, shape.depth - first);
                float left[simd::gemm_bf16_block];
                float right[simd::gemm_bf16_block];
                for (std::size_t i = 0; i < count; ++i) {
                    const std::size_t k = first + i;
                    left[i] = a.transposed ? a.data[k * a.stride + r] : a.data[r * a.stride + k];
                    right[i] = bf16_to_float(float_to_bf16(b.data[panel * b.panel + k * b.step + lane]));
                }
                const float sum = dot_bf16(right, left, count);
                out = begun ? out + sum : sum;
                begun = true;
            }
        }
    }
}

}  // namespace flashback::inline FLASHBACK_ISA::testing::plain
