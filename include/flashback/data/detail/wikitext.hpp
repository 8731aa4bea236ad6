/// \file How WikiText writes titles.
#pragma once

#include "flashback/retrieval/detail/text_file.hpp"

#include <cstddef>
#include <string>
#include <string_view>

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

}  // namespace flashback::inline FLASHBACK_ISA::detail
