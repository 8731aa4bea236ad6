/// \file What the stand-in for llama.cpp must give, by the definition: everything is computed from scratch, without cells and sequences.
#pragma once

#include "flashback/core/language_model.hpp"
#include "flashback/interop/llama_cpp.hpp"
#include "interop/fake_llama/llama.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <doctest/doctest.h>

namespace flashback_test {

/// A model and a context that a test may change.
struct FakeLlama {
    llama_model model = {};
    llama_context context{.model = &model};
};

class LlamaOracle {
public:
    struct Block {
        flashback::TokenBuffer tokens;
        std::size_t sees;
        std::size_t first_position;
    };

    explicit LlamaOracle(const llama_context& context, std::size_t gap = flashback::default_block_gap)
        : context_(&context), gap_(gap) {}

    std::span<const float> evaluate(flashback::TokenSpan tokens) {
        for (const flashback::TokenId token : tokens) tokens_.push_back({token, seen_});
        std::uint64_t next = states().back();
        logits_.resize(vocab_size());
        for (float& logit : logits_)
            logit = static_cast<float>((next = next * 6364136223846793005u + 1442695040888963407u) >> 40);
        return logits_;
    }
    void truncate(std::size_t length) {
        if (length <= plain_size()) seen_.clear();
        tokens_.resize(length);
    }
    static Block block(flashback::TokenSpan tokens, std::size_t sees, std::size_t first_position) {
        return {{tokens.begin(), tokens.end()}, sees, first_position};
    }
    void see(const std::vector<Block>& blocks) { seen_ = blocks; }
    std::size_t plain_size() const {
        const auto first = std::ranges::find_if(tokens_, [](const Token& token) { return !token.seen.empty(); });
        return static_cast<std::size_t>(first - tokens_.begin());
    }
    std::size_t size() const { return tokens_.size(); }
    flashback::TokenSpan head() const { return {&context_->model->vocab.bos, context_->model->vocab.add_bos ? 1u : 0u}; }
    std::size_t vocab_size() const { return static_cast<std::size_t>(context_->model->vocab.tokens); }

private:
    struct Token {
        flashback::TokenId id;
        std::vector<Block> seen;
    };

    std::uint64_t first(flashback::TokenId token, std::size_t position) const {
        return fake_llama::mix(static_cast<std::uint64_t>(token) * 1000003u + position + context_->adapters);
    }
    static std::uint64_t part(std::uint64_t state) { return fake_llama::mix(state ^ 0x5bd1e995u); }

    std::vector<std::uint64_t> states_of(const Block& block, const std::vector<std::uint64_t>& text) const {
        std::vector<std::uint64_t> states;
        std::uint64_t before = 0;
        for (std::size_t i = 0; i < block.sees; ++i) before += part(text[i]);
        for (std::size_t i = 0; i < block.tokens.size(); ++i) {
            states.push_back(fake_llama::mix(first(block.tokens[i], block.first_position + i) + before));
            before += part(states.back());
        }
        return states;
    }
    std::vector<std::uint64_t> states() const {
        const auto sliding = static_cast<std::size_t>(context_->model->sliding);
        std::vector<std::uint64_t> text;
        for (std::size_t at = 0; at < tokens_.size(); ++at) {
            std::uint64_t sum = first(tokens_[at].id, at);
            for (std::size_t i = 0; i < at; ++i) sum += sliding == 0 || at - i < sliding ? part(text[i]) : 0;
            for (const Block& block : tokens_[at].seen) {
                const std::vector<std::uint64_t> states = states_of(block, text);
                const std::size_t seen = flashback::positions_seen(at, block.first_position, gap_);
                for (std::size_t i = 0; i < std::min(seen, states.size()); ++i) sum += part(states[i]);
            }
            text.push_back(fake_llama::mix(sum));
        }
        return text;
    }

    const llama_context* context_;
    std::size_t gap_;
    std::vector<Token> tokens_;
    std::vector<Block> seen_;
    std::vector<float> logits_;
};

inline flashback::TokenBuffer some_tokens(std::size_t count) {
    flashback::TokenBuffer tokens(count);
    for (std::size_t i = 0; i < count; ++i) tokens[i] = static_cast<flashback::TokenId>(3 + i * 7 % 60);
    return tokens;
}

/// Evaluates a token more and compares with a model that evaluated everything from scratch.
inline void check_from_scratch(flashback::LlamaCppModel& model, const llama_context& context) {
    LlamaOracle oracle{context};
    const flashback::TokenBuffer held{model.tokens().begin(), model.tokens().end()};
    if (!held.empty()) oracle.evaluate(held);
    CHECK(std::ranges::equal(model.evaluate(some_tokens(1)), oracle.evaluate(some_tokens(1))));
}

}  // namespace flashback_test
