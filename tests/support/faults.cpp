#include "support/faults.hpp"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdlib>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

using flashback_test::Fault;

std::atomic<std::size_t> left{0};  // until it happens; 0: never
std::atomic<Fault> kind{Fault::allocation};
std::atomic<bool> done{false};
std::atomic<std::size_t> pieces{0};
std::atomic<std::size_t> files{0};

/// Whether it is this one that fails.
bool fails(Fault fault) noexcept {
    if (left.load(std::memory_order_relaxed) == 0 || kind.load(std::memory_order_relaxed) != fault) return false;
    if (left.fetch_sub(1, std::memory_order_relaxed) != 1) return false;
    done.store(true, std::memory_order_relaxed);
    return true;
}

[[maybe_unused]] bool fails_with(int error) noexcept {
    if (fails(Fault::killed)) ::raise(SIGKILL);
    if (!fails(Fault::file)) return false;
    errno = error;
    return true;
}

/// What a read or a write of so many bytes does: fewer of them, or nothing but an error.
/// Shape     false: the call ends with `result`
[[maybe_unused]] bool goes_on(std::size_t& count, ::ssize_t& result, int error) noexcept {
    result = -1;
    if (fails_with(error)) return false;
    if (fails(Fault::interrupted)) {
        errno = EINTR;
        return false;
    }
    if (fails(Fault::less) && count > 1) count /= 2;
    return true;
}

void* allocate(std::size_t size, std::size_t alignment) noexcept {
    if (fails(Fault::allocation)) return nullptr;
    const std::size_t least = size > 0 ? size : 1;
    const std::size_t rounded = (least + alignment - 1) / alignment * alignment;
    void* const memory = alignment <= alignof(std::max_align_t) ? std::malloc(least) : std::aligned_alloc(alignment, rounded);
    if (memory) pieces.fetch_add(1, std::memory_order_relaxed);
    return memory;
}

void* allocate_or_throw(std::size_t size, std::size_t alignment) {
    void* const memory = allocate(size, alignment);
    if (!memory) throw std::bad_alloc{};
    return memory;
}

void give_back(void* memory) noexcept {
    if (memory) pieces.fetch_sub(1, std::memory_order_relaxed);
    std::free(memory);
}

std::size_t number(std::align_val_t alignment) { return static_cast<std::size_t>(alignment); }

}  // namespace

namespace flashback_test {

void arm(Fault fault, std::size_t n) noexcept {
    done = false;
    kind = fault;
    left = n;
}

bool disarm() noexcept {
    left = 0;
    return done.exchange(false);
}

Holdings holdings() noexcept { return {pieces.load(), files.load()}; }

}  // namespace flashback_test

void* operator new(std::size_t size) { return allocate_or_throw(size, 1); }
void* operator new[](std::size_t size) { return allocate_or_throw(size, 1); }
void* operator new(std::size_t size, std::align_val_t alignment) { return allocate_or_throw(size, number(alignment)); }
void* operator new[](std::size_t size, std::align_val_t alignment) { return allocate_or_throw(size, number(alignment)); }
void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return allocate(size, 1); }
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept { return allocate(size, 1); }
void* operator new(std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
    return allocate(size, number(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
    return allocate(size, number(alignment));
}
void operator delete(void* memory) noexcept { give_back(memory); }
void operator delete[](void* memory) noexcept { give_back(memory); }
void operator delete(void* memory, std::size_t) noexcept { give_back(memory); }
void operator delete[](void* memory, std::size_t) noexcept { give_back(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { give_back(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { give_back(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { give_back(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { give_back(memory); }

// The sanitizers have functions of their own for files, which must stay; so under them only allocations fail.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

// These take the place of the C library's in the whole program, and ask the system themselves.
extern "C" {

int open(const char* path, int flags, ...) {
    if (fails_with(EMFILE)) return -1;
    std::va_list arguments;
    va_start(arguments, flags);
    const auto mode = (flags & O_CREAT) != 0 ? va_arg(arguments, ::mode_t) : ::mode_t{0};
    va_end(arguments);
    const auto file = static_cast<int>(::syscall(SYS_openat, AT_FDCWD, path, flags, mode));
    if (file >= 0) files.fetch_add(1, std::memory_order_relaxed);
    return file;
}
int close(int file) {
    const auto result = static_cast<int>(::syscall(SYS_close, file));
    if (result == 0) files.fetch_sub(1, std::memory_order_relaxed);
    return result == 0 && fails_with(EIO) ? -1 : result;  // it is closed all the same, as Linux has it
}
int fstat(int file, struct stat* status) noexcept {
    return fails_with(EIO) ? -1 : static_cast<int>(::syscall(SYS_newfstatat, file, "", status, AT_EMPTY_PATH));
}
void* mmap(void* address, std::size_t size, int protection, int flags, int file, ::off_t offset) noexcept {
    if (file >= 0 && fails_with(ENOMEM)) return MAP_FAILED;
    // NOLINTNEXTLINE(performance-no-int-to-ptr): a system call has no other result
    return reinterpret_cast<void*>(::syscall(SYS_mmap, address, size, protection, flags, file, offset));
}
::ssize_t read(int file, void* bytes, std::size_t count) {
    ::ssize_t result = 0;
    if (!goes_on(count, result, EIO)) return result;
    return fails(Fault::end_of_file) ? 0 : static_cast<::ssize_t>(::syscall(SYS_read, file, bytes, count));
}
::ssize_t write(int file, const void* bytes, std::size_t count) {
    ::ssize_t result = 0;
    return goes_on(count, result, ENOSPC) ? static_cast<::ssize_t>(::syscall(SYS_write, file, bytes, count)) : result;
}
int fsync(int file) { return fails_with(EIO) ? -1 : static_cast<int>(::syscall(SYS_fsync, file)); }
int rename(const char* from, const char* to) noexcept {
    return fails_with(EACCES) ? -1 : static_cast<int>(::syscall(SYS_rename, from, to));
}
}

#endif
