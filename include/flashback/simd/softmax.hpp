/// \file The softmax of a row (rule R4).
#pragma once

#include "flashback/simd/detail/exp.hpp"
#include "flashback/simd/detail/lanes.hpp"
#include "flashback/simd/detail/reduce.hpp"

#include <cstddef>
#include <limits>

namespace flashback::inline FLASHBACK_ISA::simd {

/// y = e^(x - max(x)); gives the sum of these, so that dividing by it makes a softmax. -infinity becomes 0.
/// Shape     x, y (n); they may be the same row
inline float softmax_weights(const float* x, std::size_t n, float* y) noexcept {
    constexpr float infinity = std::numeric_limits<float>::infinity();
    Lanes part = Lanes::all(-infinity);
    each_lanes(n, [&](std::size_t i, auto count)
                      FLASHBACK_SIMD_LAMBDA { part = max(part, Lanes::load_first(x + i, count, -infinity)); });
    const Lanes most = Lanes::all(tree_max(part));
    Lanes sums = Lanes::all(0.0f);
    each_lanes(n, [&](std::size_t i, auto count) FLASHBACK_SIMD_LAMBDA {
        const Lanes weight = exp(Lanes::load_first(x + i, count, -infinity) - most);
        weight.store_first(y + i, count);
        sums = sums + weight;
    });
    return tree_sum(sums);
}

/// y = e^(x - max(x)) / sum of these. -infinity has the probability 0. All of y is NaN if x has a NaN or a +infinity, or if it
/// is all -infinity.
/// Shape     x, y (n); they may be the same row
inline void softmax(const float* x, std::size_t n, float* y) noexcept {
    const Lanes total = Lanes::all(softmax_weights(x, n, y));
    each_lanes(n, [&](std::size_t i, auto count)
                      FLASHBACK_SIMD_LAMBDA { (Lanes::load_first(y + i, count) / total).store_first(y + i, count); });
}

}  // namespace flashback::inline FLASHBACK_ISA::simd
