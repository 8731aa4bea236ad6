/// \file Byte-level BPE: the bytes of a word are merged by the ranks of pairs.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/text/detail/indexed_vocabulary.hpp"
#include "flashback/text/detail/pre_tokenizer.hpp"
#include "flashback/text/unicode.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <queue>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

/// The character that stands for each byte in pieces: itself where it is printable in Latin-1, else one from U+0100 on.
/// Source    Radford et al. 2019, the encoder of GPT-2
inline constexpr std::array<char32_t, 256> byte_characters = [] {
    std::array<char32_t, 256> characters{};
    char32_t next = 0x100;
    for (char32_t b = 0; b < 256; ++b) {
        const bool printable = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || (b >= 0xae && b <= 0xff);
        characters[b] = printable ? b : next++;
    }
    return characters;
}();

/// The byte of each of those characters; -1 for others.
inline constexpr std::array<int, 0x144> character_bytes = [] {
    std::array<int, 0x144> bytes{};
    bytes.fill(-1);
    for (int b = 0; b < 256; ++b) bytes[byte_characters[static_cast<std::size_t>(b)]] = b;
    return bytes;
}();

/// The bytes that a piece stands for, added to `out`; whether all its characters stand for bytes.
inline bool add_bytes_of_piece(std::string_view piece, std::string& out) {
    while (!piece.empty()) {
        const CodePoint c = first_code_point(piece);
        if (!c.valid || c.value >= character_bytes.size() || character_bytes[c.value] < 0) return false;
        out += static_cast<char>(character_bytes[c.value]);
        piece.remove_prefix(c.bytes);
    }
    return true;
}

/// What two neighbours become, and when: the lowest rank first.
struct RankedMerge {
    std::uint32_t rank;
    TokenId token;
};

/// The memory of merging, kept from word to word.
struct BytePairScratch {
    struct Symbol {
        TokenId token;  ///< -1: it became a part of the symbol before it
        std::size_t previous, next;
    };
    struct Pair {
        RankedMerge merge;
        std::size_t left, right;          ///< symbols
        TokenId left_token, right_token;  ///< what they were: a pair whose symbols changed meanwhile is none any more

        /// The order of merging: the lowest rank, and of equals the leftmost pair.
        bool operator<(const Pair& other) const noexcept {
            return merge.rank != other.merge.rank ? merge.rank > other.merge.rank : left > other.left;
        }
    };
    std::vector<Symbol> symbols;
    std::priority_queue<Pair> pairs;

    void push(TokenId token) { symbols.push_back({token, symbols.size() - 1, symbols.size() + 1}); }
};

/// Merges the symbols of a word, the pair of lowest rank first, until no pair of neighbours is a merge; then clears them.
/// Requires  `find(left, right)` gives a pointer to the RankedMerge of two tokens, or null; `on_token(TokenId)` takes the
///           tokens in order
/// Cost      n log n for n symbols; `find` is called less than 3 n times
/// Source    Sennrich, Haddow and Birch 2016, Neural machine translation of rare words with subword units, section 3.2
template <class Find, class OnToken>
void byte_pair_merge(BytePairScratch& scratch, const Find& find, const OnToken& on_token) {
    auto& symbols = scratch.symbols;
    const auto consider = [&](std::size_t left, std::size_t right) {
        if (left >= symbols.size() || right >= symbols.size()) return;
        const TokenId a = symbols[left].token, b = symbols[right].token;
        if (const RankedMerge* merge = find(a, b)) scratch.pairs.push({*merge, left, right, a, b});
    };
    for (std::size_t i = 1; i < symbols.size(); ++i) consider(i - 1, i);
    while (!scratch.pairs.empty()) {
        const BytePairScratch::Pair pair = scratch.pairs.top();
        scratch.pairs.pop();
        auto& left = symbols[pair.left];
        auto& right = symbols[pair.right];
        if (left.token != pair.left_token || right.token != pair.right_token) continue;
        left.token = pair.merge.token;
        right.token = -1;
        left.next = right.next;
        if (right.next < symbols.size()) symbols[right.next].previous = pair.left;
        consider(left.previous, pair.left);
        consider(pair.left, left.next);
    }
    for (std::size_t i = 0; i < symbols.size(); i = symbols[i].next) on_token(symbols[i].token);
    symbols.clear();
}

