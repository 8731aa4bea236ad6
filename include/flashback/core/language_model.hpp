/// \file What the policies need of a model: the concept LanguageModel, its refinements, and the traits that fill the gaps.
#pragma once

#include "flashback/core/attention.hpp"
#include "flashback/core/members.hpp"
#include "flashback/core/retriever.hpp"
#include "flashback/core/tokens.hpp"

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <stop_token>
#include <utility>
#include <vector>

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
/// Optional members, all const. The last column says what holds if one is absent. If one is there but does not fit, a decoder
/// refuses it by name, as it does with the members of the refinements below:
///
/// | expression           | result                   | meaning                                          | absent      |
/// |----------------------|--------------------------|--------------------------------------------------|-------------|
/// | `m.window()`         | `std::size_t`            | the most positions it can hold                   | no limit    |
/// | `m.head()`           | `TokenSpan`              | tokens in front of every text: BOS               | none        |
/// | `m.is_end(token)`    | `bool`                   | whether a token ends a text                      | never       |
/// | `m.tokens()`         | `TokenSpan`              | the tokens at the positions held                 | the decoder keeps a list |
/// | `m.fingerprint()`    | `std::uint64_t`          | what keys and values depend on besides the tokens: weights, adapter and its scale, element of the cache | always the same |
/// | `m.work()`           | `std::size_t`            | tokens that it has evaluated, ever, also those that nobody asked for | not counted |
///
/// What these and `evaluate` give as a view must live on in the model: a vector that is returned by value is refused.
///
/// `evaluate` is all or nothing: if it throws, `size()` is what it was before.
///
/// Reuse gives the same bits as evaluating everything anew. This promise holds for a model whose arithmetic does not depend on
/// how its input was divided into calls. Ours is one; engines that choose their kernels by the size of a batch are not.
template <class M>
concept LanguageModel = requires(M& model, const M& held, TokenSpan tokens, std::size_t length) {
    { model.evaluate(tokens) } -> std::convertible_to<std::span<const float>>;
    { model.evaluate(tokens) } -> members::Borrowed;
    model.truncate(length);
    { held.size() } -> members::Whole;
    { held.vocab_size() } -> members::Whole;
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
    { model.evaluate_all(tokens) } -> members::Borrowed;
};

/// A model of which several evaluate in one pass: `M::evaluate_each(models, tokens)` appends to each model its tokens and gives the
/// logits after the last of each, valid until the first of them evaluates again. Each comes to what it comes to alone.
/// Shape     (models.size(), vocab_size()) row-major
template <class M>
concept BatchedModel = LanguageModel<M> && requires(std::span<M* const> models, std::span<const TokenSpan> tokens) {
    { M::evaluate_each(models, tokens) } -> std::convertible_to<std::span<const float>>;
    { M::evaluate_each(models, tokens) } -> members::Borrowed;
};

/// How far in front of a token a block must stand to be seen by it, by default: at positions that are less by this, or by more. The
/// positions of blocks and text overlap, and a model takes what stands nearer for the text itself. Measured on the default model: with
/// 0, a passage of 128 tokens makes a text of 64 tokens 67 % worse than in front of it; with 32, 0.9 %.
inline constexpr std::size_t default_block_gap = 32;

/// How many positions stand at least `gap` in front of `position`, from `first_position` on: what a token there sees of a block that
/// has so many.
constexpr std::size_t positions_seen(std::size_t position, std::size_t first_position, std::size_t gap) noexcept {
    const std::size_t up_to_it = position + 1 - std::min(position + 1, first_position);
    return up_to_it - std::min(up_to_it, gap);
}

/// A model that can hold blocks beside its text. `m.block(tokens, sees, first_position)` evaluates tokens of which each sees the first
/// `sees` positions held and the block up to itself, at positions of their own, and gives a handle to their keys and values, which can
/// be copied; what is held stays as it is. After `m.see(handles)`, a vector of such, the tokens that are evaluated see these blocks
/// besides what is held, until it is given others or cut back to where tokens first saw some; what is held keeps what it saw.
/// `m.plain_size()` is the number of positions in front of the first token that saw a block, or a token that did.
template <class M>
concept BlockModel = LanguageModel<M> && requires(M& model, const M& held, TokenSpan tokens, std::size_t n) {
    requires std::copyable<decltype(model.block(tokens, n, n))>;
    model.see(std::vector<decltype(model.block(tokens, n, n))>{});
    { held.plain_size() } -> members::Whole;
};

