/// \file Products with a packed matrix.
#pragma once

#include "flashback/simd/detail/matmul_tile.hpp"
#include "flashback/simd/packed_matrix.hpp"

#include <cstddef>

namespace flashback::inline FLASHBACK_ISA::simd {

/// A stride of at least n floats for the rows of a product: an odd number of cache lines, since rows that lie a power of two
/// apart share a few lines of the cache and evict each other.
constexpr std::size_t row_stride(std::size_t n) noexcept { return (padded(n) / panel_outputs | 1) * panel_outputs; }

/// Some outputs of y = x Wᵀ: those of the panels [first_panel, last_panel). Every output is one chain of multiply-adds, k
/// ascending; the bits are those of plain::matmul, whatever the number of rows and panels.
/// Shape     x (rows, x_stride), of which inputs() are read; y (rows, y_stride), of which 16 per panel are written, the
///           padding of the last panel included
/// Requires  y_stride >= 16 * panels; x and y at any address of a float, best with a stride of row_stride()
/// Cost      rows · outputs · inputs multiply-adds; the weights are read once from memory
/// Source    Goto and van de Geijn 2008, Anatomy of high-performance matrix multiplication (what is blocked, and for which cache)
inline void matmul(const PackedMatrix& w, std::size_t first_panel, std::size_t last_panel, const float* x, std::size_t rows,
                   std::size_t x_stride, float* y, std::size_t y_stride) noexcept {
    const std::size_t k_count = w.inputs();
    std::size_t p = first_panel;
    if (rows == 1) {
        for (; p + detail::row_panels <= last_panel; p += detail::row_panels)
            detail::matmul_row<detail::row_panels>(w.panel(p), k_count, x, y + p * panel_outputs);
        for (; p < last_panel; ++p) detail::matmul_row<1>(w.panel(p), k_count, x, y + p * panel_outputs);
        return;
    }
    const auto panels = [&]<std::size_t Panels>() {
        for (; p + Panels <= last_panel; p += Panels) {
            if (rows <= detail::few_rows) {
                detail::matmul_panels<Panels, true>(w.panel(p), k_count, x, rows, x_stride, y + p * panel_outputs, y_stride);
            } else {
                detail::matmul_panels<Panels, false>(w.panel(p), k_count, x, rows, x_stride, y + p * panel_outputs, y_stride);
            }
        }
    };
    panels.template operator()<detail::tile_panels>();
    if constexpr (detail::tile_panels > 1) panels.template operator()<1>();
}

}  // namespace flashback::inline FLASHBACK_ISA::simd
