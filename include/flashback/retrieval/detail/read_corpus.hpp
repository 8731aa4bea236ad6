/// \file The readers behind read_corpus and parse_corpus.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/retrieval/corpus.hpp"
#include "flashback/retrieval/detail/json_line.hpp"
#include "flashback/retrieval/detail/text_file.hpp"
#include "flashback/retrieval/detail/text_files_below.hpp"

#include <algorithm>
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

inline void read_json_lines(std::string_view text, const std::string& name, Corpus& corpus) {
    for (std::size_t number = 1; !text.empty(); ++number) {
        const std::string_view line = take_line(text);
        if (!is_blank(line)) corpus.documents.push_back(json_document(line, "'" + name + "' line " + std::to_string(number)));
    }
}

/// Restores the lines of a dictd-style document.
class DictdText {
public:
    void add(std::string_view line) {
        const std::size_t indent =
            static_cast<std::size_t>(std::ranges::find_if_not(line, [](char c) { return is_blank(c); }) - line.begin());
        if (indent == line.size()) {
            if (!text_.empty() && !text_.ends_with("\n\n")) text_ += text_.ends_with('\n') ? "\n" : "\n\n";
            return;
        }
        if (indent > 0 && !in_body_) {
            in_body_ = true;
            body_indent_ = indent;
        }
        const bool starts_line = text_.empty() || text_.ends_with('\n');
        if (!in_body_) {
            if (!starts_line) text_ += '\n';
            text_ += line;
        } else if (indent > body_indent_) {  // a list or a listing: its lines are kept
            if (!starts_line) text_ += '\n';
            text_ += line.substr(body_indent_);
        } else {
            if (!starts_line) text_ += ' ';
            text_ += line.substr(indent);
        }
    }

    std::string finish() {
        while (!text_.empty() && (text_.back() == '\n' || is_blank(text_.back()))) text_.pop_back();
        return without_reference_braces(text_);
    }

private:
    static std::string without_reference_braces(std::string_view text) {
        std::string out;
        for (std::size_t open; (open = text.find('{')) != text.npos;) {
            const std::size_t close = text.find_first_of("{}\n", open + 1);
            const bool reference = close != text.npos && text[close] == '}' && close > open + 1 && !is_blank(text[open + 1]) &&
                                   !is_blank(text[close - 1]);
            out += text.substr(0, open);
            if (!reference) {
                out += '{';
                text.remove_prefix(open + 1);
            } else {
                out += text.substr(open + 1, close - open - 1);
                text.remove_prefix(close + 1);
            }
        }
        return out += text;
    }

    std::string text_;
    bool in_body_ = false;
    std::size_t body_indent_ = 0;
};

inline void read_dictd(std::string_view text, const std::string& stem, Corpus& corpus) {
    DictdText document;
    std::string title;
    bool open = false;
    const auto finish = [&] {
        if (!open) return;
        corpus.documents.push_back(
            {stem + '-' + std::to_string(corpus.documents.size() + 1), std::exchange(title, {}), document.finish()});
        document = {};
    };
    for (bool after_empty = true; !text.empty();) {
        const std::string_view line = take_line(text);
        if (after_empty && !line.empty() && !is_blank(line[0])) {
            finish();
            open = true;
            title = line;
        }
        after_empty = line.empty();
        if (open) document.add(line);
    }
    finish();
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

FLASHBACK_DETAIL_READER Corpus parse_corpus(std::string_view bytes, const std::string& name) {
    Corpus corpus;
    const std::string text = detail::text_of(bytes, name, corpus.replaced);
    if (detail::is_json_lines(text)) {
        detail::read_json_lines(text, name, corpus);
    } else {
        detail::read_dictd(text, std::filesystem::path{name}.stem().string(), corpus);
    }
    detail::check_documents(corpus, name, "document");
    return corpus;
}

FLASHBACK_DETAIL_READER Corpus read_corpus(const std::filesystem::path& path, FileAccess access) {
    std::error_code unknown;
    if (!std::filesystem::is_directory(path, unknown)) {
        const MappedFile file{path, access};
        return parse_corpus({reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()}, path.string());
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
