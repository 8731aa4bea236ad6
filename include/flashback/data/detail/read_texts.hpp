/// \file The readers behind read_texts and parse_texts.
#pragma once

#include "flashback/data/detail/wikitext.hpp"
#include "flashback/data/texts.hpp"
#include "flashback/format/mapped_file.hpp"
#include "flashback/retrieval/corpus.hpp"
#include "flashback/retrieval/detail/read_corpus.hpp"
#include "flashback/retrieval/detail/text_file.hpp"

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace flashback::inline FLASHBACK_ISA {
namespace detail {

/// Requires  the first line that is not empty is a title
inline void read_wikitext(std::string_view text, const std::string& stem, Corpus& corpus) {
    std::string in_front;  // empty lines, which belong to the first article
    bool after_blank = true;
    while (!text.empty()) {
        const std::string_view before = text;
        const std::string_view line = take_line(text);
        const std::string_view title = wikitext_title(line);
        std::string_view rest = text;
        const bool first = corpus.documents.empty() && !is_blank(line);
        if (first || (!title.empty() && after_blank && is_blank(take_line(rest)))) {
            const std::string number = std::to_string(corpus.documents.size() + 1);
            corpus.documents.push_back({stem + '-' + number, plain_title(title), std::exchange(in_front, {})});
        }
        std::string& out = corpus.documents.empty() ? in_front : corpus.documents.back().text;
        out += before.substr(0, before.size() - text.size());
        after_blank = is_blank(line);
    }
}

}  // namespace detail

FLASHBACK_DETAIL_READER Corpus parse_texts(std::string_view bytes, const std::string& name) {
    Corpus corpus;
    const std::string text = detail::text_of(bytes, name, corpus.replaced);
    const std::string stem = std::filesystem::path{name}.stem().string();
    const std::size_t first = text.find_first_not_of(" \t\r\n\f\v");
    if (detail::is_json_lines(text)) {
        detail::read_json_lines(text, name, corpus);
    } else if (first != text.npos) {
        const std::size_t line = text.rfind('\n', first) + 1;  // npos + 1 is 0
        std::string_view rest = std::string_view{text}.substr(line);
        if (!detail::wikitext_title(detail::take_line(rest)).empty()) {
            detail::read_wikitext(text, stem, corpus);
        } else {
            corpus.documents.push_back({stem, {}, text});
        }
    }
    detail::check_documents(corpus, name, "text");
    return corpus;
}

FLASHBACK_DETAIL_READER Corpus read_texts(const std::filesystem::path& path, FileAccess access) {
    std::error_code unknown;
    if (std::filesystem::is_directory(path, unknown)) return read_corpus(path, access);
    const MappedFile file{path, access};
    return parse_texts({reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()}, path.string());
}

}  // namespace flashback::inline FLASHBACK_ISA
