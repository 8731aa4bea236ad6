/// \file Byte-level BPE: the bytes of a word are merged by the ranks of pairs.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/text/detail/byte_pair_merge.hpp"
#include "flashback/text/detail/indexed_vocabulary.hpp"
#include "flashback/text/detail/pre_tokenizer.hpp"
#include "flashback/text/unicode.hpp"

#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

/// The character that stands for each byte in pieces: the byte itself if it is printable in Latin-1, else a character from
/// U+0100 on.
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

/// Adds the bytes that a piece stands for to `out`; tells whether all its characters stand for bytes.
inline bool add_bytes_of_piece(std::string_view piece, std::string& out) {
    while (!piece.empty()) {
        const CodePoint c = first_code_point(piece);
        if (!c.valid || c.value >= character_bytes.size() || character_bytes[c.value] < 0) return false;
        out += static_cast<char>(character_bytes[c.value]);
        piece.remove_prefix(c.bytes);
    }
    return true;
}

/// The algorithm "gpt2" of a vocabulary.
class ByteLevelBpe {
public:
    /// Throws    Error{unsupported} for a pre-tokenizer that is not known, or for a vocabulary that wants a space in front of
    ///           texts; Error{vocabulary} for two normal tokens with the same text, a normal token with a character that stands
    ///           for no byte, and a byte token; and as RankedMerges
    explicit ByteLevelBpe(const IndexedVocabulary& index)
        : split_(pre_tokenizer_of(index.vocabulary.pre)),
          whole_words_(index.vocabulary.whole_words.value_or(split_ == PreTokenizer::llama_bpe)),
          merges_(index) {
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
    }

    /// Adds the tokens of a text that contains no user-defined token.
    /// Throws    Error{vocabulary} for a byte that has no token
    void encode(const IndexedVocabulary& index, std::string_view text, bool /*at_start*/, std::vector<TokenId>& out) const {
        BytePairScratch scratch;
        std::string spelled;
        for_each_bpe_word(split_, text, [&](std::string_view word) {
            if (whole_words_) {  // not all of its tokens are reached by merges
                spelled.clear();
                for (const char c : word) append_utf8(spelled, byte_characters[static_cast<unsigned char>(c)]);
                if (const auto whole = index.find_normal(spelled)) {
                    out.push_back(*whole);
                    return;
                }
            }
            for (const char c : word) scratch.push(token_of(index, static_cast<unsigned char>(c)));
            byte_pair_merge(scratch, merges_, [&out](TokenId token) { out.push_back(token); });
        });
    }

    /// Adds the bytes of a normal token; an unknown token has none.
    void decode(const IndexedVocabulary& index, TokenId token, std::string& out) const {
        if (index.kind(token) == TokenKind::normal) add_bytes_of_piece(index.piece(token), out);
    }

private:
    TokenId token_of(const IndexedVocabulary& index, unsigned char byte) const {
        if (bytes_[byte] < 0) {
            FLASHBACK_THROW(ErrorCode::vocabulary, "the vocabulary of ", index.vocabulary.size(),
                            " tokens has no token for the byte ", unsigned{byte});
        }
        return bytes_[byte];
    }

    PreTokenizer split_;
    bool whole_words_;
    RankedMerges merges_;
    std::array<TokenId, 256> bytes_;  ///< the token of each byte; -1 if it has none
};

}  // namespace flashback::inline FLASHBACK_ISA::detail
