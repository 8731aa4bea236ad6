/// \file What leads a decoder along a text that is known, and notes what it did.
#pragma once

#include "flashback/core/retriever.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/eval/perplexity.hpp"
#include "flashback/policy/step_view.hpp"

#include <cmath>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

/// A sampler that takes the tokens of a text, and notes how likely each was: when it was first predicted, and last. These
/// differ for a token that was taken back.
struct TrueTokens {
    TokenSpan text = {};
    std::size_t at = 0;  ///< where the first token is that will be taken
    const OpenIds* open = nullptr;
    std::span<double> first = {};  ///< NaN where nothing was predicted yet
    std::span<double> last = {};

    TokenId operator()(std::span<const float> logits, const StepView& step) const {
        const std::size_t place = step.generated();
        const TokenScore score = score_of(at + place, text[at + place], logits, facts_of(logits, *open));
        check_score(score);
        last[place] = score.nats;
        if (std::isnan(first[place])) first[place] = score.nats;
        return score.token;
    }
};

/// AllowedPassages that remember what they gave for each search.
template <class R>
class RememberedAnswers {
public:
    explicit RememberedAnswers(R retriever) : retriever_(std::move(retriever)) {}

    std::span<const Passage> retrieve(const Query& query, std::size_t k) {
        const std::span<const Passage> found = retriever_.retrieve(query, k);
        TokenBuffer& tokens = answers_.emplace_back();
        for (const Passage& passage : found) append(tokens, passage.tokens);
        passages_ += found.size();
        return found;
    }

    void prefetch(const Query& query, std::size_t k) { retriever_.prefetch(query, k); }
    bool ready() const { return retriever_.ready(); }

    /// The tokens of the passages of each search.
    std::span<const TokenBuffer> answers() const noexcept { return answers_; }
    std::size_t passages() const noexcept { return passages_; }

private:
    R retriever_;
    std::vector<TokenBuffer> answers_;
    std::size_t passages_ = 0;
};

}  // namespace flashback::inline FLASHBACK_ISA::detail
