/// \file What dot_rows computes, as plain loops.
#pragma once

#include "flashback/simd/cache_element.hpp"
#include "flashback/simd/fma.hpp"
#include "flashback/simd/packed_panel.hpp"
#include "flashback/testing/plain/rows.hpp"

#include <cstddef>

namespace flashback::inline FLASHBACK_ISA::testing::plain {

/// The dot product of a row and a query.
/// Shape     row, query (n)
template <class Element>
float dot_row(const Element* row, const float* query, std::size_t n) noexcept {
    float part[simd::panel_outputs] = {};
    for (std::size_t k = 0; k < n; ++k) {
        float& sum = part[k % simd::panel_outputs];
        sum = simd::fma(simd::to_float(row[k]), query[k], sum);
    }
    return tree_sum(part);
}

}  // namespace flashback::inline FLASHBACK_ISA::testing::plain
