/// \file Which files of a folder are texts.
#pragma once

#include "flashback/format/folder.hpp"

#include <algorithm>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

/// The .txt and .md files of a folder and of the folders in it, sorted; links to folders are not followed.
/// Throws    Error{io}
inline std::vector<std::filesystem::path> text_files_below(const std::filesystem::path& folder) {
    std::vector<std::filesystem::path> files;
    std::vector<std::filesystem::path> folders{folder};
    while (!folders.empty()) {
        const std::filesystem::path inside = std::move(folders.back());
        folders.pop_back();
        for (const std::string& name : folder_entries(inside)) {
            std::filesystem::path path = inside / name;
            std::error_code unknown;
            if (std::filesystem::symlink_status(path, unknown).type() == std::filesystem::file_type::directory) {
                folders.push_back(std::move(path));
            } else if ((path.extension() == ".txt" || path.extension() == ".md") &&
                       std::filesystem::is_regular_file(path, unknown)) {
                files.push_back(std::move(path));
            }
        }
    }
    std::ranges::sort(files);
    return files;
}

}  // namespace flashback::inline FLASHBACK_ISA::detail
