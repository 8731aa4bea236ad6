/// \file A vocabulary as plain data: what a model file says of its tokens, before any tokenizer reads it.
#pragma once

#include "flashback/core/tokens.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// What a token is for; the numbers are GGUF's `tokenizer.ggml.token_type`.
enum class TokenKind : std::uint8_t {
    normal = 1,
    unknown = 2,
    control = 3,       ///< never produced from plain text: BOS, EOS, marking tokens
    user_defined = 4,  ///< found in plain text before anything else
    unused = 5,
    byte = 6,  ///< "<0x41>": one byte of text that no other token covers
};

/// The tokens of a model and how its text is tokenised.
struct Vocabulary {
    std::string model;                ///< the algorithm, as GGUF names it: "llama" is SentencePiece BPE, "gpt2" byte-level BPE
    std::vector<std::string> pieces;  ///< text of each token, by id
    std::vector<float> scores;        ///< merge order of each token, the higher the sooner; as long as `pieces`, or empty
    std::vector<TokenKind> kinds;     ///< as long as `pieces`
    std::optional<TokenId> bos = {};  ///< begins a text, if the model wants that
    std::optional<TokenId> eos = {};  ///< ends a text
    std::optional<TokenId> unknown = {};  ///< stands for what has no token
    bool add_bos = false;                 ///< whether the model wants `bos` in front of every text
    bool add_space_prefix = false;        ///< whether a space is put in front of a text before it is tokenised
    bool fuse_unknown = false;  ///< "llama" only: characters side by side that nothing covers become one unknown token
    std::string pre = {};  ///< "gpt2" only: how a text is split into words, as GGUF names it: "gpt-2", "llama-bpe", "qwen2"
    /// Pairs of pieces "left right", in the order of merging. They count in "gpt2", and in "llama" without scores.
    std::vector<std::string> merges = {};
    /// "gpt2" only: whether a word that is a token is taken without merging; by default only with "llama-bpe".
    std::optional<bool> whole_words = {};
    bool normal_form_c = false;    ///< whether texts are put into Unicode's normal form C before they are tokenised
    bool bos_in_passages = false;  ///< whether `bos` also stands in front of each passage, as OPT's tokenizer does

    /// How many tokens there are.
    std::size_t size() const noexcept { return pieces.size(); }
};

}  // namespace flashback::inline FLASHBACK_ISA
