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

/// A file mapped into memory. The file must not shrink while it is mapped: reading past its new end would end the program.
class MappedFile {
public:
    /// Throws    Error{io} if the file cannot be opened or is no regular file
    /// Cost      no reading: pages come when they are touched
    explicit MappedFile(const std::filesystem::path& path) {
        const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
        if (file < 0) FLASHBACK_THROW(ErrorCode::io, "cannot open '", path.string(), "': ", std::strerror(errno));
        const std::unique_ptr<const int, Close> closer{&file};
        struct stat status {};
        if (::fstat(file, &status) != 0)
            FLASHBACK_THROW(ErrorCode::io, "cannot look at '", path.string(), "': ", std::strerror(errno));
        if (!S_ISREG(status.st_mode)) {
            FLASHBACK_THROW(ErrorCode::io, "'", path.string(), "' is ",
                            S_ISDIR(status.st_mode) ? "a folder" : "no regular file", ", expected a file");
        }
        size_ = static_cast<std::size_t>(status.st_size);
        if (size_ == 0) return;  // an empty mapping does not exist
        void* memory = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file, 0);
        if (memory == MAP_FAILED) FLASHBACK_THROW(ErrorCode::io, "cannot map '", path.string(), "': ", std::strerror(errno));
        data_ = static_cast<const std::byte*>(memory);
    }
    MappedFile(MappedFile&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
    MappedFile& operator=(MappedFile&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        return *this;
    }
    ~MappedFile() {
        if (data_) ::munmap(const_cast<std::byte*>(data_), size_);
    }

    std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }
    /// The bytes as characters.
    std::string_view text() const noexcept { return {reinterpret_cast<const char*>(data_), size_}; }

    /// Says that a part will not be read soon: its memory goes back to the system, and comes again when it is touched.
    void release(std::span<const std::byte> part) const noexcept {
        const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
        const std::uintptr_t begin = (reinterpret_cast<std::uintptr_t>(part.data()) + page - 1) / page * page;
        const std::uintptr_t end = reinterpret_cast<std::uintptr_t>(part.data() + part.size()) / page * page;
        if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
    }

private:
    struct Close {
        void operator()(const int* file) const noexcept { ::close(*file); }
    };
    const std::byte* data_ = nullptr;
    std::size_t size_ = 0;
};

}  // namespace flashback::inline FLASHBACK_ISA
