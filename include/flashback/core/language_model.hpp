/// \file What the policies need of a model: the concept LanguageModel, its refinements, and the traits that fill the gaps.
#pragma once

#include "flashback/core/tokens.hpp"

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <stop_token>

namespace flashback::inline FLASHBACK_ISA {

/// A causal model with a KV cache that can be cut back.
///
/// | expression           | result                   | meaning                                                              |
/// |----------------------|--------------------------|----------------------------------------------------------------------|
/// | `m.evaluate(tokens)` | `span<const float>`      | appends the tokens; logits after the last, valid until the next call |
/// | `m.truncate(n)`      |                          | forgets all positions >= n                                           |
/// | `m.size()`           | `std::size_t`            | positions held                                                       |
/// | `m.vocab_size()`     | `std::size_t`            | number of logits                                                     |
///
/// Optional members, each with the value that is taken where it is absent:
///
/// | expression           | result                   | meaning                                          | absent      |
/// |----------------------|--------------------------|--------------------------------------------------|-------------|
/// | `m.window()`         | `std::size_t`            | the most positions it can hold                   | no limit    |
/// | `m.head()`           | `TokenSpan`              | tokens in front of every text: BOS               | none        |
/// | `m.is_end(token)`    | `bool`                   | whether a token ends a text                      | never       |
/// | `m.tokens()`         | `TokenSpan`              | the tokens at the positions held                 | the decoder keeps a list |
/// | `m.fingerprint()`    | `std::uint64_t`          | what keys and values depend on besides the tokens: weights, adapter and its scale, element of the cache | always the same |
///
/// `evaluate` is all or nothing: when it throws, `size()` is what it was.
template <class M>
concept LanguageModel = requires(M& model, const M& held, TokenSpan tokens, std::size_t length) {
    { model.evaluate(tokens) } -> std::convertible_to<std::span<const float>>;
    model.truncate(length);
    { held.size() } -> std::convertible_to<std::size_t>;
    { held.vocab_size() } -> std::convertible_to<std::size_t>;
};

/// A model that can branch: `m.fork()` is a second model that holds the same tokens and goes its own way.
template <class M>
concept ForkableModel = LanguageModel<M> && requires(const M& model) {
    { model.fork() } -> LanguageModel;
};

/// A model that gives the logits after every token: `m.evaluate_all(tokens)` appends them like `evaluate`.
/// Shape     (tokens.size(), vocab_size()) row-major
template <class M>
concept ScoringModel = LanguageModel<M> && requires(M& model, TokenSpan tokens) {
    { model.evaluate_all(tokens) } -> std::convertible_to<std::span<const float>>;
};

/// A model whose evaluation can be stopped from another thread: where a stop was requested, `m.evaluate(tokens, stop)` may end
/// before the last token. Then the logits are an empty span, `size()` says how many tokens were appended, and the next call goes
/// on from there. Without a request it is `m.evaluate(tokens)`.
template <class M>
concept InterruptibleModel = LanguageModel<M> && requires(M& model, TokenSpan tokens, std::stop_token stop) {
    { model.evaluate(tokens, stop) } -> std::convertible_to<std::span<const float>>;
};

/// A model that knows its tokens.
template <class M>
concept RemembersTokens = requires(const M& model) {
    { model.tokens() } -> std::convertible_to<TokenSpan>;
};

/// A model that tells with which weights, adapter and rounding it evaluates: where `m.fingerprint()` is another number than when
/// positions were evaluated, these are no use any more.
template <class M>
concept FingerprintedModel = requires(const M& model) {
    { model.fingerprint() } -> std::convertible_to<std::uint64_t>;
};

/// The most positions that a model can hold.
template <class M>
constexpr std::size_t window_of(const M& model) {
    if constexpr (requires {
                      { model.window() } -> std::convertible_to<std::size_t>;
                  }) {
        return static_cast<std::size_t>(model.window());
    } else {
        return std::numeric_limits<std::size_t>::max();
    }
}

/// The tokens that a model wants in front of every text; valid as long as the model lives.
template <class M>
constexpr TokenSpan head_of(const M& model) {
    if constexpr (requires {
                      { model.head() } -> std::convertible_to<TokenSpan>;
                  }) {
        return model.head();
    } else {
        return {};
    }
}

/// Whether a token ends a text.
template <class M>
constexpr bool is_end_of(const M& model, TokenId token) {
    if constexpr (requires {
                      { model.is_end(token) } -> std::convertible_to<bool>;
                  }) {
        return model.is_end(token);
    } else {
        return false;
    }
}

}  // namespace flashback::inline FLASHBACK_ISA
