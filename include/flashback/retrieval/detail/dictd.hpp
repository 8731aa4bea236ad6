/// \file The articles of dictd-style text.
#pragma once

#include "flashback/retrieval/corpus.hpp"
#include "flashback/retrieval/detail/text_file.hpp"

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

namespace flashback::inline FLASHBACK_ISA::detail {

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

/// Appends the articles of a dictd-style text to a corpus.
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

}  // namespace flashback::inline FLASHBACK_ISA::detail
