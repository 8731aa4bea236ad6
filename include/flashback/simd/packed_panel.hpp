/// \file The width that everything shares: sixteen outputs side by side.
#pragma once

#include "flashback/core/config.hpp"

#include <cstddef>

namespace flashback::inline FLASHBACK_ISA::simd {

/// How many outputs lie side by side in a panel: one AVX-512 vector, two of AVX2, four of SSE2 or NEON.
inline constexpr std::size_t panel_outputs = 16;

/// The least multiple of `panel_outputs` that is >= n.
constexpr std::size_t padded(std::size_t n) noexcept { return (n + panel_outputs - 1) / panel_outputs * panel_outputs; }

}  // namespace flashback::inline FLASHBACK_ISA::simd
