/// \file How well a model predicts a text, and how far two models agree on it.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/executor.hpp"
#include "flashback/core/language_model.hpp"
#include "flashback/core/ranks.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/eval/detail/text_windows.hpp"

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <optional>
#include <span>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// How a text is cut for `perplexity`. Each window is evaluated from scratch, with the head in front of it.
struct PerplexityOptions {
    std::size_t window = 0;                ///< tokens of a window; 0: as many as the model holds beside the head
    std::size_t stride = 0;                ///< how many tokens after the one before a window begins; 0: window, without overlap
    std::size_t block = 128;               ///< tokens whose logits are in memory at once; changes no result
    std::optional<OwnedTokens> head = {};  ///< tokens in front of every window; by default what the (first) model asks for
    OwnedTokens masked = {};               ///< tokens that have no probability: marking tokens
    ExecutorRef executor = {};             ///< divides the softmax of a block between threads
    RanksRef ranks = {};                   ///< divide the windows; all get the result, and it is that of one process
};

/// How well a model predicts a text.
struct Perplexity {
    std::size_t tokens = 0;     ///< tokens that were predicted
    std::size_t windows = 0;    ///< windows in which they were read
    double nats = 0;            ///< mean of -ln p(token): nats per token
    double standard_error = 0;  ///< of that mean, as if tokens were independent; NaN for a single token

    /// e to the nats per token.
    double perplexity() const { return std::exp(nats); }
    /// The standard error of the perplexity: that of the mean, carried through the exponential.
    double perplexity_standard_error() const { return perplexity() * standard_error; }
};

/// One token of a text, and how likely a model found it.
struct TokenScore {
    std::size_t index;  ///< of the token in the text
    TokenId token;      ///< what was predicted
    double nats;        ///< -ln of its probability
    TokenId likeliest;  ///< the token that the model found likeliest
};

/// Two models on the same text.
struct ModelComparison {
    Perplexity reference;         ///< of the first model
    Perplexity other;             ///< of the second
    double same_likeliest = 0;    ///< share of the tokens for which both find the same token likeliest (top-1 agreement)
    double relative_entropy = 0;  ///< mean Kullback-Leibler divergence of the other from the reference, nats

    /// The relative difference of the perplexities: other / reference - 1.
    double relative_difference() const { return std::expm1(other.nats - reference.nats); }
};

namespace detail {

/// The options with their defaults filled in, if they make sense.
inline TextWindows checked_windows(TokenSpan tokens, const PerplexityOptions& options, TokenSpan head, std::size_t holds) {
    FLASHBACK_ASSERT(!tokens.empty(), "perplexity needs a text of at least 1 token, found none");
    FLASHBACK_ASSERT(options.block > 0, "perplexity needs blocks of at least 1 token, found 0");
    const std::size_t fits = holds > head.size() ? holds - head.size() : 0;
    const std::size_t window = options.window == 0 ? fits : options.window;
    const std::size_t stride = options.stride == 0 ? window : options.stride;
    if (window == 0 || window - 1 > fits) {  // the last token of a window is predicted, not read
        FLASHBACK_THROW(ErrorCode::window, "windows of ", window, " tokens with ", head.size(),
                        " in front need a model that holds ", std::max<std::size_t>(window, 1) - 1 + head.size(),
                        " positions, found one of ", holds);
    }
    FLASHBACK_ASSERT(stride <= window, "windows of ", window, " tokens cannot begin every ", stride,
                     " tokens: those between them would not count");
    FLASHBACK_ASSERT(!head.empty() || (window > 1 && tokens.size() > 1),
                     "without a head nothing stands in front of the first token of a window, and windows of ",
                     std::min(window, tokens.size()), " token have no other");
    return {head, std::min(window, tokens.size()), std::min(stride, tokens.size()), options.block};
}

/// The ids that may be predicted, if all of the text from a token on is among them.
inline OpenIds checked_ids(TokenSpan tokens, std::size_t vocab, TokenSpan masked, std::size_t first = 0) {
    for (std::size_t i = first; i < tokens.size(); ++i) {
        const TokenId token = tokens[i];
        FLASHBACK_ASSERT(token >= 0 && static_cast<std::size_t>(token) < vocab, "token ", token,
                         " is not in the vocabulary of ", vocab, " tokens");
        FLASHBACK_ASSERT(std::ranges::find(masked, token) == masked.end(), "token ", i, " of the text is ", token,
                         ", which is masked and has no probability");
    }
    return {vocab, masked};
}

inline TokenScore score_of(std::size_t index, TokenId token, std::span<const float> logits, const RowFacts& facts) {
    const auto logit = static_cast<double>(logits[static_cast<std::size_t>(token)]);
    return {index, token, facts.nats(logit), static_cast<TokenId>(facts.likeliest)};
}

inline void check_score(const TokenScore& score) {
    if (!std::isfinite(score.nats)) {
        FLASHBACK_THROW(ErrorCode::logits, "the logits in front of token ", score.index, " of the text give it ", score.nats,
                        " nats, expected a finite number");
    }
}

}  // namespace detail

