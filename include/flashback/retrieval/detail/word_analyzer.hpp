/// \file The words of a text.
#pragma once

#include "flashback/core/function_ref.hpp"
#include "flashback/retrieval/analyzer.hpp"
#include "flashback/retrieval/detail/words_in_text.hpp"

#include <cstddef>
#include <string>
#include <string_view>

namespace flashback::inline FLASHBACK_ISA {
namespace detail {

/// The length of the sign at `at` that belongs to the word before it: 2 for `++`, 1 for `#`, 0 for none.
inline std::size_t sign_length(std::string_view text, std::size_t at) noexcept {
    const std::string_view rest = text.substr(at);
    const std::size_t length = rest.starts_with("++") ? 2 : rest.starts_with('#') ? 1 : 0;
    if (length == 0 || length == rest.size()) return length;
    const CharacterKind after = character_at(rest, length).kind;
    const bool word = after == CharacterKind::letter || after == CharacterKind::number || after == CharacterKind::dense ||
                      after == CharacterKind::mark;
    return word ? 0 : length;
}

}  // namespace detail

FLASHBACK_DETAIL_ONCE void WordAnalyzer::analyze(std::string_view text, FunctionRef<void(std::string_view)> on_term) const {
    detail::RunWriter writer;
    detail::TextRun run;
    for (std::size_t at = 0; detail::next_run<detail::PlainWords>(text, at, run);) {
        std::string& word = writer.write(text.substr(run.begin, run.end - run.begin), run.ascii);
        if (run.dense) {
            detail::for_each_pair(word, on_term);
            continue;
        }
        const std::size_t sign = detail::sign_length(text, at);
        word += text.substr(at, sign);
        at += sign;
        on_term(detail::cut_term(word));
    }
}

}  // namespace flashback::inline FLASHBACK_ISA
