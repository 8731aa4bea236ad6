/// \file Asking for weights before they are read.
#pragma once

#include "flashback/simd/fma.hpp"

#include <cstddef>
#include <cstdint>

namespace flashback::inline FLASHBACK_ISA::simd::detail {

// An address instead of a pointer: after the last panel there may be nothing.
FLASHBACK_SIMD_INLINE const void* address_ahead(const std::byte* from, std::size_t bytes) noexcept {
    return reinterpret_cast<const void*>(reinterpret_cast<std::uintptr_t>(from) + bytes);
}
FLASHBACK_SIMD_INLINE void prefetch(const std::byte* from, std::size_t bytes_ahead) noexcept {
    __builtin_prefetch(address_ahead(from, bytes_ahead));
}
/// Into the second-level cache only: the first level is full of what is multiplied now.
FLASHBACK_SIMD_INLINE void prefetch_far(const std::byte* from, std::size_t bytes_ahead) noexcept {
    __builtin_prefetch(address_ahead(from, bytes_ahead), 0, 2);
}

}  // namespace flashback::inline FLASHBACK_ISA::simd::detail
