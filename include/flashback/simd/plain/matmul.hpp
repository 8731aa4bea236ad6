/// \file Products with a packed matrix, as plain loops.
#pragma once

#include "flashback/simd/fma.hpp"
#include "flashback/simd/packed_matrix.hpp"

#include <cstddef>

namespace flashback::inline FLASHBACK_ISA::simd::plain {

namespace detail {

/// One tile of a product: `Rows` rows of x with `Panels` panels of the matrix. The accumulators of all outputs are
/// independent chains, so the size of the tile changes the speed and no bit of the result (rule R2).
template <std::size_t Rows, std::size_t Panels>
inline void matmul_tile(const float* panels, std::size_t k_count, const float* x, std::size_t x_stride, float* y,
                        std::size_t y_stride) noexcept {
    float sum[Rows][Panels][panel_outputs] = {};
#if defined(FLASHBACK_TEST_BREAK_R2)
    for (std::size_t step = 0; step < k_count; ++step) {  // the exactness test must notice an order that depends on the tile
        const std::size_t k = Rows == 1 ? step : k_count - 1 - step;
#else
    for (std::size_t k = 0; k < k_count; ++k) {
#endif
        for (std::size_t r = 0; r < Rows; ++r) {
            const float value = x[r * x_stride + k];
            for (std::size_t p = 0; p < Panels; ++p) {
                const float* weights = panels + (p * k_count + k) * panel_outputs;
                for (std::size_t j = 0; j < panel_outputs; ++j) sum[r][p][j] = fma(weights[j], value, sum[r][p][j]);
            }
        }
    }
    for (std::size_t r = 0; r < Rows; ++r) {
        for (std::size_t p = 0; p < Panels; ++p) {
            for (std::size_t j = 0; j < panel_outputs; ++j) y[r * y_stride + p * panel_outputs + j] = sum[r][p][j];
        }
    }
}

template <std::size_t Panels>
inline void matmul_panels(const float* panels, std::size_t k_count, const float* x, std::size_t rows, std::size_t x_stride,
                          float* y, std::size_t y_stride) noexcept {
    constexpr std::size_t tile_rows = 4;
    std::size_t r = 0;
    for (; r + tile_rows <= rows; r += tile_rows) {
        matmul_tile<tile_rows, Panels>(panels, k_count, x + r * x_stride, x_stride, y + r * y_stride, y_stride);
    }
    for (; r < rows; ++r) matmul_tile<1, Panels>(panels, k_count, x + r * x_stride, x_stride, y + r * y_stride, y_stride);
}

}  // namespace detail

/// Some outputs of y = x Wᵀ: those of the panels [first_panel, last_panel).
/// Shape     x (rows, x_stride), of which inputs() are read; y (rows, y_stride), of which 16 per panel are written, the
///           padding of the last panel included
/// Requires  y_stride >= 16 * panels
/// Cost      rows · outputs · inputs multiply-adds
inline void matmul(const PackedMatrix& w, std::size_t first_panel, std::size_t last_panel, const float* x, std::size_t rows,
                   std::size_t x_stride, float* y, std::size_t y_stride) noexcept {
    constexpr std::size_t together = 4;  // chains of one row at m = 1: enough to hide the latency of an fma
    std::size_t p = first_panel;
    for (; p + together <= last_panel; p += together) {
        detail::matmul_panels<together>(w.panel(p), w.inputs(), x, rows, x_stride, y + p * panel_outputs, y_stride);
    }
    for (; p < last_panel; ++p) {
        detail::matmul_panels<1>(w.panel(p), w.inputs(), x, rows, x_stride, y + p * panel_outputs, y_stride);
    }
}

}  // namespace flashback::inline FLASHBACK_ISA::simd::plain
