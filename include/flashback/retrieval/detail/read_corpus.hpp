/// \file The files and folders behind read_corpus.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/format/folder.hpp"
#include "flashback/format/mapped_file.hpp"
#include "flashback/retrieval/corpus.hpp"
#include "flashback/retrieval/detail/parse_corpus.hpp"

#include <algorithm>
#include <cstddef>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {
namespace detail {

inline std::string read_text_file(const std::filesystem::path& path, FileAccess access, std::size_t& replaced) {
    const MappedFile file{path, access};
    return text_of({reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()}, path.string(), replaced);
}

inline void read_folder(const std::filesystem::path& folder, FileAccess access, Corpus& corpus) {
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
    for (const auto& file : files) {
        corpus.documents.push_back({file.lexically_relative(folder).generic_string(), file.stem().string(),
                                    read_text_file(file, access, corpus.replaced)});
    }
}

}  // namespace detail

inline Corpus read_corpus(const std::filesystem::path& path, FileAccess access) {
    std::error_code unknown;
    if (!std::filesystem::is_directory(path, unknown)) {
        const MappedFile file{path, access};
        return parse_corpus({reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()}, path.string());
    }
    Corpus corpus;
    detail::read_folder(path, access, corpus);
    detail::check_documents(corpus, path.string(), ".txt or .md file");
    return corpus;
}

}  // namespace flashback::inline FLASHBACK_ISA
