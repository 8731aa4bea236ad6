/// \file One writer at a time.
#pragma once

#include "flashback/core/error.hpp"

#include <cerrno>
#include <cstring>
#include <filesystem>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

namespace flashback::inline FLASHBACK_ISA::detail {

/// Holds the file `lock` of a folder; the system lets go of it when the process ends, in whatever way.
class FolderLock {
public:
    explicit FolderLock(const std::filesystem::path& folder) {
        const std::filesystem::path path = folder / "lock";
        file_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (file_ < 0) FLASHBACK_THROW(ErrorCode::io, "cannot write '", path.string(), "': ", std::strerror(errno));
        if (::flock(file_, LOCK_EX | LOCK_NB) == 0) return;
        const int error = errno;
        ::close(file_);
        FLASHBACK_THROW(ErrorCode::io, "cannot write to the index '", folder.string(),
                        "': ", error == EWOULDBLOCK ? "another writer has it" : std::strerror(error));
    }
    FolderLock(const FolderLock&) = delete;
    FolderLock& operator=(const FolderLock&) = delete;
    ~FolderLock() { ::close(file_); }

private:
    int file_;
};

}  // namespace flashback::inline FLASHBACK_ISA::detail
