/// \file The articles of WikiText.
#pragma once

#include "flashback/retrieval/corpus.hpp"
#include "flashback/retrieval/detail/text_file.hpp"

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

namespace flashback::inline FLASHBACK_ISA::detail {

/// The title in a line ` = Title = `; nothing for any other line, such as ` = = Section = = `.
inline std::string_view wikitext_title(std::string_view line) {
    while (!line.empty() && is_blank(line.back())) line.remove_suffix(1);
    constexpr std::string_view left = " = ";
    constexpr std::string_view right = " =";
    if (line.size() <= left.size() + right.size() || !line.starts_with(left) || !line.ends_with(right)) return {};
    const std::string_view title = line.substr(left.size(), line.size() - left.size() - right.size());
    return title.front() == '=' || title.back() == '=' ? std::string_view{} : title;
}

/// A title as it is written elsewhere: "3-D" for WikiText's "3 @-@ D".
inline std::string plain_title(std::string_view title) {
    std::string plain{title};
    for (const char c : {'-', ',', '.'}) {
        const std::string spelled{' ', '@', c, '@', ' '};
        for (std::size_t at = 0; (at = plain.find(spelled, at)) != plain.npos; ++at) plain.replace(at, spelled.size(), 1, c);
    }
    return plain;
}

/// Appends the articles of a text to a corpus, every character of them.
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

}  // namespace flashback::inline FLASHBACK_ISA::detail
