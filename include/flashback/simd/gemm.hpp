/// \file The products of training, C = A B and C += A B in f32. A, B and C are read as they lie in memory, or as panels.
#pragma once

#include "flashback/simd/detail/gemm_tile.hpp"

#include <cstddef>

namespace flashback::inline FLASHBACK_ISA::simd {

/// The left factor: rows as they lie in memory, or their transpose.
struct GemmRows {
    const float* data;        ///< the first element
    std::size_t stride;       ///< from one row to the next
    bool transposed = false;  ///< false: element (r, k) is data[r · stride + k]; true: data[k · stride + r]
};

/// The right factor: columns in panels of 16. Those of panel p at k are data[p · panel + k · step + (0..15)].
///
/// A matrix of rows is {data, 16, stride}; a PackedMatrix of f32, whose outputs are the columns, is {data, inputs · 16, 16}.
struct GemmPanels {
    const float* data;        ///< the first element
    std::size_t panel, step;  ///< from one panel to the next; from one k to the next
};

/// The product, its columns in panels of 16. Those of panel p in row r are data[p · panel + r · row + (0..15)].
struct GemmResult {
    float* data;             ///< the first element
    std::size_t panel, row;  ///< from one panel to the next; from one row to the next
};

/// Rows of A and C, panels of B and C, and the length of the sums.
struct GemmShape {
    std::size_t rows, panels, depth;  ///< of A and C; of B and C; of the sums
};

/// Whether a product is written over C, or added to what C holds.
enum class GemmStart : bool { zero, accumulate };

/// C = A B or C += A B. Every element is one chain of multiply-adds, k ascending, which begins at 0 or at what C holds. The
/// bits are those of testing::plain::gemm, however the rows and panels are divided among calls.
/// Shape     A (rows, depth)   B (depth, 16 panels)   C (rows, 16 panels): all 16 columns of each panel are read and written
/// Requires  C shares no memory with A and B
/// Cost      rows · depth · 16 panels multiply-adds
/// Source    Goto and van de Geijn 2008, Anatomy of high-performance matrix multiplication
inline void gemm(const GemmRows& a, const GemmPanels& b, const GemmResult& c, const GemmShape& shape,
                 GemmStart start = GemmStart::zero) noexcept {
    const detail::GemmOperands g{a.data, a.stride, b.data, b.panel, b.step, c.data, c.panel, c.row};
    if (a.transposed) {
        detail::gemm<true>(g, shape.rows, shape.panels, shape.depth, start == GemmStart::accumulate);
    } else {
        detail::gemm<false>(g, shape.rows, shape.panels, shape.depth, start == GemmStart::accumulate);
    }
}

}  // namespace flashback::inline FLASHBACK_ISA::simd
