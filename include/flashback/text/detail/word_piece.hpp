/// \file Words and their pieces.
#pragma once

#include "flashback/text/detail/normal_form_c.hpp"
#include "flashback/text/detail/word_piece_tables.hpp"
#include "flashback/text/unicode.hpp"
#include "flashback/text/word_piece.hpp"

#include <algorithm>
#include <iterator>
#include <limits>
#include <utility>

namespace flashback::inline FLASHBACK_ISA {
namespace detail {

/// The class of a character. Every ASCII character that is neither a letter, a digit nor a control is punctuation.
constexpr WordPieceClass word_piece_class(char32_t c) noexcept {
    if (c > ' ' && c < 0x7f) return is_word_character(c) ? WordPieceClass::other : WordPieceClass::punctuation;
    const auto* it = std::ranges::lower_bound(word_piece_ranges, c, {}, &WordPieceRange::last);
    return it != std::end(word_piece_ranges) && it->first <= c ? it->kind : WordPieceClass::other;
}

/// Whether a character is one of the CJK ideographs, which stand side by side without spaces.
/// Source    google-research/bert, tokenization.py, _is_chinese_char
constexpr bool is_ideograph(char32_t c) noexcept {
    struct Block {
        char32_t first, last;
    };
    constexpr Block blocks[]{{0x3400, 0x4dbf},   {0x4e00, 0x9fff},   {0xf900, 0xfaff},   {0x20000, 0x2a6df},
                             {0x2a700, 0x2b73f}, {0x2b740, 0x2b81f}, {0x2b820, 0x2ceaf}, {0x2f800, 0x2fa1f}};
    return std::ranges::any_of(blocks, [c](const Block& b) { return c >= b.first && c <= b.last; });
}

/// A set of pieces, and the longest of them that a text begins with.
class LongestPiece {
public:
    /// Adds a piece that is not empty.
    void add(std::string_view piece, TokenId token) { sorted_.emplace_back(piece, token); }

    /// Is called once, after all pieces were added.
    void sort() { std::ranges::sort(sorted_); }

    /// The bytes of a piece, 0 if there is none, and its token.
    struct Match {
        std::size_t bytes = 0;
        TokenId token = 0;
    };

    /// Cost      two binary searches for each byte that any piece has in common with the text, and one more
    Match find(std::string_view text) const {
        Match longest;
        auto first = sorted_.begin();
        auto last = sorted_.end();
        // All pieces between the two begin with the bytes that were read; the one that ends there is the first.
        for (std::size_t at = 0; at < text.size() && first != last; ++at) {
            const auto byte_of = [at](const Entry& entry) {
                return entry.first.size() <= at ? -1 : int{static_cast<unsigned char>(entry.first[at])};
            };
            const int byte = static_cast<unsigned char>(text[at]);
            first = std::partition_point(first, last, [&](const Entry& entry) { return byte_of(entry) < byte; });
            last = std::partition_point(first, last, [&](const Entry& entry) { return byte_of(entry) == byte; });
            if (first != last && first->first.size() == at + 1) longest = {at + 1, first->second};
        }
        return longest;
    }

private:
    using Entry = std::pair<std::string_view, TokenId>;

    std::vector<Entry> sorted_;
};

}  // namespace detail

struct WordPiece::State {
    explicit State(WordPieceVocabulary from)
        : vocabulary(std::move(from)), strips(vocabulary.strip_accents.value_or(vocabulary.lower_case)) {
        const auto refuse = [](const auto&... parts) {
            FLASHBACK_THROW(ErrorCode::vocabulary, "a WordPiece vocabulary ", parts...);
        };
        const std::vector<std::string>& pieces = vocabulary.pieces;
        if (pieces.size() > static_cast<std::size_t>(std::numeric_limits<TokenId>::max()))
            refuse("has ", pieces.size(), " tokens, expected fewer than 2^31");
        std::vector<std::pair<std::string_view, TokenId>> ids;
        for (std::size_t i = 0; i < pieces.size(); ++i) {
            if (!pieces[i].empty()) ids.emplace_back(pieces[i], static_cast<TokenId>(i));
        }
        std::ranges::sort(ids);
        const auto twice = std::ranges::adjacent_find(ids, {}, [](const auto& entry) { return entry.first; });
        if (twice != ids.end()) {
            refuse("has the token '", printable(twice->first), "' twice, with the ids ", twice[0].second, " and ",
                   twice[1].second);
        }
        const auto special = [&](const std::string& text, const char* what) {
            const auto found =
                std::ranges::lower_bound(ids, std::string_view{text}, {}, [](const auto& entry) { return entry.first; });
            if (found == ids.end() || found->first != text) refuse("lacks the token '", printable(text), "', which ", what);
            return found->second;
        };
        cls = special(vocabulary.cls, "stands in front of a text");
        separator = special(vocabulary.separator, "stands after a text");
        unknown = special(vocabulary.unknown, "stands for unknown words");
        for (const auto& [piece, token] : ids) {
            if (token == cls || token == separator || token == unknown) continue;
            if (piece.starts_with("##") && piece.size() > 2) {
                inner.add(piece.substr(2), token);
            } else {
                first.add(piece, token);
            }
        }
        first.sort();
        inner.sort();
    }

