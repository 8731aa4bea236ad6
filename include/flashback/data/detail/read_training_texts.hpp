/// \file The reader behind read_training_texts.
#pragma once

#include "flashback/data/training_texts.hpp"
#include "flashback/retrieval/detail/json_line.hpp"
#include "flashback/retrieval/detail/text_file.hpp"

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>

namespace flashback::inline FLASHBACK_ISA {

FLASHBACK_DETAIL_READER TrainingTexts read_training_texts(const std::filesystem::path& path, FileAccess access) {
    TrainingTexts found;
    const std::string all = detail::read_text_file(path, access, found.replaced);
    const auto add = [&](std::string text) {
        if (text.find_first_not_of(" \t\r\n\f\v") != text.npos) found.texts.push_back(std::move(text));
    };
    std::string_view rest = all;
    if (detail::is_json_lines(rest)) {
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
