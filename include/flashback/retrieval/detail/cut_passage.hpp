/// \file Where a passage may end.
#pragma once

#include "flashback/text/tokenizer.hpp"

#include <algorithm>
#include <cstddef>
#include <string>

namespace flashback::inline FLASHBACK_ISA::detail {

/// How good it is to cut at `at`, between two tokens: 2 after a sentence or a paragraph, 1 between two words, 0 inside a word.
inline int cut_quality(const Tokenizer& tokenizer, TokenSpan tokens, std::size_t at) {
    const std::string after = tokenizer.decode(tokens[at]);
    if (after.empty() || (after[0] != ' ' && after[0] != '\n')) return 0;
    // Closing quotes and brackets may stand between the full stop and the space.
    constexpr std::size_t look_back = 4;
    const std::string before = tokenizer.decode(tokens.subspan(at - std::min(at, look_back), std::min(at, look_back)));
    const std::size_t last = before.find_last_not_of("\"')]}\xe2\x80\x99\x9d");
    if (last != before.npos && (before[last] == '.' || before[last] == '!' || before[last] == '?')) return 2;
    const bool paragraph = after[0] == '\n' && at + 1 < tokens.size() && tokenizer.decode(tokens[at + 1]).starts_with('\n');
    return paragraph ? 2 : 1;
}

inline bool is_white(const std::string& text) { return text.find_first_not_of(" \t\n\r") == text.npos; }

/// The end of a passage that starts at `begin`: after the last sentence that ends in its last quarter, else between two words
/// there, else after `most` tokens; but never inside a character.
inline std::size_t passage_end(const Tokenizer& tokenizer, TokenSpan tokens, std::size_t begin, std::size_t most) {
    if (tokens.size() - begin <= most) return tokens.size();
    const std::size_t limit = begin + most;
    std::size_t words = 0;
    for (std::size_t at = limit; at > begin && at >= limit - most / 4; --at) {
        const int quality = cut_quality(tokenizer, tokens, at);
        if (quality == 2) return at;
        if (quality == 1 && words == 0) words = at;
    }
    if (words != 0) return words;
    for (std::size_t at = limit; at > begin; --at) {
        const std::string after = tokenizer.decode(tokens[at]);
        if (after.empty() || (static_cast<unsigned char>(after[0]) & 0xc0) != 0x80) return at;
    }
    return limit;
}

}  // namespace flashback::inline FLASHBACK_ISA::detail
