/// \file Products with a packed matrix.
#pragma once

#include "flashback/simd/detail/matmul_tile.hpp"
#include "flashback/simd/packed_matrix.hpp"

#include <cstddef>

namespace flashback::inline FLASHBACK_ISA::simd {

/// A stride of at least n floats for the rows of a product. It is an odd number of cache lines: rows whose distance is a power
/// of two share a few lines of the cache and evict each other.
constexpr std::size_t row_stride(std::size_t n) noexcept { return (padded(n) / panel_outputs | 1) * panel_outputs; }

/// Some outputs of y = x Wᵀ: those of the panels [first_panel, last_panel). Every output is one chain of multiply-adds, k
/// ascending. Float weights give one multiply-add each (BF16: of products of bfloat16); quantised weights give one for each
/// exact sum of 32. The bits are those of plain::matmul, whatever the number of rows and panels.
/// Shape     a (rows, inputs()), converted for operand_of(w.type()) unless that is f32; y (rows, y_stride), of which 16 per
///           panel are written, the padding of the last panel included
/// Requires  y_stride >= 16 * panels; y at any address of a float, rows best with a stride of row_stride()
/// Cost      rows · outputs · inputs multiply-adds; the weights are read once from memory
/// Source    Goto and van de Geijn 2008, Anatomy of high-performance matrix multiplication (what is blocked, and for which
///           cache)
inline void matmul(const PackedMatrix& w, std::size_t first_panel, std::size_t last_panel, const Activations& a,
                   std::size_t rows, float* y, std::size_t y_stride) noexcept {
    if (first_panel == last_panel) return;
    detail::with_format(w.type(), [&](auto format) {
        detail::matmul<decltype(format)>(w.panel(0), w.panel_bytes(), w.inputs(), first_panel, last_panel, a, rows, y,
                                         y_stride);
    });
}

}  // namespace flashback::inline FLASHBACK_ISA::simd
