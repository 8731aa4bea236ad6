/// \file What a policy sees of a running generation, and when each policy is called.
///
/// | moment                              | calls, in this order                                                                   |
/// |-------------------------------------|----------------------------------------------------------------------------------------|
/// | a generation starts                 | `reset()` of every policy that has one                                                 |
/// | before every token, also the first  | `schedule(step)`                                                                       |
/// | if that says retrieve               | `query(step)`; `retriever.retrieve(query, k)`                                          |
/// | if it says prefetch                 | `query(step)`; `retriever.prefetch(query, k)`                                          |
/// | if it takes n tokens back           | `rewind(n)` of every policy that has one, and of `on_token`                            |
/// | if other passages stand than before | `fusion.begin(scores)`                                                                 |
/// | then, and before the first token    | `fusion.groups(k, out)`; for each group `wrapper` for its passages, `layout(parts, out)`; `reuse(held, wanted)` |
/// | if that is more than the window     | `overflow.shorten(full)`, `overflow(full)`; if one takes something away, the line above again |
/// | then the model                      | `evict`, `truncate(keep)`, `evaluate(feed)`; forks, for several groups; without a plan `evaluate(newest token)` |
/// | the token                           | for several groups `fusion(rows, out)`; `sampler(logits)` or `sampler(logits, step)`; `fusion.took(rows, token)` |
/// | after it, unless it ends the text   | `stopping(step)`, in which the token is the newest; `on_token(token)`                  |
/// | if the text is about to end         | `schedule.at_end(step, reason)`, which may go on, as if it had said so before a token  |
#pragma once

#include "flashback/core/attention.hpp"
#include "flashback/core/retriever.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/policy/distribution.hpp"

#include <cmath>
#include <cstddef>
#include <span>

namespace flashback::inline FLASHBACK_ISA {

/// A moment of a generation. A view: valid during the call only.
///
/// | field             | is                                                                                                 |
/// |-------------------|----------------------------------------------------------------------------------------------------|
/// | `context`         | the prompt and what was generated; no head, no passages                                            |
/// | `prompt_tokens`   | how much of `context` is the prompt                                                                |
/// | `retrievals`      | retrievals so far                                                                                  |
/// | `since_retrieval` | tokens generated since the last retrieval, or since the start if there was none                    |
/// | `logits`          | what the newest token was taken from, after masking; empty before the first token and for samplers |
/// | `rewind`          | for a query: how many of the newest tokens are about to be taken back, the draft; else 0           |
/// | `passages`        | the passages that stand: what the last retrieval found, unless it was dropped; without tokens if the retriever gives text alone |
/// | `dropped`         | how many of the oldest tokens of `context` (after the sinks, if the overflow policy has some) the model no longer sees, because the window was full |
/// | `surprisals`      | `surprisal()` of each generated token, if a policy asked: it has `bool wants_surprisals() const`, or the options say so; else empty. For a query, those of the draft are the last ones |
/// | `attention`       | what the model read when it gave `logits`, if a policy asked: it has `bool wants_attention() const`; null if there are no logits, and in a copy of a generator until it was given others |
/// | `evaluated`       | tokens that the model has evaluated in this generation                                             |
///
/// What the logits mean is computed only when it is asked for, each time anew. Before the first token there is nothing to
/// doubt: probability 1, surprisal 0, rank 0, entropy 0, margin 1.
struct StepView {
    TokenSpan context;
    std::size_t prompt_tokens = 0;
    std::size_t retrievals = 0;
    std::size_t since_retrieval = 0;
    std::span<const float> logits = {};
    std::size_t rewind = 0;
    std::span<const Passage> passages = {};
    std::size_t dropped = 0;
    std::span<const double> surprisals = {};
    const StepAttention* attention = nullptr;
    std::size_t evaluated = 0;

    /// Number of tokens generated so far.
    constexpr std::size_t generated() const noexcept { return context.size() - prompt_tokens; }

    /// The newest token of the context.
    /// Requires  `context` is not empty
    constexpr TokenId last_token() const noexcept { return context.back(); }

    /// The context without the draft.
    constexpr TokenSpan kept() const noexcept { return context.first(context.size() - rewind); }

    /// The tokens that are about to be taken back.
    constexpr TokenSpan draft() const noexcept { return context.last(rewind); }

    /// The probability that the model gave to the newest token.
    /// Cost      one exponential per logit
    double probability() const { return std::exp(-surprisal()); }

    /// -ln of the probability of the newest token, in nats.
    /// Cost      one exponential per logit
    double surprisal() const { return logits.empty() ? 0 : flashback::surprisal(logits, last_token()); }

    /// How many tokens were likelier than the newest one: 0 if it was the likeliest.
    /// Cost      one comparison per logit
    std::size_t rank() const { return logits.empty() ? 0 : flashback::rank(logits, last_token()); }

    /// The entropy, in nats, of the distribution that the newest token was taken from.
    /// Cost      one exponential per logit
    double entropy() const { return logits.empty() ? 0 : flashback::entropy(logits); }

    /// How far the likeliest token was ahead of the second, as a difference of probabilities.
    /// Cost      one exponential per logit
    double margin() const { return logits.empty() ? 1 : flashback::margin(logits); }
};

}  // namespace flashback::inline FLASHBACK_ISA
