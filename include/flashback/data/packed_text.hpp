/// \file What pre-training reads: documents packed end to end into sequences of one length, and the order of the sequences.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/fingerprint.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/data/example.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// Documents as one row of tokens, cut into sequences of one length. Each document has `begin` in front, if there is such a
/// token, and `end` after it. A sequence that starts inside a document also has `begin` in front: a decoder and `perplexity`
/// put it in front of a text that was cut, too. `begin` is never predicted.
class PackedText {
public:
    /// Throws    Error{contract} for sequences of fewer than 2 tokens
    PackedText(std::size_t length, std::optional<TokenId> begin, TokenId end);

    /// Appends a document: any tokens but `begin`.
    void add(TokenSpan document);

    /// How many tokens a sequence has.
    std::size_t length() const noexcept { return length_; }
    /// How many documents were packed.
    std::size_t documents() const noexcept { return documents_; }
    /// All tokens, including those after the last whole sequence.
    std::size_t tokens() const noexcept { return tokens_.size(); }
    /// The number of whole sequences; the rest is not read.
    std::size_t sequences() const noexcept { return tokens_.size() / length_; }

    /// A sequence as a training example: every token is predicted, except the first and each `begin`.
    /// Throws    Error{contract} if there is none of that number
    TrainingExample sequence(std::size_t number) const;

    /// A hash of all tokens and of how they are cut.
    std::uint64_t fingerprint() const noexcept;

private:
    void push(TokenId token);

    std::size_t length_;
    std::optional<TokenId> begin_;
    TokenId end_;
    std::vector<TokenId> tokens_;
    std::size_t documents_ = 0;
};

}  // namespace flashback::inline FLASHBACK_ISA

#if !defined(FLASHBACK_COMPILED_ONCE)
#include "flashback/data/detail/packed_text.hpp"
#endif
