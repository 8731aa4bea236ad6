/// \file Products with a packed matrix.
#pragma once

#include "flashback/simd/detail/matmul_tile.hpp"
#include "flashback/simd/packed_matrix.hpp"

#include <cstddef>

namespace flashback::inline FLASHBACK_ISA::simd {

/// A stride of at least n floats for the rows of a product. It is an odd number of cache lines: rows whose distance is a power
/// of two share a few lines of the cache and evict each other.
constexpr std::size_t row_stride(std::size_t n) noexcept { return (padded(n) / panel_outputs | 1) * panel_outputs; }

/// The panels [first, last) of a matrix.
struct PanelRange {
    std::size_t first, last;  ///< the first one, and the one behind the last
};

/// Where the rows of a product go.
/// Shape     data (rows, stride)
struct MatmulResult {
    float* data;         ///< the first element
    std::size_t stride;  ///< from one row to the next
};

/// How many panels of a type are multiplied side by side if there are several rows; fewer of them take as long.
constexpr std::size_t panels_together(DType type) noexcept {
    std::size_t panels = 1;
    detail::with_format(type, [&](auto format) { panels = detail::panels_together<decltype(format)>(); });
    return panels;
}

/// Some outputs of y = x Wᵀ: those of some panels. Every output is one chain of multiply-adds, k ascending. Float weights give
/// one multiply-add each (BF16: of products of bfloat16); quantised weights give one for each exact sum of 32. The bits are
/// those of testing::plain::matmul, whatever the number of rows and panels.
/// Shape     a (rows, inputs()), converted for operand_of(w.type()) unless that is f32; y (rows, y.stride), of which 16 for
///           each panel are written, including the padding of the last one
/// Requires  y.stride >= 16 * panels; y at any address of a float, rows best with a stride of row_stride()
/// Cost      rows · outputs · inputs multiply-adds; the weights are read once from memory
/// Source    Goto and van de Geijn 2008, Anatomy of high-performance matrix multiplication (what is blocked, and for which
///           cache)
inline void matmul(const PackedMatrix& w, PanelRange panels, const Activations& a, std::size_t rows,
                   const MatmulResult& y) noexcept {
    if (panels.first == panels.last) return;
    detail::with_format(w.type(), [&](auto format) {
        detail::matmul<decltype(format)>({w.panel(0), w.panel_bytes(), w.inputs(), panels.first, panels.last}, a, rows, y.data,
                                         y.stride);
    });
}

}  // namespace flashback::inline FLASHBACK_ISA::simd
