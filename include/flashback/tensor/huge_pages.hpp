/// \file Huge pages for large arrays.
#pragma once

#include "flashback/tensor/aligned_buffer.hpp"

#include <cstddef>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace flashback::inline FLASHBACK_ISA {

/// Asks the system to back an array with huge pages as it is written, if that is possible. With huge pages two threads read
/// weights from memory 1.6 times as fast, because the processor forgets the addresses of small pages too soon.
/// Requires  nothing was written to the array yet
template <class T>
AlignedBuffer<T> in_huge_pages(AlignedBuffer<T> buffer) noexcept {
#if defined(__linux__)
    constexpr std::size_t page = std::size_t{2} << 20;
    const std::size_t bytes = buffer.size() * sizeof(T);
    if (bytes >= page) ::madvise(buffer.data(), bytes / page * page, MADV_HUGEPAGE);  // an error changes nothing
#endif
    return buffer;
}

}  // namespace flashback::inline FLASHBACK_ISA
