/// \file Sixteen lanes to one number, by one fixed tree (rule R4).
#pragma once

#include "flashback/simd/detail/lanes.hpp"

#include <cstddef>

namespace flashback::inline FLASHBACK_ISA::simd {

namespace detail {

// operation(x[j], x[j + 8]) for j < 8, then the same with 4, 2 and 1: what ends up in x[0].
template <class Operation>
FLASHBACK_SIMD_INLINE float tree(const Lanes& x, const Operation& operation) noexcept {
    Batch part[Lanes::batches];
    each_batch([&](std::size_t i) FLASHBACK_SIMD_LAMBDA { part[i] = x.part[i]; });
#pragma GCC unroll 16
    for (std::size_t half = Lanes::batches / 2; half > 0; half /= 2) {
#pragma GCC unroll 16
        for (std::size_t i = 0; i < half; ++i) part[i] = operation(part[i], part[i + half]);
    }
    Batch one = part[0];
    if constexpr (batch_floats > 8) one = operation(one, swap_groups<8>(one));
    if constexpr (batch_floats > 4) one = operation(one, swap_groups<4>(one));
    if constexpr (batch_floats > 1) {  // at least 4
        one = operation(one, swap_groups<2>(one));
        one = operation(one, swap_groups<1>(one));
    }
    return first_of(one);
}

}  // namespace detail

/// The sum of 16 partial sums by one fixed tree.
FLASHBACK_SIMD_INLINE float tree_sum(const Lanes& part) noexcept {
    return detail::tree(part, [](const Batch& a, const Batch& b) FLASHBACK_SIMD_LAMBDA { return a + b; });
}

/// The greatest of 16 numbers.
/// Requires  none is NaN; lanes that start at -infinity and go through `max` never are
FLASHBACK_SIMD_INLINE float tree_max(const Lanes& part) noexcept {
    return detail::tree(part,
                        [](const Batch& a, const Batch& b) FLASHBACK_SIMD_LAMBDA { return detail::select_batch(a < b, b, a); });
}

}  // namespace flashback::inline FLASHBACK_ISA::simd
