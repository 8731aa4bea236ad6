/// \file Files of text: their bytes as valid UTF-8, and their lines.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/format/mapped_file.hpp"
#include "flashback/text/unicode.hpp"

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

namespace flashback::inline FLASHBACK_ISA::detail {

/// Bytes as text: UTF-8, without byte order mark and without the CR of line ends. Counts what had to be replaced.
inline std::string text_of(std::string_view bytes, const std::string& name, std::size_t& replaced) {
    if (bytes.starts_with("\x1f\x8b")) {
        FLASHBACK_THROW(ErrorCode::corpus, "'", name, "' is compressed, expected text; unpack it first (zcat)");
    }
    if (const std::size_t nul = bytes.find('\0'); nul != bytes.npos) {
        FLASHBACK_THROW(ErrorCode::corpus, "'", name, "' is binary: byte ", nul, " is 0, expected text in UTF-8");
    }
    if (bytes.starts_with("\xef\xbb\xbf")) bytes.remove_prefix(3);
    ValidText valid = replace_invalid_utf8(bytes);
    replaced += valid.replaced;
    // Only CR LF: a CR by itself is text.
    std::string text;
    text.reserve(valid.text.size());
    for (std::size_t i = 0; i < valid.text.size(); ++i) {
        if (valid.text[i] == '\r' && i + 1 < valid.text.size() && valid.text[i + 1] == '\n') continue;
        text += valid.text[i];
    }
    return text;
}

/// Takes the first line off a text and gives it without its line end.
inline std::string_view take_line(std::string_view& text) {
    const std::size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end == text.npos ? text.size() : end + 1);
    return line;
}

inline bool is_blank(char c) noexcept { return c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v'; }
inline bool is_blank(std::string_view line) noexcept {
    return std::ranges::all_of(line, [](char c) { return is_blank(c); });
}

/// Whether a text is JSON lines.
inline bool is_json_lines(std::string_view text) {
    const std::size_t first = text.find_first_not_of(" \t\n\r");
    return first != text.npos && text[first] == '{';
}

/// The text of a file.
inline std::string read_text_file(const std::filesystem::path& path, FileAccess access, std::size_t& replaced) {
    const MappedFile file{path, access};
    return text_of({reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()}, path.string(), replaced);
}

}  // namespace flashback::inline FLASHBACK_ISA::detail