/// A model that can forget positions in the middle: `m.evict(first, count)` forgets the positions [first, first + count), and the
/// keys and values of what follows stay and move to the positions that became free. From there on they are approximate: they are those of
/// a text that held what was forgotten. `m.can_evict()` tells whether its positions can be moved: rotary ones can.
template <class M>
concept RotatingModel = LanguageModel<M> && requires(M& model, const M& held, std::size_t n) {
    model.evict(n, n);
    { held.can_evict() } -> std::same_as<bool>;
};

/// A model that can tell what its newest position read: `m.attention(layer)` gives the weights of one layer, for the position that was
/// evaluated last; `m.layers()` is the number of layers.
/// Shape     as AttentionWeights
template <class M>
concept AttentiveModel = LanguageModel<M> && requires(M& model, const M& held, std::size_t layer) {
    { model.attention(layer) } -> std::same_as<AttentionWeights>;
    { held.layers() } -> members::Whole;
};

/// Lets a model see passages beside its text, each in a block of its own: it sees the first `head` positions held and itself, at
/// the positions right after them. A passage without tokens makes no block. Gives how many tokens the model evaluated for this: those of
/// all passages, or, if it counts its work, of those that it did not have.
/// Throws    what the model throws
/// Cost      a block for each passage
template <BlockModel M>
std::size_t see_passages(M& model, std::span<const TokenSpan> passages, std::size_t head) {
    const std::size_t worked = work_of(model);
    std::vector<decltype(model.block(passages[0], head, head))> blocks;
    std::size_t tokens = 0;
    for (const TokenSpan passage : passages) {
        if (passage.empty()) continue;
        blocks.push_back(model.block(passage, head, head));
        tokens += passage.size();
    }
    model.see(std::move(blocks));
    if constexpr (CountsWork<M>) tokens = work_of(model) - worked;
    return tokens;
}

/// A model whose evaluation can be stopped from another thread. If a stop was requested, `m.evaluate(tokens, stop)` may end
/// before the last token. Then the logits are an empty span, `size()` says how many tokens were appended, and the next call goes
/// on from there. Without a request it is `m.evaluate(tokens)`.
template <class M>
concept InterruptibleModel = LanguageModel<M> && requires(M& model, TokenSpan tokens, const std::stop_token& stop) {
    { model.evaluate(tokens, stop) } -> std::convertible_to<std::span<const float>>;
    { model.evaluate(tokens, stop) } -> members::Borrowed;
};

/// A model that knows its tokens.
template <class M>
concept RemembersTokens = requires(const M& model) {
    { model.tokens() } -> std::convertible_to<TokenSpan>;
    { model.tokens() } -> members::Borrowed;
};

/// A model that tells with which weights, adapter and rounding it evaluates. If `m.fingerprint()` has changed since positions
/// were evaluated, they are of no more use.
template <class M>
concept FingerprintedModel = requires(const M& model) {
    { model.fingerprint() } -> members::Whole;
};

namespace detail {

/// Whether `evaluate` takes no stop token, or takes it as InterruptibleModel wants.
template <class M>
concept StopsOrNot = InterruptibleModel<M> || !requires(M & model, TokenSpan tokens, const std::stop_token& stop) {
    model.evaluate(tokens, stop);
};

template <class M>
concept HasWindow = requires(const M& model) {
    { model.window() } -> Whole;
};

template <class M>
concept HasHead = requires(const M& model) {
    { model.head() } -> std::convertible_to<TokenSpan>;
    { model.head() } -> Borrowed;
};

template <class M>
concept TellsEnds = requires(const M& model, TokenId token) {
    { model.is_end(token) } -> std::same_as<bool>;
};

}  // namespace detail

