/// \file The elements of a JSON array, one at a time and without a tree.
#pragma once

#include "flashback/core/error.hpp"

#include <cstddef>
#include <string>
#include <string_view>

namespace flashback::inline FLASHBACK_ISA::detail {

inline constexpr std::string_view json_blanks = " \t\n\r";

/// Whether a text is a JSON array of objects: `[` and then `{`, or an array of nothing and no more.
inline bool is_json_array(std::string_view text) noexcept {
    const std::size_t first = text.find_first_not_of(json_blanks);
    if (first == text.npos || text[first] != '[') return false;
    const std::size_t second = text.find_first_not_of(json_blanks, first + 1);
    if (second == text.npos) return false;
    return text[second] == '{' || (text[second] == ']' && text.find_first_not_of(json_blanks, second + 1) == text.npos);
}

/// The end of the element at `at`: the comma or the bracket behind it, or the end of the text.
inline std::size_t element_end(std::string_view text, std::size_t at) noexcept {
    std::size_t depth = 0;
    for (bool in_string = false; at < text.size(); ++at) {
        const char c = text[at];
        if (in_string) {
            if (c == '\\') ++at;
            in_string = c != '"';
            continue;
        }
        if (depth == 0 && (c == ',' || c == ']')) return at;
        in_string = c == '"';
        if (c == '{' || c == '[') ++depth;
        if (depth > 0 && (c == '}' || c == ']')) --depth;
    }
    return text.size();
}

/// Calls `on_element(element, where)` for each element of an array; whether an element is JSON is for the callee to find out.
/// Requires  is_json_array(text)
/// Throws    Error{corpus} if the array does not end, or something follows it
template <class OnElement>
void for_each_element(std::string_view text, const std::string& name, const OnElement& on_element) {
    std::size_t at = text.find('[') + 1;
    if (text[text.find_first_not_of(json_blanks, at)] == ']') return;
    for (std::size_t number = 1;; ++number) {
        const std::size_t end = element_end(text, at);
        if (end == text.size()) {
            FLASHBACK_THROW(ErrorCode::corpus, "'", name, "' ends within element ", number, " of its JSON array, expected ']'");
        }
        on_element(text.substr(at, end - at), "'" + name + "' element " + std::to_string(number));
        at = end + 1;
        if (text[end] == ']') break;
    }
    if (text.find_first_not_of(json_blanks, at) != text.npos)
        FLASHBACK_THROW(ErrorCode::corpus, "'", name, "' has more behind the end of its JSON array, expected nothing");
}

}  // namespace flashback::inline FLASHBACK_ISA::detail
