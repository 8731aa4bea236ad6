/// \file What a reranker reads, and what a model makes of it.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/language_model.hpp"
#include "flashback/core/tokens.hpp"

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <deque>
#include <span>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

/// ln of the probability of a token.
/// Throws    Error{contract} if it has no logit; Error{logits} if a logit is NaN or +infinity, or all are -infinity
inline double log_probability(std::span<const float> logits, TokenId token) {
    FLASHBACK_ASSERT(token >= 0 && static_cast<std::size_t>(token) < logits.size(), "a reranker is to score token ", token,
                     ", but its model gave ", logits.size(), " logits");
    const double most = *std::ranges::max_element(logits);
    double total = 0;
    for (const float logit : logits) total += std::exp(static_cast<double>(logit) - most);
    if (!(total >= 1))
        FLASHBACK_THROW(ErrorCode::logits, "a reranker cannot use logits with a NaN or +infinity, or none above -infinity");
    return static_cast<double>(logits[static_cast<std::size_t>(token)]) - most - std::log(total);
}

/// What a model reads before the tokens that are scored: its head, a passage, the earlier text.
class RerankInput {
public:
    /// Divides the window: the earlier text gets what is left beside the longest passage, the same for all passages, and a passage at most
    /// half of it.
    /// Throws    Error{window} if the window has no room for a token of each
    RerankInput(TokenSpan head, std::size_t window, std::size_t longest, TokenSpan given, std::size_t scored) : head_(head) {
        const std::size_t taken = head.size() + scored;
        if (taken >= window || window - taken < 2) {
            FLASHBACK_THROW(ErrorCode::window, "a window of ", window, " has no room for a passage and a text beside ",
                            head.size(), " tokens of the head and ", scored, " that are scored");
        }
        const std::size_t room = window - taken;
        most_of_passage_ = room / 2;
        given_ = given.last(std::min(given.size(), room - std::min(longest, most_of_passage_)));
    }

    void write(TokenSpan passage, TokenBuffer& out) const {
        out.clear();
        append(out, head_);
        append(out, passage.first(std::min(passage.size(), most_of_passage_)));
        append(out, given_);
    }

private:
    TokenSpan head_;
    std::size_t most_of_passage_ = 0;
    TokenSpan given_;
};

/// A model of which branches of its own type evaluate in one pass.
template <class M>
concept BatchedBranches = BatchedModel<M> && requires(const M& model) {
    { model.fork() } -> std::same_as<M>;
};

/// The log-probability of tokens after each of several inputs, in one branch for each: the inputs in one pass, then token by token.
/// Cost      a branch for each input, at once
template <BatchedBranches M>
std::size_t score_in_branches(const M& trunk, std::span<const TokenBuffer> inputs, TokenSpan scored, std::span<double> out) {
    std::deque<M> branches;
    std::vector<M*> models;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
        branches.push_back(trunk.fork());
        branches.back().truncate(0);
        models.push_back(&branches.back());
    }
    std::vector<TokenSpan> next(inputs.begin(), inputs.end());
    std::size_t evaluated = 0;
    for (std::size_t t = 0; t < scored.size(); ++t) {
        const std::span<const float> rows = M::evaluate_each(std::span<M* const>{models}, std::span<const TokenSpan>{next});
        const std::size_t vocab = rows.size() / inputs.size();
        for (std::size_t i = 0; i < inputs.size(); ++i) {
            evaluated += next[i].size();
            out[i] += log_probability(rows.subspan(i * vocab, vocab), scored[t]);
            next[i] = scored.subspan(t, 1);
        }
    }
    return evaluated;
}

/// The same, one input after the other in one model. What the model held is forgotten.
template <LanguageModel M>
std::size_t score_in_turn(M& model, std::span<const TokenBuffer> inputs, TokenSpan scored, std::span<double> out) {
    std::size_t evaluated = 0;
    const TokenSpan read = scored.first(scored.size() - 1);
    for (std::size_t i = 0; i < inputs.size(); ++i) {
        model.truncate(0);
        out[i] += log_probability(model.evaluate(inputs[i]), scored[0]);
        if constexpr (ScoringModel<M>) {
            const std::span<const float> rows = read.empty() ? std::span<const float>{} : model.evaluate_all(read);
            const std::size_t vocab = rows.size() / std::max<std::size_t>(read.size(), 1);
            for (std::size_t t = 0; t < read.size(); ++t)
                out[i] += log_probability(rows.subspan(t * vocab, vocab), scored[t + 1]);
        } else {
            for (std::size_t t = 0; t < read.size(); ++t)
                out[i] += log_probability(model.evaluate(read.subspan(t, 1)), scored[t + 1]);
        }
        evaluated += inputs[i].size() + read.size();
    }
    model.truncate(0);
    return evaluated;
}

/// The same, in whatever way the model can; a model that can fork keeps what it holds. Gives how many tokens were evaluated. A model that
/// gives all logits reads one input after the other: on the default model that takes a tenth less time than branches, and one cache. Without
/// them, branches read the weights once for a token of all inputs.
template <LanguageModel M>
std::size_t score_after(M& model, std::span<const TokenBuffer> inputs, TokenSpan scored, std::span<double> out) {
    if constexpr (BatchedBranches<M> && !ScoringModel<M>) {
        return score_in_branches(std::as_const(model), inputs, scored, out);
    } else if constexpr (ForkableModel<M>) {
        auto branch = std::as_const(model).fork();
        return score_in_turn(branch, inputs, scored, out);
    } else {
        return score_in_turn(model, inputs, scored, out);
    }
}

}  // namespace flashback::inline FLASHBACK_ISA::detail