/// Refuses, in words, what is no LanguageModel, and what it has that does not fit; it never returns false.
template <class M>
constexpr bool checked_model() {
    static_assert(
        LanguageModel<M>,
        "flashback: a LanguageModel must have evaluate(TokenSpan), which returns a span of logits that live on in the model, "
        "truncate(std::size_t), and, const, size() and vocab_size()");
    static_assert(
        !LanguageModel<M> || detail::StopsOrNot<M>,
        "flashback: evaluate(TokenSpan, std::stop_token) of a LanguageModel must return a span of logits that live on "
        "in the model, as evaluate(TokenSpan) does");
    static_assert(
        (!members::NamesWindow<M> && !requires(const M& model) { model.window; }) || detail::HasWindow<M>,
        "flashback: window() of a LanguageModel must be const and return a whole number: the most positions it can hold");
    static_assert(
        !members::NamesHead<M> || detail::HasHead<M>,
        "flashback: head() of a LanguageModel must be const and return a TokenSpan of tokens that live on in the model");
    static_assert(!members::NamesIsEnd<M> || detail::TellsEnds<M>,
                  "flashback: is_end(TokenId) of a LanguageModel must be const and return bool");
    static_assert(
        !members::NamesTokens<M> || RemembersTokens<M>,
        "flashback: tokens() of a LanguageModel must be const and return a TokenSpan of tokens that live on in the model");
    static_assert((!members::NamesFingerprint<M> && !requires(const M& model) { model.fingerprint; }) || FingerprintedModel<M>,
                  "flashback: fingerprint() of a LanguageModel must be const and return std::uint64_t");
    static_assert(
        !members::NamesAttention<M> || AttentiveModel<M>,
        "flashback: attention(std::size_t layer) of a LanguageModel must return AttentionWeights, and layers() must be "
        "const and return a whole number");
    static_assert(
        !members::NamesWork<M> || CountsWork<M>,
        "flashback: work() of a LanguageModel must be const and return std::size_t: the tokens that it has evaluated, ever");
    static_assert(!members::NamesFork<M> || ForkableModel<M>,
                  "flashback: fork() of a LanguageModel must be const and return a LanguageModel by value");
    static_assert(
        !members::NamesEvaluateAll<M> || ScoringModel<M>,
        "flashback: evaluate_all(TokenSpan) of a LanguageModel must return a span of logits that live on in the model, a row "
        "for each token");
    static_assert(
        !members::NamesEvaluateEach<M> || BatchedModel<M>,
        "flashback: evaluate_each(std::span<Model* const>, std::span<const TokenSpan>) of a LanguageModel must be static and "
        "return a span of logits that live on in the first model, a row for each model");
    static_assert(
        (!members::NamesBlock<M> && !members::NamesSee<M>) || BlockModel<M>,
        "flashback: a LanguageModel with passages beside its text must have block(TokenSpan tokens, std::size_t sees, "
        "std::size_t first_position), which returns a handle that can be copied, see(std::vector of handles), and, const, "
        "plain_size()");
    static_assert(
        !members::NamesEvict<M> || RotatingModel<M>,
        "flashback: evict of a LanguageModel must be callable as evict(std::size_t first, std::size_t count), and it must "
        "have, const, can_evict(), which returns bool");
    return true;
}

/// The most positions that a model can hold.
template <class M>
constexpr std::size_t window_of(const M& model) {
    if constexpr (detail::HasWindow<M>) {
        return static_cast<std::size_t>(model.window());
    } else {
        return std::numeric_limits<std::size_t>::max();
    }
}

/// Whether positions of a model can be moved.
template <class M>
constexpr bool can_evict_of(const M& model) {
    if constexpr (RotatingModel<M>) {
        return model.can_evict();
    } else {
        return false;
    }
}

/// The tokens that a model wants in front of every text; valid as long as the model lives.
template <class M>
constexpr TokenSpan head_of(const M& model) {
    if constexpr (detail::HasHead<M>) {
        return model.head();
    } else {
        return {};
    }
}

/// Whether a token ends a text.
template <class M>
constexpr bool is_end_of(const M& model, TokenId token) {
    if constexpr (detail::TellsEnds<M>) {
        return model.is_end(token);
    } else {
        return false;
    }
}

}  // namespace flashback::inline FLASHBACK_ISA
