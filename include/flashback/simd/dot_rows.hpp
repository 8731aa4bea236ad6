/// \file Dot products of many rows with some queries: what a search among vectors does.
#pragma once

#include "flashback/simd/detail/dot_tile.hpp"

#include <cstddef>

namespace flashback::inline FLASHBACK_ISA::simd {

/// Rows of float, Half or Int8; row r begins at data + r · stride.
template <class Element>
struct DotRows {
    const Element* data;  ///< the first row
    std::size_t stride;   ///< from one row to the next
    std::size_t count;    ///< how many rows
};

/// Where the products go: that of row r and query q is data[q · stride + r].
struct DotResult {
    float* data;         ///< the first product
    std::size_t stride;  ///< from one product to the next
};

/// The dot product of each row with each query. Element k is added to partial sum k mod 16, one multiply-add after the other,
/// and the 16 partial sums are added up by the tree of the norms (rule R4). So a product depends on its row and its query
/// alone, to the bit.
/// Shape     rows (count, n)   queries (count, n)   out (queries, rows)
/// Requires  n is a multiple of 16: shorter rows and queries end in zeros
/// Cost      rows · queries · n multiply-adds; the rows are read once from memory
template <class Element>
inline void dot_rows(const DotRows<Element>& rows, const DotRows<float>& queries, std::size_t n,
                     const DotResult& out) noexcept {
    if (rows.count == 0 || queries.count == 0) return;
    detail::dot_rows<Element>(
        {rows.data, rows.stride, rows.count, queries.data, queries.stride, queries.count, out.data, out.stride}, n);
}

/// One of these products, with the same bits.
/// Shape     row, query (n)
/// Requires  as above
template <class Element>
inline float dot_row(const Element* row, const float* query, std::size_t n) noexcept {
    return detail::dot_row<Element>(row, query, n);
}

}  // namespace flashback::inline FLASHBACK_ISA::simd
