/// \file What is in a folder.
#pragma once

#include "flashback/core/error.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <dirent.h>

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

}  // namespace flashback::inline FLASHBACK_ISA
