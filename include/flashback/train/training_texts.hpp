/// \file Texts to train on, from files.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/retrieval/detail/read_corpus.hpp"

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// The texts of a file, as they stand there.
struct TrainingTexts {
    std::vector<std::string> texts;  ///< none of them blank
    std::size_t replaced = 0;        ///< places where the file was no UTF-8 and got U+FFFD
};

/// Reads texts to train on or to validate with; which kind of file it is shows in its first character.
///
/// - `{`: JSON lines; the "text" of each is a text, and other fields, such as "_id" and "title", are not read.
/// - Anything else is plain text. A line with a form feed and nothing else stands between two texts; without one, the file is one.
///
/// A byte order mark is dropped, and CR LF is one end of a line. A file may hold no text.
/// Throws    Error{io} for a file that cannot be read; Error{corpus} for a binary or compressed one, and for lines of JSON without
///           "text"
inline TrainingTexts read_training_texts(const std::filesystem::path& path, FileAccess access = FileAccess::map) {
    TrainingTexts found;
    const std::string all = detail::read_text_file(path, access, found.replaced);
    const auto add = [&](std::string text) {
        if (text.find_first_not_of(" \t\r\n\f\v") != text.npos) found.texts.push_back(std::move(text));
    };
    std::string_view rest = all;
    const std::size_t first = rest.find_first_not_of(" \t\n\r");
    if (first != rest.npos && rest[first] == '{') {
        for (std::size_t number = 1; !rest.empty(); ++number) {
            const std::string_view line = detail::take_line(rest);
            if (detail::is_blank(line)) continue;
            const std::string where = "'" + path.string() + "' line " + std::to_string(number);
            add(detail::JsonLine{line, where, R"({"text": ...})"}.text({"text"}));
        }
        return found;
    }
    std::size_t begin = 0;
    for (std::string_view lines = rest; !lines.empty();) {
        const std::size_t at = rest.size() - lines.size();
        if (detail::take_line(lines) != "\f") continue;
        add(std::string{rest.substr(begin, at - begin)});
        begin = rest.size() - lines.size();
    }
    add(std::string{rest.substr(begin)});
    return found;
}

}  // namespace flashback::inline FLASHBACK_ISA
