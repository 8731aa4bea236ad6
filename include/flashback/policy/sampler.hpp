/// \file How a token is taken from logits: the concept, the likeliest token, and a penalty for what was said already.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/fwd.hpp"
#include "flashback/policy/detail/optional_members.hpp"
#include "flashback/policy/step_view.hpp"

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <limits>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

namespace detail {

template <class Result>
concept TokenResult = std::same_as<std::remove_cvref_t<Result>, TokenId>;

template <class S>
concept SamplesLogits = requires(S& sampler, std::span<const float> logits) {
    { sampler(logits) } -> detail::TokenResult;
};

template <class S>
concept TakesStep = requires(S& sampler, std::span<const float> logits, const StepView& step) {
    sampler(logits, step);
};

template <class S>
concept SamplesStep = requires(S& sampler, std::span<const float> logits, const StepView& step) {
    { sampler(logits, step) } -> detail::TokenResult;
};

}  // namespace detail

/// Takes a token from logits: `sampler(logits)`, or `sampler(logits, step)` if the text before the token matters. It gives a
/// TokenId. Masked tokens have the logit -infinity and may not be taken. No logit is NaN or +infinity: a decoder refuses these
/// before it asks. The optional members are those of a RetrievalSchedule. A sampler that draws by the position of its token
/// (`step.context.size()`) gives the same text after a rewind, in a fork and under speculation.
template <class S>
concept Sampler = detail::SamplesStep<S> ||(detail::SamplesLogits<S> && !detail::TakesStep<S>);

namespace detail {

template <class S>
concept FittingSampler = Sampler<S> && FitsOptionally<S>;

/// Refuses, in words, what is no Sampler.
template <class S>
constexpr bool checked_sampler() {
    static_assert(Sampler<S>,
                  "flashback: a Sampler must be callable as sampler(std::span<const float> logits) or sampler(logits, const "
                  "StepView&) and return TokenId");
    if constexpr (Sampler<S>) checked_optional_members<S>();
    return true;
}

/// Refuses, in words, what RepetitionPenalty cannot hand the logits to.
template <class Inner>
constexpr bool checked_repetition_penalty() {
    static_assert(Sampler<Unwrapped<Inner>>,
                  "flashback: RepetitionPenalty hands the logits to a Sampler: callable as sampler(logits) or "
                  "sampler(logits, const StepView&), giving TokenId");
    if constexpr (Sampler<Unwrapped<Inner>>) checked_optional_members<Unwrapped<Inner>>();
    return true;
}

}  // namespace detail

/// The token that a sampler of either form takes.
template <Sampler S>
constexpr TokenId take_token(S& sampler, std::span<const float> logits, const StepView& step) {
    if constexpr (detail::SamplesStep<S>) {
        return sampler(logits, step);
    } else {
        return sampler(logits);
    }
}

/// The likeliest token; if several are equal, the one with the lowest id.
struct Greedy {
    /// Throws    Error{logits} if a logit is not a number or if none is above -infinity
    TokenId operator()(std::span<const float> logits) const {
        std::size_t best = 0;
        float most = -std::numeric_limits<float>::infinity();
        for (std::size_t i = 0; i < logits.size(); ++i) {
            if (std::isnan(logits[i])) FLASHBACK_THROW(ErrorCode::logits, "the logit of token ", i, " is not a number");
            if (logits[i] > most) most = logits[best = i];
        }
        if (most == std::numeric_limits<float>::infinity()) {
            FLASHBACK_THROW(ErrorCode::logits, "the logit of token ", best, " is +infinity");
        }
        if (!(most > -std::numeric_limits<float>::infinity())) {
            FLASHBACK_THROW(ErrorCode::logits, "none of the ", logits.size(), " logits is above -infinity");
        }
        return static_cast<TokenId>(best);
    }
};

/// The settings of RepetitionPenalty.
struct RepetitionOptions {
    float penalty = 1.1f;     ///< > 0; above 1 makes tokens of the text less likely, 1 does nothing
    std::size_t window = 64;  ///< how many of the newest tokens of the text count
};

/// Makes the tokens that stand in the newest text less likely, then leaves the choice to another sampler. Positive logits are
/// divided by the penalty, negative ones multiplied by it; once, however often the token stands there.
/// Cost      one copy of the logits
/// Source    Keskar et al. 2019, CTRL, section 4.1
template <class Inner>
class RepetitionPenalty {
    static_assert(detail::checked_repetition_penalty<Inner>());

public:
    /// Throws    Error{contract} if the penalty is not a number above 0
    explicit RepetitionPenalty(RepetitionOptions options = {}, Inner inner = Inner{})
        : options_(options), inner_(std::move(inner)) {
        FLASHBACK_ASSERT(options.penalty > 0 && std::isfinite(options.penalty),
                         "a repetition penalty must be a number above 0, found ", options.penalty);
    }

    /// Resets the other sampler, if that has a memory.
    void reset() { detail::News::start().tell(inner_); }
    void rewind(std::size_t tokens) { detail::News::rewind(tokens).tell(inner_); }
    void pass_on(detail::News& news, std::type_identity<RepetitionPenalty>) { news.tell(inner_); }
    bool wants_surprisals() const { return detail::wants_surprisals(inner_); }
    bool wants_attention() const { return detail::wants_attention(inner_); }
    bool looks_at_evaluated() const { return detail::looks_at_evaluated(inner_); }

    TokenId operator()(std::span<const float> logits, const StepView& step) {
        logits_.assign(logits.begin(), logits.end());
        for (const TokenId token : step.context.last(std::min(options_.window, step.context.size()))) {
            const auto i = static_cast<std::size_t>(token);
            if (i >= logits.size() || logits_[i] != logits[i]) continue;  // no logit of its own, or penalised already
            logits_[i] = logits[i] > 0 ? logits[i] / options_.penalty : logits[i] * options_.penalty;
        }
        return take_token(members::unwrap(inner_), logits_, step);
    }

private:
    RepetitionOptions options_;
    Inner inner_;
    std::vector<float> logits_;
};

}  // namespace flashback::inline FLASHBACK_ISA
