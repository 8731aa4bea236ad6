/// \file Where a passage may end.
#pragma once

#include "flashback/core/tokens.hpp"
#include "flashback/retrieval/codec.hpp"

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

inline constexpr std::string_view white_space = " \t\n\r";

inline bool is_white(std::string_view text) { return text.find_first_not_of(white_space) == text.npos; }

/// Tokens, and what each of them adds to a text.
class DecodedTokens {
public:
    DecodedTokens(std::vector<TokenId> tokens, const Codec& codec) : tokens_(std::move(tokens)) {
        ends_.reserve(tokens_.size() + 1);
        ends_.push_back(0);
        for (std::size_t i = 0; i < tokens_.size(); ++i) {
            bytes_ += codec.decode(TokenSpan{tokens_}.subspan(i, 1));
            ends_.push_back(bytes_.size());
        }
    }

    std::size_t size() const noexcept { return tokens_.size(); }
    TokenSpan tokens(std::size_t begin, std::size_t end) const noexcept {
        return TokenSpan{tokens_}.subspan(begin, end - begin);
    }

    /// The text of the tokens in [begin, end).
    std::string_view text(std::size_t begin, std::size_t end) const noexcept {
        return std::string_view{bytes_}.substr(ends_[begin], ends_[end] - ends_[begin]);
    }
    std::string_view operator[](std::size_t i) const noexcept { return text(i, i + 1); }

    /// The first token from `at` on that is more than white space.
    std::size_t skip_white(std::size_t at) const noexcept {
        while (at < size() && is_white((*this)[at])) ++at;
        return at;
    }

private:
    std::vector<TokenId> tokens_;
    std::string bytes_;
    std::vector<std::size_t> ends_;  // of what was decoded up to a token; a 0 in front
};

/// How good it is to cut at `at`, between two tokens: 2 after a sentence or a paragraph, 1 between two words, 0 inside a word.
inline int cut_quality(const DecodedTokens& tokens, std::size_t at) {
    const std::string_view after = tokens[at];
    if (after.empty() || (after[0] != ' ' && after[0] != '\n')) return 0;
    // Closing quotes and brackets may stand between the full stop and the space.
    constexpr std::size_t look_back = 4;
    const std::string_view before = tokens.text(at - std::min(at, look_back), at);
    const std::size_t last = before.find_last_not_of("\"')]}\xe2\x80\x99\x9d");
    if (last != before.npos && (before[last] == '.' || before[last] == '!' || before[last] == '?')) return 2;
    const bool paragraph = after[0] == '\n' && at + 1 < tokens.size() && tokens[at + 1].starts_with('\n');
    return paragraph ? 2 : 1;
}

/// The end of a passage that starts at `begin`: after the last sentence that ends in its last quarter, else between two words
/// there, else after `most` tokens; but never inside a character.
inline std::size_t passage_end(const DecodedTokens& tokens, std::size_t begin, std::size_t most) {
    if (tokens.size() - begin <= most) return tokens.size();
    const std::size_t limit = begin + most;
    std::size_t words = 0;
    for (std::size_t at = limit; at > begin && at >= limit - most / 4; --at) {
        const int quality = cut_quality(tokens, at);
        if (quality == 2) return at;
        if (quality == 1 && words == 0) words = at;
    }
    if (words != 0) return words;
    for (std::size_t at = limit; at > begin; --at) {
        const std::string_view after = tokens[at];
        if (after.empty() || (static_cast<unsigned char>(after[0]) & 0xc0) != 0x80) return at;
    }
    return limit;
}

}  // namespace flashback::inline FLASHBACK_ISA::detail
