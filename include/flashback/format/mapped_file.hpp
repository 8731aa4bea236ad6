/// \file A file as read-only memory.
#pragma once

#include "flashback/core/error.hpp"

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace flashback::inline FLASHBACK_ISA {

/// How the bytes of a file come into memory.
enum class FileAccess : std::uint8_t {
    map,   ///< pages come when they are touched, without a copy; the file must not shrink meanwhile
    copy,  ///< all at once, into memory of our own; later changes of the file do no harm
};

/// What tells at a glance that a file was changed.
struct FileStamp {
    std::uint64_t size = 0;     ///< bytes
    std::int64_t modified = 0;  ///< when it was changed last: nanoseconds since 1970, as finely as the file system tells

    friend bool operator==(const FileStamp&, const FileStamp&) = default;
};

/// The bytes of a file, mapped into memory or, on request, copied.
///
/// While a file is mapped, it must not shrink: reading past its new end ends the program (SIGBUS), and nothing here can prevent
/// that. It must not be rewritten in place either, because then it is no longer what was checked. Open files that others may
/// change with FileAccess::copy. Files that are only replaced under their name, as AtomicFile does, are always safe.
class MappedFile {
public:
    /// Throws    Error{io} if the file cannot be opened or read, is not a regular file, or shrinks while it is copied; with
    ///           FileAccess::copy std::bad_alloc
    /// Cost      map: no reading, pages come when they are touched; copy: reads the file, and holds as many bytes
    explicit MappedFile(const std::filesystem::path& path, FileAccess access = FileAccess::map) {
        // Opening a pipe would wait until somebody writes to it; it is refused below.
        const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        if (file < 0) FLASHBACK_THROW(ErrorCode::io, "cannot open '", path.string(), "': ", std::strerror(errno));
        const std::unique_ptr<const int, Close> closer{&file};
        struct stat status {};
        if (::fstat(file, &status) != 0)
            FLASHBACK_THROW(ErrorCode::io, "cannot look at '", path.string(), "': ", std::strerror(errno));
        if (!S_ISREG(status.st_mode)) {
            FLASHBACK_THROW(ErrorCode::io, "'", path.string(), "' is ",
                            S_ISDIR(status.st_mode) ? "a folder" : "no regular file", ", expected a file");
        }
        const auto size = static_cast<std::size_t>(status.st_size);
        stamp_ = {size, modified(status)};
        if (size == 0) return;  // an empty mapping does not exist
        if (access == FileAccess::copy) {
            copy_ = std::make_unique_for_overwrite<std::byte[]>(size);
            read_all(file, {copy_.get(), size}, path);
            data_ = copy_.get();
        } else {
            void* memory = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file, 0);
            if (memory == MAP_FAILED)
                FLASHBACK_THROW(ErrorCode::io, "cannot map '", path.string(), "': ", std::strerror(errno));
            data_ = static_cast<const std::byte*>(memory);
        }
        size_ = size;
    }
    MappedFile(MappedFile&& other) noexcept
        : copy_(std::move(other.copy_)),
          data_(std::exchange(other.data_, nullptr)),
          size_(std::exchange(other.size_, 0)),
          stamp_(other.stamp_) {}
    MappedFile& operator=(MappedFile&& other) noexcept {
        std::swap(copy_, other.copy_);
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        std::swap(stamp_, other.stamp_);
        return *this;
    }
    ~MappedFile() {
        if (data_ && !copy_) ::munmap(const_cast<std::byte*>(data_), size_);
    }

    /// The whole file.
    std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }
    /// The bytes as characters.
    std::string_view text() const noexcept { return {reinterpret_cast<const char*>(data_), size_}; }

    /// Size and time of the file when it was opened.
    const FileStamp& stamp() const noexcept { return stamp_; }

    /// Says that a part will not be read soon: its memory goes back to the system and is read again when it is touched. A copy
    /// keeps its memory.
    void release(std::span<const std::byte> part) const noexcept {
        if (copy_) return;
        const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
        const std::uintptr_t begin = (reinterpret_cast<std::uintptr_t>(part.data()) + page - 1) / page * page;
        const std::uintptr_t end = reinterpret_cast<std::uintptr_t>(part.data() + part.size()) / page * page;
        if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
    }

private:
    struct Close {
        void operator()(const int* file) const noexcept { ::close(*file); }
    };

    static std::int64_t modified(const struct stat& status) noexcept {
#if defined(__APPLE__)
        const auto& time = status.st_mtimespec;
#else
        const auto& time = status.st_mtim;
#endif
        return std::int64_t{time.tv_sec} * 1000000000 + std::int64_t{time.tv_nsec};
    }

    static void read_all(int file, std::span<std::byte> rest, const std::filesystem::path& path) {
        const std::size_t size = rest.size();
        while (!rest.empty()) {
            const ::ssize_t done = ::read(file, rest.data(), rest.size());
            if (done == 0) {
                FLASHBACK_THROW(ErrorCode::io, "'", path.string(), "' shrank while it was read: ", size - rest.size(), " of ",
                                size, " bytes were there");
            }
            if (done > 0) {
                rest = rest.subspan(static_cast<std::size_t>(done));
            } else if (errno != EINTR) {
                FLASHBACK_THROW(ErrorCode::io, "cannot read '", path.string(), "': ", std::strerror(errno));
            }
        }
    }

    std::unique_ptr<std::byte[]> copy_;
    const std::byte* data_ = nullptr;
    std::size_t size_ = 0;
    FileStamp stamp_;
};

}  // namespace flashback::inline FLASHBACK_ISA
