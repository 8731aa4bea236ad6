/// \file Sixteen lanes to one number, by one fixed tree (rule R4).
#pragma once

#include "flashback/simd/detail/lanes.hpp"

#include <algorithm>
#include <cstddef>

namespace flashback::inline FLASHBACK_ISA::simd {

/// The sum of 16 partial sums by one fixed tree.
FLASHBACK_SIMD_INLINE float tree_sum(const Lanes& part) noexcept {
    float sum[panel_outputs];
    part.store(sum);
    for (std::size_t width = panel_outputs / 2; width > 0; width /= 2) {
        for (std::size_t j = 0; j < width; ++j) sum[j] += sum[j + width];
    }
    return sum[0];
}

/// The greatest of 16 numbers.
/// Requires  none is NaN; lanes that start at -infinity and go through `max` never are
FLASHBACK_SIMD_INLINE float tree_max(const Lanes& part) noexcept {
    float most[panel_outputs];
    part.store(most);
    for (std::size_t width = panel_outputs / 2; width > 0; width /= 2) {
        for (std::size_t j = 0; j < width; ++j) most[j] = std::max(most[j], most[j + width]);
    }
    return most[0];
}

}  // namespace flashback::inline FLASHBACK_ISA::simd
