/// \file Writing files: whole or not at all.
#pragma once

#include "flashback/core/error.hpp"

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <span>
#include <string>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

namespace flashback::inline FLASHBACK_ISA {

/// A file that appears under its name when it is finished, with all its bytes on the disk, and not before: they go to a temporary
/// file beside the target, which `finish` renames. One that is destroyed before has changed nothing.
class AtomicFile {
public:
    /// Creates the temporary file, so that a target that cannot be written is found before any work is done. A target that
    /// exists will be replaced; a symbolic link stays one, and what it points to is replaced.
    /// Throws    Error{io} if that is impossible, or if the target exists and is no regular file
    explicit AtomicFile(const std::filesystem::path& target) : target_(target) {
        std::error_code ignored;
        if (std::filesystem::exists(target_, ignored)) {
            if (!std::filesystem::is_regular_file(target_, ignored)) {
                FLASHBACK_THROW(ErrorCode::io, "cannot write '", target.string(), "': it exists and is ",
                                std::filesystem::is_directory(target_, ignored) ? "a folder" : "no regular file",
                                ", expected a file or nothing");
            }
            target_ = std::filesystem::canonical(target_);
        }
        // O_EXCL and a number: a file that another run left, or is writing, is not touched.
        for (int number = 0; file_ < 0; ++number) {
            temporary_ = target_.string() + ".part" + std::to_string(number);
            file_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
            if (file_ >= 0) break;
            if (errno == EEXIST && number < 1000) continue;
            temporary_.clear();  // nothing to remove
            refuse(errno);
        }
    }
    AtomicFile(const AtomicFile&) = delete;
    AtomicFile& operator=(const AtomicFile&) = delete;
    ~AtomicFile() { clean_up(); }

    /// Appends bytes.
    /// Requires  it is not finished
    /// Throws    Error{contract} otherwise; Error{io} if the disk is full or fails
    void write(std::span<const std::byte> bytes) {
        FLASHBACK_ASSERT(file_ >= 0, "'", target_.string(), "' is written to after its end");
        while (!bytes.empty()) {
            const ::ssize_t done = ::write(file_, bytes.data(), bytes.size());
            if (done >= 0) {
                bytes = bytes.subspan(static_cast<std::size_t>(done));
            } else if (errno != EINTR) {
                refuse(errno);
            }
        }
    }

    /// Makes the file appear under its name.
    /// Throws    Error{contract} if it is finished already; Error{io}, and then nothing has changed
    void finish() {
        FLASHBACK_ASSERT(file_ >= 0, "'", target_.string(), "' cannot be finished: it is finished already");
        // A rename must not reach the disk before the bytes do.
        if (::fsync(file_) != 0 && errno != EINVAL) refuse(errno);
        if (::close(std::exchange(file_, -1)) != 0) refuse(errno);
        if (::rename(temporary_.c_str(), target_.c_str()) != 0) refuse(errno);
        temporary_.clear();
    }

private:
    [[noreturn]] void refuse(int error) {
        clean_up();
        FLASHBACK_THROW(ErrorCode::io, "cannot write '", target_.string(), "': ", std::strerror(error));
    }

    void clean_up() noexcept {
        if (file_ >= 0) ::close(std::exchange(file_, -1));
        if (!temporary_.empty()) ::unlink(temporary_.c_str());
        temporary_.clear();
    }

    std::filesystem::path target_;
    std::string temporary_;
    int file_ = -1;
};

}  // namespace flashback::inline FLASHBACK_ISA
