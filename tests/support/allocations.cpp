#include "support/allocations.hpp"

#include <atomic>
#include <cstdlib>
#include <new>

#if defined(__GLIBC__)
#include <malloc.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace {

std::atomic<std::size_t> calls{0};
std::atomic<std::size_t> bytes{0};

void count(std::size_t size) noexcept {
    calls.fetch_add(1, std::memory_order_relaxed);
    bytes.fetch_add(size, std::memory_order_relaxed);
}

// The same conditions as those of counts_malloc, for the preprocessor.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__GLIBC__)
#define FLASHBACK_TEST_COUNT_NEW
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define FLASHBACK_TEST_COUNT_NEW
#endif
#endif

#if defined(FLASHBACK_TEST_COUNT_NEW)
static_assert(!flashback_test::counts_malloc);
#else
static_assert(flashback_test::counts_malloc);
#endif

}  // namespace

namespace flashback_test {

Allocations allocations() noexcept { return {calls.load(std::memory_order_relaxed), bytes.load(std::memory_order_relaxed)}; }

}  // namespace flashback_test

#if defined(FLASHBACK_TEST_COUNT_NEW)

namespace {

void* counted(std::size_t size, std::size_t alignment, std::nothrow_t /*or null*/) noexcept {
    count(size);
    const std::size_t least = size > 0 ? size : 1;
    const std::size_t rounded = (least + alignment - 1) / alignment * alignment;
    return alignment <= alignof(std::max_align_t) ? std::malloc(least) : std::aligned_alloc(alignment, rounded);
}

void* counted(std::size_t size, std::size_t alignment) {
    void* const memory = counted(size, alignment, std::nothrow);
    if (!memory) throw std::bad_alloc{};
    return memory;
}

std::size_t number(std::align_val_t alignment) { return static_cast<std::size_t>(alignment); }

}  // namespace

void* operator new(std::size_t size) { return counted(size, 1); }
void* operator new[](std::size_t size) { return counted(size, 1); }
void* operator new(std::size_t size, std::align_val_t alignment) { return counted(size, number(alignment)); }
void* operator new[](std::size_t size, std::align_val_t alignment) { return counted(size, number(alignment)); }
void* operator new(std::size_t size, const std::nothrow_t& or_null) noexcept { return counted(size, 1, or_null); }
void* operator new[](std::size_t size, const std::nothrow_t& or_null) noexcept { return counted(size, 1, or_null); }
void* operator new(std::size_t size, std::align_val_t alignment, const std::nothrow_t& or_null) noexcept {
    return counted(size, number(alignment), or_null);
}
void* operator new[](std::size_t size, std::align_val_t alignment, const std::nothrow_t& or_null) noexcept {
    return counted(size, number(alignment), or_null);
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

#else

// These take the place of the C library's in the whole program, its libraries included, and hand on to it by its inner names.
// The operator new of the C++ library comes here too.
extern "C" {

void* __libc_malloc(std::size_t) noexcept;                 // NOLINT(bugprone-reserved-identifier)
void* __libc_calloc(std::size_t, std::size_t) noexcept;    // NOLINT(bugprone-reserved-identifier)
void* __libc_realloc(void*, std::size_t) noexcept;         // NOLINT(bugprone-reserved-identifier)
void* __libc_memalign(std::size_t, std::size_t) noexcept;  // NOLINT(bugprone-reserved-identifier)
void* __libc_valloc(std::size_t) noexcept;                 // NOLINT(bugprone-reserved-identifier)
void* __libc_pvalloc(std::size_t) noexcept;                // NOLINT(bugprone-reserved-identifier)

void* malloc(std::size_t size) noexcept {
    count(size);
    return __libc_malloc(size);
}
void* calloc(std::size_t number, std::size_t size) noexcept {
    count(number * size);
    return __libc_calloc(number, size);
}
void* realloc(void* memory, std::size_t size) noexcept {
    count(size);
    return __libc_realloc(memory, size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept {
    count(size);
    return __libc_memalign(alignment, size);
}
void* memalign(std::size_t alignment, std::size_t size) noexcept {
    count(size);
    return __libc_memalign(alignment, size);
}
int posix_memalign(void** memory, std::size_t alignment, std::size_t size) noexcept {
    count(size);
    void* const found = __libc_memalign(alignment, size);
    if (!found) return 12;  // ENOMEM
    *memory = found;
    return 0;
}
void* valloc(std::size_t size) noexcept {
    count(size);
    return __libc_valloc(size);
}
void* pvalloc(std::size_t size) noexcept {
    count(size);
    return __libc_pvalloc(size);
}
void* mmap(void* address, std::size_t size, int protection, int flags, int file, off_t offset) noexcept {
    count(size);
#if defined(SYS_mmap2)  // 32-bit systems count pages there; what they call SYS_mmap has other parameters
    const auto result = ::syscall(SYS_mmap2, address, size, protection, flags, file, offset / 4096);
#else
    const auto result = ::syscall(SYS_mmap, address, size, protection, flags, file, offset);
#endif
    // NOLINTNEXTLINE(performance-no-int-to-ptr): a system call has no other result
    return reinterpret_cast<void*>(result);
}
void* mmap64(void* address, std::size_t size, int protection, int flags, int file, off64_t offset) noexcept {
    return mmap(address, size, protection, flags, file, static_cast<off_t>(offset));
}
}

#endif
