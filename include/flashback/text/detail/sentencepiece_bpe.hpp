/// \file The merging of SentencePiece BPE.
#pragma once

#include "flashback/core/tokens.hpp"
#include "flashback/text/unicode.hpp"

#include <cstddef>
#include <queue>
#include <string_view>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

/// A pair of neighbours that together are a token.
struct BpeMerge {
    float score;
    std::size_t left;   ///< symbol
    std::size_t right;  ///< symbol
    std::size_t bytes;  ///< of both together: a merge whose symbols changed meanwhile no longer has as many

    /// The order of merging: the highest score, and of equals the leftmost pair.
    bool operator<(const BpeMerge& other) const noexcept {
        return score != other.score ? score < other.score : left > other.left;
    }
};

/// Splits a text into pieces: characters at first, then the best-scored pair of neighbours that is a token is merged until no
/// pair is.
/// Requires  `score(text)` gives a pointer to the score of a token, or null for a text that is none; `on_piece(text)` takes
///           the pieces in order, of which those that are no tokens are single characters
/// Cost      n log n for n characters
/// Source    Kudo and Richardson 2018, SentencePiece, section 3.1
template <class Score, class OnPiece>
void sentencepiece_merge(std::string_view text, const Score& score, const OnPiece& on_piece) {
    constexpr auto none = static_cast<std::size_t>(-1);
    struct Symbol {
        std::string_view text;
        std::size_t previous, next;
    };
    std::vector<Symbol> symbols;
    symbols.reserve(text.size());
    while (!text.empty()) {
        const std::size_t bytes = first_code_point(text).bytes;
        const std::size_t i = symbols.size();
        symbols.push_back({text.substr(0, bytes), i == 0 ? none : i - 1, i + 1});
        text.remove_prefix(bytes);
    }
    if (symbols.empty()) return;
    symbols.back().next = none;

    std::priority_queue<BpeMerge> merges;
    const auto consider = [&](std::size_t left, std::size_t right) {
        if (left == none || right == none) return;
        const std::string_view both{symbols[left].text.data(), symbols[left].text.size() + symbols[right].text.size()};
        if (const float* found = score(both)) merges.push({*found, left, right, both.size()});
    };
    for (std::size_t i = 1; i < symbols.size(); ++i) consider(i - 1, i);
    while (!merges.empty()) {
        const BpeMerge merge = merges.top();
        merges.pop();
        Symbol& left = symbols[merge.left];
        Symbol& right = symbols[merge.right];
        if (left.text.empty() || right.text.empty() || left.text.size() + right.text.size() != merge.bytes) continue;
        left.text = {left.text.data(), merge.bytes};
        right.text = {};
        left.next = right.next;
        if (right.next != none) symbols[right.next].previous = merge.left;
        consider(left.previous, merge.left);
        consider(merge.left, left.next);
    }
    for (std::size_t i = 0; i != none; i = symbols[i].next) on_piece(symbols[i].text);
}

}  // namespace flashback::inline FLASHBACK_ISA::detail
