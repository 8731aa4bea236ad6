/// \file Whether a text ends as a sentence does, without tables of Unicode.
#pragma once

#include "flashback/core/config.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <string_view>

namespace flashback::inline FLASHBACK_ISA::detail {

inline constexpr auto sentence_terminators = std::to_array<std::string_view>(
    {".",      "!",      "?",      "\u2026", "\u3002", "\uff01", "\uff1f", "\uff0e", "\uff61", "\u203c",
     "\u203d", "\u2047", "\u2048", "\u2049", "\u061f", "\u06d4", "\u0964", "\u0965", "\u0589", "\u1362"});

/// Quotes and brackets that may stand behind a full stop. Which quotes close depends on the language.
inline constexpr auto sentence_closers =
    std::to_array<std::string_view>({"\"", "'", ")", "]", "}", "\u00ab", "\u00bb", "\u2018", "\u2019", "\u201c", "\u201d",
                                     "\u2039", "\u203a", "\u300d", "\u300f", "\u3009", "\u300b", "\u3011", "\uff09"});

inline constexpr auto line_breaks = std::to_array<std::string_view>({"\n", "\v", "\f", "\r", "\u0085", "\u2028", "\u2029"});
inline constexpr auto blanks = std::to_array<std::string_view>({" ", "\t", "\u00a0", "\u3000"});

constexpr bool has_line_break(std::string_view text) noexcept {
    return std::ranges::any_of(line_breaks, [text](std::string_view each) { return text.find(each) != text.npos; });
}

/// Cuts one of some strings off the end of a text. Whether there was one.
template <std::size_t n>
constexpr bool cut_one(std::string_view& text, const std::array<std::string_view, n>& strings) noexcept {
    for (const std::string_view each : strings) {
        if (!text.ends_with(each)) continue;
        text.remove_suffix(each.size());
        return true;
    }
    return false;
}

/// Whether a text ends with a letter that is no part of a longer word. Characters that are not ASCII are taken for letters if
/// they have two bytes, as those of Latin, Greek and Cyrillic.
constexpr bool ends_with_initial(std::string_view text) noexcept {
    const auto letter = [](std::string_view before) -> std::size_t {  // the bytes of the letter at the end; 0 if there is none
        if (before.empty()) return 0;
        const auto last = static_cast<unsigned char>(before.back());
        if ((last >= 'a' && last <= 'z') || (last >= 'A' && last <= 'Z')) return 1;
        if ((last & 0xc0) != 0x80 || before.size() < 2) return 0;
        const auto lead = static_cast<unsigned char>(before[before.size() - 2]);
        return lead >= 0xc3 && lead < 0xe0 ? 2 : 0;
    };
    const std::size_t bytes = letter(text);
    return bytes > 0 && letter(text.substr(0, text.size() - bytes)) == 0;
}

/// Whether a text, of which this is the end, ends as a sentence does. SentenceByPiece says when.
constexpr bool ends_sentence(std::string_view text) noexcept {
    for (;;) {
        if (cut_one(text, line_breaks)) return true;
        if (!cut_one(text, blanks)) break;
    }
    bool closed = false;
    while (cut_one(text, sentence_closers) || (closed && cut_one(text, blanks))) closed = true;
    const bool stop = text.ends_with('.');
    if (!cut_one(text, sentence_terminators)) return false;
    if (!stop || closed || cut_one(text, sentence_terminators)) return true;
    const bool digit = !text.empty() && text.back() >= '0' && text.back() <= '9';
    return !digit && !ends_with_initial(text);
}

}  // namespace flashback::inline FLASHBACK_ISA::detail
