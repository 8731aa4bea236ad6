/// \file UTF-8, Unicode classes and lower case.
#pragma once

#include "flashback/core/config.hpp"
#include "flashback/text/detail/unicode_tables.hpp"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <string>
#include <string_view>

namespace flashback::inline FLASHBACK_ISA {

/// A character of a text, and how many bytes it takes there.
struct CodePoint {
    char32_t value = 0;     ///< the character
    std::size_t bytes = 0;  ///< how many bytes it took
    bool valid = true;      ///< false: the bytes are not UTF-8, and `value` is U+FFFD
};

/// The first character of a text. Overlong forms, surrogates and values beyond U+10FFFF are not valid. The longest prefix that
/// could have begun a character then counts as one U+FFFD.
/// Requires  `text` is not empty
/// Source    The Unicode Standard 15.0, table 3-7
constexpr CodePoint first_code_point(std::string_view text) noexcept {
    constexpr char32_t replacement = 0xfffd;
    const auto byte = [text](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned lead = byte(0);
    if (lead < 0x80) return {lead, 1, true};
    const std::size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    if (lead < 0xc2 || lead > 0xf4) return {replacement, 1, false};
    char32_t value = lead & (0xffu >> (length + 1));
    for (std::size_t i = 1; i < length; ++i) {
        if (i == text.size()) return {replacement, i, false};
        const unsigned low = i == 1 && lead == 0xe0 ? 0xa0u : i == 1 && lead == 0xf0 ? 0x90u : 0x80u;
        const unsigned high = i == 1 && lead == 0xed ? 0x9fu : i == 1 && lead == 0xf4 ? 0x8fu : 0xbfu;
        if (byte(i) < low || byte(i) > high) return {replacement, i, false};
        value = value << 6 | (byte(i) & 0x3fu);
    }
    return {value, length, true};
}

/// Appends a character to `out`, in UTF-8.
inline void append_utf8(std::string& out, char32_t c) {
    if (c < 0x80) {
        out += static_cast<char>(c);
    } else if (c < 0x800) {
        out += {static_cast<char>(0xc0 | c >> 6), static_cast<char>(0x80 | (c & 0x3f))};
    } else if (c < 0x10000) {
        out += {static_cast<char>(0xe0 | c >> 12), static_cast<char>(0x80 | (c >> 6 & 0x3f)),
                static_cast<char>(0x80 | (c & 0x3f))};
    } else {
        out += {static_cast<char>(0xf0 | c >> 18), static_cast<char>(0x80 | (c >> 12 & 0x3f)),
                static_cast<char>(0x80 | (c >> 6 & 0x3f)), static_cast<char>(0x80 | (c & 0x3f))};
    }
}

/// How many bytes at the end of a text begin a character that is not complete: 0 to 3.
constexpr std::size_t incomplete_utf8(std::string_view text) noexcept {
    for (std::size_t back = 1; back <= 3 && back <= text.size(); ++back) {
        const auto byte = static_cast<unsigned char>(text[text.size() - back]);
        if ((byte & 0xc0) == 0x80) continue;  // within a character
        const std::size_t length = byte >= 0xf0 && byte <= 0xf4 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc2 ? 2 : 1;
        const CodePoint found = first_code_point(text.substr(text.size() - back));
        return byte < 0xf5 && length > back && found.bytes == back ? back : 0;
    }
    return 0;
}

/// A text made valid, and how many places had to be replaced for that.
struct ValidText {
    std::string text;          ///< the text, with U+FFFD for what was not valid
    std::size_t replaced = 0;  ///< how many places that were
};

/// Puts U+FFFD in place of bytes that are not UTF-8.
inline ValidText replace_invalid_utf8(std::string_view text) {
    ValidText result;
    result.text.reserve(text.size());
    while (!text.empty()) {
        const CodePoint c = first_code_point(text);
        if (c.valid) {
            result.text += text.substr(0, c.bytes);
        } else {
            append_utf8(result.text, c.value);
            ++result.replaced;
        }
        text.remove_prefix(c.bytes);
    }
    return result;
}

/// Any text, made harmless for a terminal. U+FFFD takes the place of control characters (such as ESC and C1), of characters
/// that change the direction of writing or end a line, and of bytes that are not UTF-8. Letters of all scripts stay, and so do
/// the ASCII characters in `kept`.
/// Source    The Unicode Standard 15.0, general category Cc, property Bidi_Control, U+2028 and U+2029
inline std::string harmless(std::string_view text, std::string_view kept = {}) {
    constexpr char32_t replacement = 0xfffd;
    const auto steers = [kept](char32_t c) {
        if (c < 0x80 && kept.find(static_cast<char>(c)) != kept.npos) return false;
        return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x61c || c == 0x200e || c == 0x200f ||
               (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
    };
    std::string out;
    out.reserve(text.size());
    while (!text.empty()) {
        const CodePoint c = first_code_point(text);
        append_utf8(out, c.valid && !steers(c.value) ? c.value : replacement);
        text.remove_prefix(c.bytes);
    }
    return out;
}

namespace detail {

/// The class of a character.
/// Cost      a few comparisons for ASCII, a binary search for others
constexpr CodePointClass class_of(char32_t c) noexcept {
    if (c < 0x80) {
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) return CodePointClass::letter;
        if (c >= '0' && c <= '9') return CodePointClass::number;
        return c == ' ' || (c >= '\t' && c <= '\r') ? CodePointClass::space : CodePointClass::other;
    }
    const auto* it = std::ranges::lower_bound(class_ranges, c, {}, &ClassRange::last);
    return it != std::end(class_ranges) && it->first <= c ? it->kind : CodePointClass::other;
}

}  // namespace detail

/// What a character is: a letter, a mark, a number, white space or something else.
using CodePointClass = detail::CodePointClass;

/// The class of a character: Unicode's categories L, M and N, or its property White_Space.
/// Cost      a few comparisons for ASCII, a binary search for others
constexpr CodePointClass code_point_class(char32_t c) noexcept { return detail::class_of(c); }

/// Whether a character is a part of a word: a letter, a mark or a number (categories L, M and N).
/// Cost      a few comparisons for ASCII, a binary search for others
constexpr bool is_word_character(char32_t c) noexcept {
    const auto kind = detail::class_of(c);
    return kind != detail::CodePointClass::other && kind != detail::CodePointClass::space;
}

/// Whether a character is white space: Unicode's property White_Space, which is what `\s` means in regular expressions.
/// Cost      a few comparisons for ASCII, a binary search for others
constexpr bool is_white_space(char32_t c) noexcept { return detail::class_of(c) == detail::CodePointClass::space; }

/// The lower case of a character: Unicode's simple mapping, which gives exactly one character.
constexpr char32_t to_lower(char32_t c) noexcept {
    if (c < 0x80) return c >= 'A' && c <= 'Z' ? c + 32 : c;
    const auto* it = std::ranges::lower_bound(detail::lower_ranges, c, {}, &detail::LowerRange::last);
    if (it == std::end(detail::lower_ranges) || it->first > c || (c - it->first) % it->step != 0) return c;
    return static_cast<char32_t>(static_cast<std::int32_t>(c) + it->delta);
}

/// Calls `on_word(std::string_view)` for each word of a text: the longest runs of word characters, in lower case. The view is
/// valid during the call.
template <class OnWord>
void for_each_word(std::string_view text, OnWord&& on_word) {
    std::string word;
    while (!text.empty()) {
        const CodePoint c = first_code_point(text);
        text.remove_prefix(c.bytes);
        if (c.valid && is_word_character(c.value)) {
            append_utf8(word, to_lower(c.value));
        } else if (!word.empty()) {
            on_word(std::string_view{word});
            word.clear();
        }
    }
    if (!word.empty()) on_word(std::string_view{word});
}

}  // namespace flashback::inline FLASHBACK_ISA
