/// \file What a piece of code asks of the system: memory, in any way. A test that uses it links support/allocations.cpp.
#pragma once

#include <cstddef>

namespace flashback_test {

/// Whether malloc, its relatives and mmap are counted too. Sanitizers have a malloc of their own; with them only operator new
/// is counted.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__GLIBC__)
inline constexpr bool counts_malloc = false;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
inline constexpr bool counts_malloc = false;
#else
inline constexpr bool counts_malloc = true;
#endif
#else
inline constexpr bool counts_malloc = true;
#endif

/// Bytes and calls so far and in all threads: operator new in all its forms, malloc, calloc, realloc, aligned_alloc,
/// posix_memalign, memalign, valloc, pvalloc and mmap. One call counts once, however it is passed on.
struct Allocations {
    std::size_t calls = 0;
    std::size_t bytes = 0;
};
Allocations allocations() noexcept;

/// What `work()` asks for, whether it returns or throws.
template <class Work>
Allocations allocations_of(Work&& work) {
    const Allocations before = allocations();
    try {
        work();
    } catch (...) {
    }
    const Allocations after = allocations();
    return {after.calls - before.calls, after.bytes - before.bytes};
}

}  // namespace flashback_test
