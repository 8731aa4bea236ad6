/// \file What gemm computes, as plain loops.
#pragma once

#include "flashback/simd/fma.hpp"
#include "flashback/simd/gemm.hpp"

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

}  // namespace flashback::inline FLASHBACK_ISA::testing::plain