    WordPieceVocabulary vocabulary;
    bool strips;
    TokenId cls = 0, separator = 0, unknown = 0;
    detail::LongestPiece first, inner;  // pieces at the beginning of a word, and within one
};

namespace detail {

/// Cuts a text into words and gives their pieces to `put(token)`, until that returns false.
template <class State, class Put>
class WordPieceRun {
public:
    WordPieceRun(const State& state, const Put& put) : state_(state), put_(put) {}

    void read(std::string_view text) {
        while (!text.empty() && goes_on_) {
            const CodePoint c = first_code_point(text);
            text.remove_prefix(c.bytes);
            if (c.valid) read(c.value);
        }
        end_word();
    }

private:
    void read(char32_t c) {
        constexpr char32_t replacement = 0xfffd;
        if (c == ' ' || c == '\t' || c == '\n' || c == '\r') return end_word();
        if (c == replacement || word_piece_class(c) == WordPieceClass::control) return;
        if (is_white_space(c)) return end_word();
        const bool alone = state_.vocabulary.split_cjk && is_ideograph(c);
        if (alone) end_word();
        if (!state_.strips || c < 0x80) {
            add(c);
        } else {
            parts_.clear();
            decompose(c, parts_);
            for (const Combining& part : parts_) {
                if (word_piece_class(part.value) != WordPieceClass::accent) add(part.value);
            }
        }
        if (alone) end_word();
    }

    void add(char32_t c) {
        if (state_.vocabulary.lower_case) c = to_lower(c);
        const bool alone = word_piece_class(c) == WordPieceClass::punctuation;
        if (alone) end_word();
        if (++characters_ <= state_.vocabulary.longest_word) append_utf8(word_, c);
        if (alone) end_word();
    }

    /// Puts the pieces of a word, or the unknown token.
    void end_word() {
        if (characters_ == 0) return;
        tokens_.clear();
        std::string_view rest = word_;
        while (!rest.empty() && characters_ <= state_.vocabulary.longest_word) {
            const auto piece = (tokens_.empty() ? state_.first : state_.inner).find(rest);
            if (piece.bytes == 0) break;
            tokens_.push_back(piece.token);
            rest.remove_prefix(piece.bytes);
        }
        if (!rest.empty()) tokens_.assign(1, state_.unknown);
        for (std::size_t i = 0; i < tokens_.size() && goes_on_; ++i) goes_on_ = put_(tokens_[i]);
        word_.clear();
        characters_ = 0;
    }

    const State& state_;
    const Put& put_;
    bool goes_on_ = true;
    std::string word_;
    std::size_t characters_ = 0;  // of the word, those that were not kept included
    std::vector<Combining> parts_;
    std::vector<TokenId> tokens_;
};

}  // namespace detail

FLASHBACK_DETAIL_ONCE WordPiece::WordPiece(WordPieceVocabulary vocabulary)
    : state_(std::make_shared<const State>(std::move(vocabulary))) {}

FLASHBACK_DETAIL_ONCE const WordPieceVocabulary& WordPiece::vocabulary() const noexcept { return state_->vocabulary; }

FLASHBACK_DETAIL_ONCE std::size_t WordPiece::size() const noexcept { return state_->vocabulary.pieces.size(); }

FLASHBACK_DETAIL_ONCE bool WordPiece::encode(std::string_view text, std::size_t most, std::vector<TokenId>& out) const {
    FLASHBACK_ASSERT(most >= 2, "a text has at least 2 tokens, one in front of it and one after it, but ", most,
                     " may be there");
    const std::size_t last = out.size() + most - 1;
    bool cut = false;
    out.push_back(state_->cls);
    const auto put = [&](TokenId token) {
        cut = out.size() == last;
        if (!cut) out.push_back(token);
        return !cut;
    };
    detail::WordPieceRun<State, decltype(put)>{*state_, put}.read(text);
    out.push_back(state_->separator);
    return cut;
}

FLASHBACK_DETAIL_ONCE std::vector<TokenId> WordPiece::encode(std::string_view text) const {
    std::vector<TokenId> tokens;
    encode(text, std::numeric_limits<std::size_t>::max() / 2, tokens);
    return tokens;
}

}  // namespace flashback::inline FLASHBACK_ISA
