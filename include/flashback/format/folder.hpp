/// \file What is in a folder, and folders that are made.
#pragma once

#include "flashback/core/error.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <dirent.h>
#include <unistd.h>

namespace flashback::inline FLASHBACK_ISA {

/// The sorted names of what is in a folder. (The iterators of libstdc++ 12 end the program if memory is short.)
/// Throws    Error{io} for a folder that cannot be read; std::bad_alloc
inline std::vector<std::string> folder_entries(const std::filesystem::path& folder) {
    const auto refuse = [&](int error) {
        FLASHBACK_THROW(ErrorCode::io, "cannot read the folder '", folder.string(), "': ", std::strerror(error));
    };
    struct Close {
        void operator()(::DIR* open) const noexcept { ::closedir(open); }
    };
    const std::unique_ptr<::DIR, Close> open{::opendir(folder.c_str())};
    if (!open) refuse(errno);
    std::vector<std::string> names;
    for (;;) {
        errno = 0;  // only this tells an error from the end
        const ::dirent* entry = ::readdir(open.get());
        if (entry == nullptr) break;
        const std::string_view name = entry->d_name;
        if (name != "." && name != "..") names.emplace_back(name);
    }
    if (errno != 0) refuse(errno);
    std::ranges::sort(names);
    return names;
}

/// Makes a folder, and those above it, for what will be written into it. The destructor removes those that are still empty, so
/// that a program that could write nothing leaves no folder behind.
class MadeFolder {
public:
    /// What is already there, the folder itself or those above it, will not be removed.
    /// Throws    Error{io} if it cannot be made, or something else has its name
    explicit MadeFolder(const std::filesystem::path& folder) {
        std::error_code error;
        std::filesystem::path path = std::filesystem::absolute(folder).lexically_normal();
        if (!path.has_filename()) path = path.parent_path();
        for (std::filesystem::path above = path; above.has_relative_path(); above = above.parent_path()) {
            if (std::filesystem::exists(above, error)) break;
            made_.push_back(above);
        }
        std::filesystem::create_directories(path, error);
        if (!error) return;
        remove_empty();
        FLASHBACK_THROW(ErrorCode::io, "cannot make the folder '", folder.string(), "': ", error.message());
    }
    MadeFolder(const MadeFolder&) = delete;
    MadeFolder& operator=(const MadeFolder&) = delete;
    ~MadeFolder() { remove_empty(); }

private:
    void remove_empty() noexcept {
        for (const std::filesystem::path& folder : made_) ::rmdir(folder.c_str());  // does nothing if something is in it
    }

    std::vector<std::filesystem::path> made_;  ///< the innermost first
};

}  // namespace flashback::inline FLASHBACK_ISA
