/// \file Text to tokens and back.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/vocabulary.hpp"

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// Whether the name of a pre-tokenizer is one of Llama 3's.
bool splits_as_llama3(std::string_view pre_tokenizer) noexcept;

/// Turns text into the tokens of a vocabulary and back. It is a value: copies share one immutable state, which several threads
/// may use at once. The vocabulary chooses the algorithm:
///
///     model "llama"   SentencePiece BPE: characters are merged by the scores of tokens, or by the ranks of pairs if the
///                     vocabulary has merges instead of scores; what is left becomes byte tokens
///     model "gpt2"    byte-level BPE: bytes are merged by the ranks of pairs, within the words of a pre-tokenizer, which is
///                     "gpt-2", "llama-bpe" (also called "llama3" or "llama-v3") or "qwen2"
///
/// Control tokens (BOS, marking tokens) never come from text, whatever it spells; put them by id. User-defined tokens are found
/// in a text before anything else, the longest first. Bytes that are not UTF-8 are taken one by one. A text is put into normal
/// form C only if the vocabulary asks for it. Merges that name a piece which is not a normal token are left out: real
/// vocabularies have some that nothing reaches.
/// Requires  a tokenizer that was moved from is only assigned to or destroyed
/// Source    Kudo and Richardson 2018, SentencePiece; Sennrich et al. 2016 and Radford et al. 2019, byte-level BPE; text around
///           user-defined tokens as llama.cpp treats it
class Tokenizer {
public:
    /// Throws    Error{vocabulary} if the vocabulary contradicts itself; Error{unsupported} if its algorithm or its
    ///           pre-tokenizer is not known here
    explicit Tokenizer(Vocabulary vocabulary);

    /// What it was made from.
    const Vocabulary& vocabulary() const noexcept;

    /// The number of tokens.
    std::size_t size() const noexcept;

    /// The tokens that the model wants in front of every text: BOS, or none. Valid as long as a copy of this tokenizer lives.
    TokenSpan head() const noexcept;

    /// The tokens that the model wants in front of every retrieved passage: BOS for OPT, else none. Valid as `head` is.
    TokenSpan passage_head() const noexcept;

    /// The id of a token by its text, control tokens included; nothing if there is none.
    std::optional<TokenId> find(std::string_view piece) const;

    /// The id of a token by its text, control tokens included.
    /// Throws    Error{vocabulary} if there is none
    TokenId id(std::string_view piece) const;

    /// The text of a token as the vocabulary spells it, e.g. "▁the", "<0x0A>" or "Ġthe".
    /// Throws    Error{contract} for an id that the vocabulary does not have
    const std::string& piece(TokenId token) const;

    /// The tokens of a text, without head.
    /// Throws    Error{vocabulary} for a character that no token, byte token or unknown token covers; with byte-level BPE for a
    ///           byte that has no token
    /// Cost      n log n for n bytes, however long the words are
    std::vector<TokenId> encode(std::string_view text) const;

    /// The bytes that a token adds to a text; nothing for control tokens.
    /// Throws    Error{contract} for an id that the vocabulary does not have
    std::string decode(TokenId token) const;

    /// The text that tokens add after other tokens. It may end inside a UTF-8 character; StreamDecoder holds such a rest back.
    /// Throws    Error{contract} for an id that the vocabulary does not have
    std::string decode(TokenSpan tokens) const;

    /// The text of tokens that are a whole text, without head. This is the inverse of `encode`: it leaves out the space that
    /// `encode` put in front. With SentencePiece two things do not come back: U+2581, which pieces use for a space, and what
    /// became the unknown token. With byte-level BPE all bytes of the text come back, or of its normal form if the vocabulary
    /// asks for one.
    /// Throws    Error{contract} for an id that the vocabulary does not have
    std::string decode_whole(TokenSpan tokens) const;

private:
    struct State;

    std::size_t index(TokenId token) const;

    void add(std::string& out, TokenId token) const;

    void encode_raw(std::string_view text, bool at_start, std::vector<TokenId>& out) const;

    std::shared_ptr<const State> state_;
};

/// Decodes tokens one at a time and gives only whole UTF-8 characters.
class StreamDecoder {
public:
    /// Starts at the beginning of a text.
    explicit StreamDecoder(Tokenizer tokenizer) : tokenizer_(std::move(tokenizer)) {}

    /// The characters that the token completes.
    /// Throws    Error{contract} for an id that the vocabulary does not have
    std::string push(TokenId token);

    /// What is left at the end of a text: the bytes of a character that was never completed.
    std::string finish() { return std::exchange(pending_, {}); }

private:
    Tokenizer tokenizer_;
    std::string pending_;
};

}  // namespace flashback::inline FLASHBACK_ISA

#if !defined(FLASHBACK_COMPILED_ONCE)
#include "flashback/text/detail/tokenizer.hpp"
#endif
