/// \file Writes a file as a whole or not at all.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/format/folder.hpp"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

namespace flashback::inline FLASHBACK_ISA {

/// A file that appears under its name when it is finished. Until then its bytes are in a temporary file beside the target. If
/// it is destroyed earlier, or the program is killed, nothing has changed.
class AtomicFile {
public:
    /// Creates the temporary file. So a target that cannot be written is found before any work is done. A target that exists
    /// will be replaced; if it is a symbolic link, the link stays and the file that it points to is replaced.
    /// Throws    Error{io} if that is impossible, or if the target exists and is not a regular file, or
    ///           is a link to nothing
    explicit AtomicFile(const std::filesystem::path& target) : target_(target) {
        std::error_code error;
        if (std::filesystem::exists(target_, error)) {
            if (!std::filesystem::is_regular_file(target_, error)) {
                FLASHBACK_THROW(ErrorCode::io, "cannot write '", target.string(), "': it exists and is ",
                                std::filesystem::is_directory(target_, error) ? "a folder" : "no regular file",
                                ", expected a file or nothing");
            }
            target_ = std::filesystem::canonical(target, error);
            if (error) FLASHBACK_THROW(ErrorCode::io, "cannot write '", target.string(), "': ", error.message());
        } else if (std::filesystem::is_symlink(std::filesystem::symlink_status(target_, error))) {
            FLASHBACK_THROW(ErrorCode::io, "cannot write '", target.string(), "': it is a symbolic link to '",
                            std::filesystem::read_symlink(target_, error).string(), "', which is not there");
        }
        // O_EXCL and a number: this never touches a file that another run left behind or is writing now.
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
    /// Throws    Error{contract} after `sync`; Error{io} if the disk is full or fails, and then the temporary file is gone
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
    /// Writes text as it is.
    void write(std::string_view text) { write(std::as_bytes(std::span{text})); }

    /// Makes sure that all bytes are on the disk. Nothing can be written after that, and the file has not appeared yet. If
    /// several files belong together, sync all of them first and then finish each.
    /// Throws    Error{contract} if that was done before; Error{io}
    void sync() {
        FLASHBACK_ASSERT(file_ >= 0, "'", target_.string(), "': it is finished already");
        if (::fsync(file_) != 0 && errno != EINVAL) refuse(errno);
        if (::close(std::exchange(file_, -1)) != 0) refuse(errno);
    }

    /// Makes the file appear under its name.
    /// Throws    Error{contract} if it has appeared already; Error{io}, and then nothing has changed, unless the sentence says
    ///           that the file is written
    void finish() {
        if (file_ >= 0) sync();  // a rename must not reach the disk before the bytes do
        FLASHBACK_ASSERT(!temporary_.empty(), "'", target_.string(), "': it is finished already");
        if (::rename(temporary_.c_str(), target_.c_str()) != 0) refuse(errno);
        temporary_.clear();
        sync_folder();
    }

private:
    // The new name is an entry of the folder. Some file systems cannot sync a folder: then the bytes are safe, but the name may
    // be the old one.
    void sync_folder() const {
        const std::string folder = target_.has_parent_path() ? target_.parent_path().string() : ".";
        const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (descriptor < 0) return;
        const int error = ::fsync(descriptor) == 0 || errno == EINVAL ? 0 : errno;
        ::close(descriptor);
        if (error != 0) {
            FLASHBACK_THROW(ErrorCode::io, "'", target_.string(),
                            "' is written, but its folder cannot be: ", std::strerror(error));
        }
    }

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

/// The temporary files of a target that are there: of an AtomicFile that is being written, or of a program that was killed.
/// Throws    Error{io} if the folder cannot be read
inline std::vector<std::filesystem::path> temporary_files_of(const std::filesystem::path& target) {
    const std::string stem = target.filename().string() + ".part";
    const std::filesystem::path folder = target.has_parent_path() ? target.parent_path() : std::filesystem::path{"."};
    std::vector<std::filesystem::path> found;
    for (const std::string& name : folder_entries(folder)) {
        const std::string_view rest = name.starts_with(stem) ? std::string_view{name}.substr(stem.size()) : "";
        if (!rest.empty() && std::ranges::all_of(rest, [](char c) { return c >= '0' && c <= '9'; }))
            found.push_back(target.parent_path() / name);
    }
    return found;
}

}  // namespace flashback::inline FLASHBACK_ISA
