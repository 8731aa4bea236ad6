/// \file A model without weights: its logits are a pure function of all the tokens that it holds.
#pragma once

#include "flashback/core/language_model.hpp"
#include "flashback/core/random.hpp"
#include "support/random_retriever.hpp"

#include <cstddef>
#include <functional>
#include <limits>
#include <span>
#include <stdexcept>
#include <vector>

namespace flashback_test {

struct NullModelError : std::runtime_error {
    NullModelError() : std::runtime_error("the null model was told to fail") {}
};

/// The logits after some tokens.
inline void null_logits(flashback::TokenSpan tokens, std::span<float> logits) {
    flashback::SplitMix64 random{hash_of(tokens)};
    for (float& logit : logits) logit = static_cast<float>(4 * random.uniform());
}

/// Holds any number of tokens and does not tell them.
class NullModel {
public:
    explicit NullModel(std::size_t vocab = 20, std::size_t room = 100000) : logits_(vocab) { held_.reserve(room); }

    std::span<const float> evaluate(flashback::TokenSpan tokens) {
        if (tokens.empty()) throw std::logic_error("the null model was given no tokens");
        if (evaluations++ == fail_at) throw NullModelError{};
        flashback::append(held_, tokens);
        evaluated += tokens.size();
        null_logits(held_, logits_);
        if (change_logits) change_logits(evaluations, logits_);
        return logits_;
    }
    void truncate(std::size_t n) {
        if (n > held_.size()) throw std::logic_error("the null model was cut to more than it holds");
        held_.resize(n);
    }
    std::size_t size() const { return held_.size(); }
    std::size_t vocab_size() const { return logits_.size(); }

    static constexpr std::size_t never = std::numeric_limits<std::size_t>::max();
    std::size_t fail_at = never;  ///< the call of evaluate that throws, from 0
    std::size_t evaluations = 0;  ///< calls
    std::size_t evaluated = 0;    ///< tokens
    std::function<void(std::size_t evaluations, std::span<float> logits)> change_logits;

    /// What it holds, for tests; not the `tokens()` of a LanguageModel.
    flashback::TokenSpan secret_tokens() const { return held_; }

private:
    std::vector<flashback::TokenId> held_;
    std::vector<float> logits_;
};

/// A null model with everything that a LanguageModel may have: a window, BOS, an end, and tokens that it tells.
class FullNullModel : public NullModel {
public:
    explicit FullNullModel(std::size_t vocab = 20, std::size_t window = 100000) : NullModel(vocab, 100000), window_(window) {}

    std::span<const float> evaluate(flashback::TokenSpan tokens) {
        if (size() + tokens.size() > window_) throw std::logic_error("the null model was given more than its window");
        return NullModel::evaluate(tokens);
    }
    std::size_t window() const { return window_; }
    flashback::TokenSpan head() const { return head_; }
    bool is_end(flashback::TokenId token) const { return token == 2; }
    flashback::TokenSpan tokens() const { return secret_tokens(); }

private:
    std::size_t window_;
    std::vector<flashback::TokenId> head_{1};
};

static_assert(flashback::LanguageModel<NullModel> && !flashback::RemembersTokens<NullModel>);
static_assert(flashback::LanguageModel<FullNullModel> && flashback::RemembersTokens<FullNullModel>);

}  // namespace flashback_test