/// How well a model predicts a text without retrieval; `on_score(TokenScore)` is called for each token that counts, in order. A
/// token counts in the first window that holds it: all tokens of the first window, and the last `stride` tokens of the others.
/// Throws    Error{window} for windows that the model cannot hold; Error{contract} for a text without a token to predict, a
///           stride beyond the window, or an id that is masked or that the model does not have; Error{logits} if logits give a
///           token no probability; what the model throws
/// Cost      each window once; holds the logits of one block, and 32 bytes for each token of a window. What the model held is forgotten
/// Source    Jelinek et al. 1977, Perplexity: a measure of the difficulty of speech recognition tasks
template <ScoringModel Model, std::invocable<const TokenScore&> OnScore>
Perplexity perplexity(Model& model, TokenSpan tokens, const PerplexityOptions& options, OnScore&& on_score) {
    const auto vocab = static_cast<std::size_t>(model.vocab_size());
    const TokenSpan head = options.head ? options.head->view() : head_of(model);
    const detail::TextWindows how = detail::checked_windows(tokens, options, head, window_of(model));
    const detail::OpenIds open = detail::checked_ids(tokens, vocab, options.masked.view());
    detail::RunningMean mean;
    const std::size_t windows = detail::each_score<TokenScore>(
        tokens, how, options.ranks,
        [&](std::size_t first, std::span<TokenScore> scores, std::span<const float> logits) {
            options.executor.run_ranges(scores.size(), 1, [&](std::size_t begin, std::size_t end) {
                for (std::size_t r = begin; r < end; ++r) {
                    const std::span<const float> row = logits.subspan(r * vocab, vocab);
                    scores[r] = detail::score_of(first + r, tokens[first + r], row, detail::facts_of(row, open));
                }
            });
        },
        [&](const TokenScore& score) {
            detail::check_score(score);
            mean.add(score.nats);
            on_score(score);
        },
        model);
    return {mean.count(), windows, mean.mean(), mean.standard_error()};
}

/// The same, without a call for each token.
template <ScoringModel Model>
Perplexity perplexity(Model& model, TokenSpan tokens, const PerplexityOptions& options = {}) {
    return perplexity(model, tokens, options, [](const TokenScore&) {});
}

/// How well two models predict the same text, and how far they agree. It shows, for example, what quantised weights cost. Both
/// read the head of the first.
/// Throws    Error{vocabulary} for models with different numbers of logits; else as `perplexity`
/// Cost      that of two perplexities; holds the logits of one block of each, and 72 bytes for each token of a window
template <ScoringModel Reference, ScoringModel Other>
ModelComparison compare_models(Reference& reference, Other& other, TokenSpan tokens, const PerplexityOptions& options = {}) {
    const auto vocab = static_cast<std::size_t>(reference.vocab_size());
    if (static_cast<std::size_t>(other.vocab_size()) != vocab) {
        FLASHBACK_THROW(ErrorCode::vocabulary, "models of ", vocab, " and ", other.vocab_size(),
                        " logits cannot be compared: expected the same vocabulary");
    }
    const TokenSpan head = options.head ? options.head->view() : head_of(reference);
    const std::size_t holds = std::min(window_of(reference), window_of(other));
    const detail::TextWindows how = detail::checked_windows(tokens, options, head, holds);
    const detail::OpenIds open = detail::checked_ids(tokens, vocab, options.masked.view());
    struct Pair {
        TokenScore reference, other;
        double relative_entropy;
    };
    detail::RunningMean reference_mean;
    detail::RunningMean other_mean;
    detail::RunningMean entropy;
    std::size_t same = 0;
    const std::size_t windows = detail::each_score<Pair>(
        tokens, how, options.ranks,
        [&](std::size_t first, std::span<Pair> pairs, std::span<const float> p_rows, std::span<const float> q_rows) {
            options.executor.run_ranges(pairs.size(), 1, [&](std::size_t begin, std::size_t end) {
                for (std::size_t r = begin; r < end; ++r) {
                    const std::span<const float> p = p_rows.subspan(r * vocab, vocab);
                    const std::span<const float> q = q_rows.subspan(r * vocab, vocab);
                    const detail::RowFacts of_p = detail::facts_of(p, open);
                    const detail::RowFacts of_q = detail::facts_of(q, open);
                    const TokenId token = tokens[first + r];
                    pairs[r] = {detail::score_of(first + r, token, p, of_p), detail::score_of(first + r, token, q, of_q),
                                detail::relative_entropy(p, of_p, q, of_q, open)};
                }
            });
        },
        [&](const Pair& pair) {
            detail::check_score(pair.reference);
            detail::check_score(pair.other);
            reference_mean.add(pair.reference.nats);
            other_mean.add(pair.other.nats);
            entropy.add(pair.relative_entropy);
            if (pair.reference.likeliest == pair.other.likeliest) ++same;
        },
        reference, other);
    const auto result = [&](const detail::RunningMean& mean) {
        return Perplexity{mean.count(), windows, mean.mean(), mean.standard_error()};
    };
    return {result(reference_mean), result(other_mean), static_cast<double>(same) / static_cast<double>(entropy.count()),
            entropy.mean()};
}

}  // namespace flashback::inline FLASHBACK_ISA
