/// \file A model and a retriever that cost nothing, to test and measure everything around them.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/retriever.hpp"
#include "flashback/core/tokens.hpp"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <span>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::testing {

/// A LanguageModel whose likeliest next token depends on its newest token and on how many it holds. It has the minimum of the
/// concept and nothing more.
class NullModel {
public:
    /// Throws    Error{contract} if the vocabulary is empty
    explicit NullModel(std::size_t vocab) : logits_(vocab, 0.0f) {
        FLASHBACK_ASSERT(vocab > 0, "a model needs a vocabulary of at least 1 token, found 0");
    }

    /// Throws    Error{contract} for no tokens, or one that is not in the vocabulary; then nothing has changed
    /// Cost      a comparison per token
    std::span<const float> evaluate(TokenSpan tokens) {
        check(tokens);
        return append(tokens.size(), static_cast<std::size_t>(tokens.back()));
    }
    /// Throws    Error{contract} for more positions than it holds
    void truncate(std::size_t length) {
        FLASHBACK_ASSERT(length <= size_, "a model of ", size_, " tokens cannot be cut to ", length);
        size_ = length;
    }
    /// How many tokens it holds.
    std::size_t size() const noexcept { return size_; }
    /// How many logits there are.
    std::size_t vocab_size() const noexcept { return logits_.size(); }

private:
    friend class NullBlockModel;

    void check(TokenSpan tokens) const {
        FLASHBACK_ASSERT(!tokens.empty(), "evaluate needs at least 1 token, found none");
        const auto [least, most] = std::ranges::minmax(tokens);
        const bool known = least >= 0 && static_cast<std::size_t>(most) < logits_.size();
        FLASHBACK_ASSERT(known, "token ", least < 0 ? least : most, " is not in the vocabulary of ", logits_.size(), " tokens");
    }
    std::span<const float> append(std::size_t count, std::size_t newest) {
        size_ += count;
        logits_[likeliest_] = 0;
        likeliest_ = (newest * 7 + size_) % logits_.size();
        logits_[likeliest_] = 1;
        return logits_;
    }

    std::vector<float> logits_;
    std::size_t likeliest_ = 0;
    std::size_t size_ = 0;
};

/// A NullModel that can hold blocks beside its text. What it sees changes its likeliest next token.
class NullBlockModel {
public:
    /// A block is its number of tokens, and the first of them.
    struct Block {
        std::size_t tokens;  ///< how many
        TokenId first;       ///< the first of them
    };

    /// Throws    Error{contract} if the vocabulary is empty
    explicit NullBlockModel(std::size_t vocab) : text_(vocab) {}

    /// Throws    as NullModel
    /// Cost      a comparison per token
    std::span<const float> evaluate(TokenSpan tokens) {
        text_.check(tokens);
        return text_.append(tokens.size(), static_cast<std::size_t>(tokens.back()) + seen_);
    }
    /// Throws    Error{contract} for more positions than it holds
    void truncate(std::size_t length) {
        text_.truncate(length);
        if (length <= plain_) {
            plain_ = all;
            seen_ = 0;
        }
    }
    /// Throws    as evaluate, and Error{contract} if it sees more positions than are held and see no blocks
    Block block(TokenSpan tokens, std::size_t sees, std::size_t /*first_position*/) const {
        text_.check(tokens);
        FLASHBACK_ASSERT(sees <= plain_size(), "a block sees ", sees, " positions of the text, but ", plain_size(),
                         " are held");
        return {tokens.size(), tokens.front()};
    }
    /// From here on, tokens see these blocks too.
    void see(const std::vector<Block>& blocks) {
        if (!blocks.empty()) plain_ = plain_size();
        seen_ = 0;
        for (const Block& block : blocks) seen_ = (seen_ + static_cast<std::size_t>(block.first)) % vocab_size();
    }
    /// Positions in front of the first token that saw a block.
    std::size_t plain_size() const noexcept { return std::min(plain_, size()); }
    /// How many tokens it holds.
    std::size_t size() const noexcept { return text_.size(); }
    /// How many logits there are.
    std::size_t vocab_size() const noexcept { return text_.vocab_size(); }

private:
    static constexpr std::size_t all = std::numeric_limits<std::size_t>::max();

    NullModel text_;
    std::size_t plain_ = all;
    std::size_t seen_ = 0;
};

/// A Retriever whose passages have a fixed length and differ from one retrieval to the next.
class NullRetriever {
public:
    /// Answers depend on how often it was asked.
    static constexpr bool remembers_queries = true;

    /// Throws    Error{contract} if the vocabulary is empty
    NullRetriever(std::size_t passage_tokens, std::size_t vocab) : vocab_(vocab), tokens_(passage_tokens) {
        FLASHBACK_ASSERT(vocab > 0, "a retriever needs a vocabulary of at least 1 token, found 0");
    }

    /// The passages of an answer are all the same, and valid until the next call.
    /// Cost      writes one passage
    std::span<const Passage> retrieve(const Query& /*query*/, std::size_t k) {
        ++calls_;
        std::size_t next = calls_ % vocab_;
        for (TokenId& token : tokens_) {
            token = static_cast<TokenId>(next);
            if (++next == vocab_) next = 0;
        }
        found_.assign(k, Passage{.id = "passage", .title = "", .text = "", .tokens = tokens_, .score = 1});
        return found_;
    }

private:
    std::size_t vocab_;
    std::size_t calls_ = 0;
    std::vector<TokenId> tokens_;
    std::vector<Passage> found_;
};

}  // namespace flashback::inline FLASHBACK_ISA::testing
