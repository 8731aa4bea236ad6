/// \file Policies and a retriever that lead a decoder along a text which is known.
#pragma once

#include "flashback/core/retriever.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/data/retrieval_strides.hpp"
#include "flashback/eval/perplexity.hpp"
#include "flashback/policy/query.hpp"
#include "flashback/policy/step_view.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <type_traits>
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

/// A query builder that sees nothing of a draft: its tokens are those of the text, which it could not know.
template <class Inner>
class WithoutDraft {
public:
    explicit WithoutDraft(Inner inner) : inner_(std::move(inner)) {}

    auto operator()(const StepView& step) {
        if (step.rewind == 0) return unwrap(inner_)(step);
        StepView seen = step;
        seen.context = step.kept();
        seen.surprisals = step.surprisals.first(step.surprisals.empty() ? 0 : seen.generated());
        seen.since_retrieval = std::min(step.since_retrieval, seen.generated());
        seen.logits = {};
        seen.attention = nullptr;
        seen.rewind = 0;
        return unwrap(inner_)(seen);
    }
    void pass_on(News& news, std::type_identity<WithoutDraft> /*own*/) { news.tell(inner_); }
    bool wants_surprisals() const { return detail::wants_surprisals(inner_); }
    bool wants_attention() const { return detail::wants_attention(inner_); }

private:
    Inner inner_;
};

/// A retriever that gives no passage which is forbidden, and remembers what it gave for each search.
template <class R, class Forbidden>
class AllowedPassages {
public:
    AllowedPassages(R& retriever, const Forbidden& forbidden, std::size_t most, const StrideSource& source)
        : retriever_(&retriever), forbidden_(&forbidden), most_(most), source_(source) {}

    std::span<const Passage> retrieve(const Query& query, std::size_t k) {
        found_.clear();
        if (k == 0) return found_;
        find_allowed(*retriever_, query, k, source_, *forbidden_, most_, found_);
        TokenBuffer& tokens = answers_.emplace_back();
        for (const Passage& passage : found_) append(tokens, passage.tokens);
        passages_ += found_.size();
        return found_;
    }

    /// The tokens of the passages of each search.
    std::span<const TokenBuffer> answers() const noexcept { return answers_; }
    std::size_t passages() const noexcept { return passages_; }

private:
    R* retriever_;
    const Forbidden* forbidden_;
    std::size_t most_;
    StrideSource source_;
    std::vector<Passage> found_;
    std::vector<TokenBuffer> answers_;
    std::size_t passages_ = 0;
};

}  // namespace flashback::inline FLASHBACK_ISA::detail