/// The algorithm "gpt2" of a vocabulary.
class ByteLevelBpe {
public:
    /// Merges that name a piece which is no normal token are left out: real models have some that nothing reaches. Of equal
    /// merges the first counts.
    /// Throws    Error{unsupported} for a pre-tokenizer that is not known or a space in front of texts; Error{vocabulary} for a
    ///           merge that is not two pieces with a space between, two normal tokens of one text, a normal token with a
    ///           character that stands for no byte and a byte token
    explicit ByteLevelBpe(const IndexedVocabulary& index) : split_(pre_tokenizer_of(index.vocabulary.pre)) {
        const Vocabulary& v = index.vocabulary;
        if (v.add_space_prefix)
            FLASHBACK_THROW(ErrorCode::unsupported,
                            "the vocabulary wants a space in front of texts, expected none with byte-level BPE");
        bytes_.fill(-1);
        std::string bytes;
        for (std::size_t i = 0; i < v.size(); ++i) {
            if (v.kinds[i] == TokenKind::byte)
                FLASHBACK_THROW(ErrorCode::vocabulary, "token ", i, " is a byte token, expected none with byte-level BPE");
            if (v.kinds[i] != TokenKind::normal || v.pieces[i].empty()) continue;
            bytes.clear();
            if (!add_bytes_of_piece(v.pieces[i], bytes)) {
                FLASHBACK_THROW(ErrorCode::vocabulary, "the normal token ", i, " '", printable(v.pieces[i]),
                                "' has a character that stands for no byte");
            }
            if (const TokenId first = *index.find_normal(v.pieces[i]); first != static_cast<TokenId>(i)) {
                FLASHBACK_THROW(ErrorCode::vocabulary, "the normal tokens ", first, " and ", i, " have the same text '",
                                printable(v.pieces[i]), "'");
            }
            if (bytes.size() == 1) bytes_[static_cast<unsigned char>(bytes[0])] = static_cast<TokenId>(i);
        }
        merges_.reserve(v.merges.size());
        for (std::size_t i = 0; i < v.merges.size(); ++i) add_merge(index, i);
    }

    /// Adds the tokens of a text that no user-defined token is in.
    /// Throws    Error{vocabulary} for a byte that is no token
    void encode(const IndexedVocabulary& index, std::string_view text, bool /*at_start*/, std::vector<TokenId>& out) const {
        const auto find = [this](TokenId left, TokenId right) -> const RankedMerge* {
            const auto it = merges_.find(key(left, right));
            return it == merges_.end() ? nullptr : &it->second;
        };
        BytePairScratch scratch;
        std::string spelled;
        for_each_bpe_word(split_, text, [&](std::string_view word) {
            if (split_ == PreTokenizer::llama_bpe) {  // its tokens are not all reached by merges
                spelled.clear();
                for (const char c : word) append_utf8(spelled, byte_characters[static_cast<unsigned char>(c)]);
                if (const auto whole = index.find_normal(spelled)) {
                    out.push_back(*whole);
                    return;
                }
            }
            for (const char c : word) scratch.push(token_of(index, static_cast<unsigned char>(c)));
            byte_pair_merge(scratch, find, [&out](TokenId token) { out.push_back(token); });
        });
    }

    /// Adds the bytes of a normal token; an unknown token has none.
    void decode(const IndexedVocabulary& index, TokenId token, std::string& out) const {
        if (index.kind(token) == TokenKind::normal) add_bytes_of_piece(index.piece(token), out);
    }

private:
    static std::uint64_t key(TokenId left, TokenId right) noexcept {
        return std::uint64_t{static_cast<std::uint32_t>(left)} << 32 | static_cast<std::uint32_t>(right);
    }

    TokenId token_of(const IndexedVocabulary& index, unsigned char byte) const {
        if (bytes_[byte] < 0) {
            FLASHBACK_THROW(ErrorCode::vocabulary, "the vocabulary of ", index.vocabulary.size(),
                            " tokens has no token for the byte ", unsigned{byte});
        }
        return bytes_[byte];
    }

    void add_merge(const IndexedVocabulary& index, std::size_t i) {
        const std::string_view merge = index.vocabulary.merges[i];
        const std::size_t space = merge.find(' ');
        if (space == merge.npos || space == 0 || space + 1 == merge.size() || merge.find(' ', space + 1) != merge.npos) {
            FLASHBACK_THROW(ErrorCode::vocabulary, "merge ", i, " is '", printable(merge),
                            "', expected two pieces with one space between");
        }
        const std::string_view left = merge.substr(0, space), right = merge.substr(space + 1);
        const auto a = index.find_normal(left), b = index.find_normal(right);
        if (!a || !b) return;
        const auto both = index.find_normal(std::string{left} + std::string{right});
        if (both) merges_.try_emplace(key(*a, *b), RankedMerge{static_cast<std::uint32_t>(i), *both});
    }

    PreTokenizer split_;
    std::array<TokenId, 256> bytes_;  ///< the token of each byte; -1 where there is none
    std::unordered_map<std::uint64_t, RankedMerge> merges_;
};

}  // namespace flashback::inline FLASHBACK_ISA::detail
