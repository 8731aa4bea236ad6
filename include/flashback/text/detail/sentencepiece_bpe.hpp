/// \file SentencePiece BPE: characters are merged by the scores of tokens or the ranks of pairs. What is not a token becomes
/// its bytes.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/text/detail/byte_pair_merge.hpp"
#include "flashback/text/detail/indexed_vocabulary.hpp"
#include "flashback/text/unicode.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <queue>
#include <string>
#include <string_view>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

/// A pair of neighbours that together are a token.
struct BpeMerge {
    float score;
    std::size_t left;   ///< symbol
    std::size_t right;  ///< symbol
    std::size_t bytes;  ///< of both together; if it differs, a symbol has changed meanwhile and the merge is void

    /// The order of merging: the highest score first, and of equal scores the leftmost pair.
    bool operator<(const BpeMerge& other) const noexcept {
        return score != other.score ? score < other.score : left > other.left;
    }
};

/// Splits a text into pieces. At first each character is a piece; then the pair of neighbours that is the token with the best
/// score is merged, until no pair is a token.
/// Requires  `score(text)` gives a pointer to the score of a token, or null if the text is not a token; `on_piece(text)` takes
///           the pieces in order; pieces that are not tokens are single characters
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

/// The algorithm "llama" of a vocabulary.
class SentencePieceBpe {
public:
    /// Throws    Error{vocabulary} for a score that is not a number and for a byte token that is not spelled <0x00> to <0xFF>;
    ///           and as RankedMerges
    explicit SentencePieceBpe(const IndexedVocabulary& index)
        : merges_(index.vocabulary.scores.empty() ? RankedMerges{index} : RankedMerges{}) {
        const Vocabulary& v = index.vocabulary;
        bytes_.fill(-1);
        for (std::size_t i = 0; i < v.size(); ++i) {
            if (!v.scores.empty() && std::isnan(v.scores[i]))
                FLASHBACK_THROW(ErrorCode::vocabulary, "the score of token ", i, " is not a number");
            if (v.kinds[i] != TokenKind::byte) continue;
            constexpr std::string_view digits = "0123456789ABCDEF";
            const std::string& piece = v.pieces[i];
            const bool well_formed = piece.size() == 6 && piece.starts_with("<0x") && piece[5] == '>' &&
                                     digits.find(piece[3]) != digits.npos && digits.find(piece[4]) != digits.npos;
            if (!well_formed) FLASHBACK_THROW(ErrorCode::vocabulary, "the byte token ", i, " is not spelled <0x00> to <0xFF>");
            bytes_[digits.find(piece[3]) * 16 + digits.find(piece[4])] = static_cast<TokenId>(i);
        }
    }

    /// Adds the tokens of a text that contains no user-defined token; `at_start` says that a whole text begins there.
    /// Throws    Error{vocabulary} for a character that no token, byte token or unknown token covers
    void encode(const IndexedVocabulary& index, std::string_view text, bool at_start, std::vector<TokenId>& out) const {
        const Vocabulary& v = index.vocabulary;
        std::string marked;
        marked.reserve(text.size() + text.size() / 2);
        if (at_start && v.add_space_prefix) marked += space_mark;
        for (const char c : text) {
            if (c == ' ') {
                marked += space_mark;
            } else {
                marked += c;
            }
        }
        if (v.scores.empty()) {
            std::vector<TokenId> characters;
            for (std::string_view rest = marked; !rest.empty();) {
                const std::string_view character = rest.substr(0, first_code_point(rest).bytes);
                add_piece(index, character, characters);
                rest.remove_prefix(character.size());
            }
            BytePairScratch scratch;
            for (const TokenId token : characters) scratch.push(token);
            byte_pair_merge(scratch, merges_, [&out](TokenId token) { out.push_back(token); });
            return;
        }
        const auto score = [&](std::string_view piece) -> const float* {
            const auto id = index.find_normal(piece);
            return id ? &v.scores[static_cast<std::size_t>(*id)] : nullptr;
        };
        sentencepiece_merge(marked, score, [&](std::string_view piece) { add_piece(index, piece, out); });
    }

    /// Adds the bytes of a normal, byte or unknown token.
    void decode(const IndexedVocabulary& index, TokenId token, std::string& out) const {
        const std::string& text = index.piece(token);
        if (index.kind(token) == TokenKind::byte) {
            out += static_cast<char>(std::stoi(text.substr(3, 2), nullptr, 16));
            return;
        }
        if (index.kind(token) == TokenKind::unknown) {
            out += " \xe2\x81\x87 ";  // U+2047, as SentencePiece shows it
            return;
        }
        for (std::string_view rest = text; !rest.empty();) {
            const std::size_t mark = rest.find(space_mark);
            out += rest.substr(0, mark);
            if (mark == rest.npos) return;
            out += ' ';
            rest.remove_prefix(mark + space_mark.size());
        }
    }

private:
    static constexpr std::string_view space_mark = "\xe2\x96\x81";  // U+2581, which stands for a space in pieces

    /// Adds a token; or, for a character that is not a token, its bytes if all of them have tokens, else the unknown token.
    void add_piece(const IndexedVocabulary& index, std::string_view piece, std::vector<TokenId>& out) const {
        const Vocabulary& v = index.vocabulary;
        if (const auto id = index.find_normal(piece)) {
            out.push_back(*id);
            return;
        }
        const auto token_of = [this](char c) { return bytes_[static_cast<unsigned char>(c)]; };
        const auto uncovered = std::ranges::find_if(piece, [&](char c) { return token_of(c) < 0; });
        if (uncovered == piece.end()) {
            for (const char c : piece) out.push_back(token_of(c));
        } else if (!v.unknown) {
            FLASHBACK_THROW(ErrorCode::vocabulary, "the vocabulary of ", v.size(), " tokens covers the byte ",
                            unsigned{static_cast<unsigned char>(*uncovered)},
                            " in no way: it has no byte token and no unknown token for it");
        } else if (!v.fuse_unknown || out.empty() || out.back() != *v.unknown) {
            out.push_back(*v.unknown);
        }
    }

    RankedMerges merges_;
    std::array<TokenId, 256> bytes_;  ///< byte tokens; -1 if there is none
};

}  // namespace flashback::inline FLASHBACK_ISA::detail
