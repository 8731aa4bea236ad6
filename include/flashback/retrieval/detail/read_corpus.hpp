/// \file The readers behind read_corpus and parse_corpus.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/retrieval/corpus.hpp"
#include "flashback/retrieval/detail/dictd.hpp"
#include "flashback/retrieval/detail/json_array.hpp"
#include "flashback/retrieval/detail/json_line.hpp"
#include "flashback/retrieval/detail/text_file.hpp"
#include "flashback/retrieval/detail/text_files_below.hpp"
#include "flashback/retrieval/detail/wikitext.hpp"

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <unordered_set>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {
namespace detail {

inline Document json_document(std::string_view line, const std::string& where) {
    const JsonLine object{line, where, R"({"id": ..., "contents": ...} or {"_id": ..., "title": ..., "text": ...})"};
    Document document;
    if (object.has("contents")) {
        document.id = object.text({"id", "_id"});
        document.text = object.text({"contents"});
        const std::string_view first_line = std::string_view{document.text}.substr(0, document.text.find('\n'));
        document.title = object.has("title") ? object.text({"title"}) : std::string{first_line};
    } else {
        document.id = object.text({"_id", "id"});
        document.title = object.has("title") ? object.text({"title"}) : std::string{};
        const std::string text = object.text({"text"});
        document.text = document.title.empty() ? text : document.title + '\n' + text;
    }
    return document;
}

/// A line of JSON as a text to train on: its "text" and nothing else.
inline Document json_text(std::string_view line, const std::string& where) {
    return {{}, {}, JsonLine{line, where, R"({"text": ...})"}.text({"text"})};
}

/// Appends a document for each line, or for each element of an array; `document(json, where)` reads one.
template <class ToDocument>
void read_json(std::string_view text, const std::string& name, Corpus& corpus, const ToDocument& document) {
    if (is_json_array(text)) {
        const auto add = [&](std::string_view element, const std::string& where) {
            corpus.documents.push_back(document(element, where));
        };
        return for_each_element(text, name, add);
    }
    for (std::size_t number = 1; !text.empty(); ++number) {
        const std::string_view line = take_line(text);
        if (!is_blank(line)) corpus.documents.push_back(document(line, "'" + name + "' line " + std::to_string(number)));
    }
}

/// Appends the texts between lines that have only a form feed.
inline void read_pages(std::string_view text, Corpus& corpus) {
    std::size_t begin = 0;
    for (std::string_view lines = text; !lines.empty();) {
        const std::size_t at = text.size() - lines.size();
        if (take_line(lines) != "\f") continue;
        corpus.documents.push_back({{}, {}, std::string{text.substr(begin, at - begin)}});
        begin = text.size() - lines.size();
    }
    corpus.documents.push_back({{}, {}, std::string{text.substr(begin)}});
}

/// Drops what is blank, and numbers the rest.
inline void number_texts(const std::string& stem, Corpus& corpus) {
    std::erase_if(corpus.documents,
                  [](const Document& document) { return document.text.find_first_not_of(" \t\r\n\f\v") == std::string::npos; });
    std::size_t number = 0;
    for (Document& document : corpus.documents) document.id = stem + '-' + std::to_string(++number);
}

/// WikiText's articles, or the text as a whole.
inline void read_whole(const std::string& text, const std::string& stem, Corpus& corpus) {
    const std::size_t first = text.find_first_not_of(" \t\r\n\f\v");
    if (first == text.npos) return;
    const std::size_t line = text.rfind('\n', first) + 1;  // npos + 1 is 0
    std::string_view rest = std::string_view{text}.substr(line);
    if (!wikitext_title(take_line(rest)).empty()) return read_wikitext(text, stem, corpus);
    corpus.documents.push_back({stem, {}, text});
}

/// Refuses a collection that has no documents, or two with the same id.
inline void check_documents(const Corpus& corpus, const std::string& name, const char* without) {
    if (corpus.documents.empty()) FLASHBACK_THROW(ErrorCode::corpus, "'", name, "' holds no ", without);
    std::unordered_set<std::string_view> ids;
    for (const Document& document : corpus.documents) {
        if (!ids.insert(document.id).second)
            FLASHBACK_THROW(ErrorCode::corpus, "'", name, "' has two documents with the id '", printable(document.id), "'");
    }
}

}  // namespace detail

FLASHBACK_DETAIL_ONCE Corpus parse_corpus(std::string_view bytes, const std::string& name, TextForm form) {
    Corpus corpus;
    const std::string text = detail::text_of(bytes, name, corpus.replaced);
    const std::string stem = std::filesystem::path{name}.stem().string();
    const bool json = detail::is_json_lines(text) || detail::is_json_array(text);
    if (form == TextForm::pages) {
        if (json) {
            detail::read_json(text, name, corpus, detail::json_text);
        } else {
            detail::read_pages(text, corpus);
        }
        detail::number_texts(stem, corpus);
        return corpus;
    }
    if (json) {
        detail::read_json(text, name, corpus, detail::json_document);
    } else if (form == TextForm::dictionary) {
        detail::read_dictd(text, stem, corpus);
    } else {
        detail::read_whole(text, stem, corpus);
    }
    detail::check_documents(corpus, name, form == TextForm::dictionary ? "document" : "text");
    return corpus;
}

FLASHBACK_DETAIL_ONCE Corpus read_corpus(const std::filesystem::path& path, TextForm form, FileAccess access) {
    std::error_code unknown;
    if (!std::filesystem::is_directory(path, unknown)) {
        const MappedFile file{path, access};
        return parse_corpus({reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()}, path.string(), form);
    }
    Corpus corpus;
    for (const auto& file : detail::text_files_below(path)) {
        corpus.documents.push_back({file.lexically_relative(path).generic_string(), file.stem().string(),
                                    detail::read_text_file(file, access, corpus.replaced)});
    }
    detail::check_documents(corpus, path.string(), ".txt or .md file");
    return corpus;
}

}  // namespace flashback::inline FLASHBACK_ISA
