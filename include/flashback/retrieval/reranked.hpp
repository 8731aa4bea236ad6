/// \file A retriever whose passages a language model puts in order.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/language_model.hpp"
#include "flashback/core/retriever.hpp"
#include "flashback/retrieval/detail/held_retriever.hpp"
#include "flashback/retrieval/detail/rerank_parts.hpp"

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <functional>
#include <limits>
#include <numeric>
#include <ranges>
#include <span>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// Which tokens a Reranked scores, and after which text. A view.
struct RerankTarget {
    TokenSpan given;   ///< the text that the model reads behind a passage
    TokenSpan scored;  ///< the tokens that follow it; the best passage makes them likeliest
};

/// The newest tokens of the context, because those that follow are not known yet: the passage that would have predicted them is
/// likely to predict what comes next.
/// Source    Ram et al. 2023, In-Context RALM (arXiv 2302.00083), section 5.1, zero-shot reranking: 16 tokens
class ScoreNewest {
public:
    /// Throws    Error{contract} for 0 tokens
    constexpr explicit ScoreNewest(std::size_t count = 16) : count_(count) {
        FLASHBACK_ASSERT(count > 0, "ScoreNewest needs at least 1 token to score, found 0");
    }

    constexpr RerankTarget operator()(const Query& query) const noexcept {
        const std::size_t scored = std::min(count_, query.context.size());
        return {query.context.first(query.context.size() - scored), query.context.last(scored)};
    }

private:
    std::size_t count_;
};

/// The tokens that follow in a text that is known: the best that an order of passages can do, for experiments.
/// Source    Ram et al. 2023, In-Context RALM (arXiv 2302.00083), section 5, the oracle
class ScoreFollowing {
public:
    /// Holds a copy of the text, of which each context must be the beginning.
    /// Throws    Error{contract} for 0 tokens
    explicit ScoreFollowing(OwnedTokens text, std::size_t count = 16) : text_(std::move(text)), count_(count) {
        FLASHBACK_ASSERT(count > 0, "ScoreFollowing needs at least 1 token to score, found 0");
    }

    /// Throws    Error{contract} if the text does not begin with the context
    RerankTarget operator()(const Query& query) const {
        const std::size_t known = query.context.size();
        FLASHBACK_ASSERT(common_prefix(text_.view(), query.context) == known, "the context of ", known,
                         " tokens is not the beginning of the text of ", text_.view().size(), " whose tokens are to follow");
        const TokenSpan rest = text_.view().subspan(known);
        return {query.context, rest.first(std::min(count_, rest.size()))};
    }

private:
    OwnedTokens text_;
    std::size_t count_;
};

namespace detail {

template <class Target>
concept GivesTarget = requires(Target& target, const Query& query) {
    { target(query) } -> std::same_as<RerankTarget>;
};

}  // namespace detail

/// How much a Reranked reads.
struct RerankOptions {
    std::size_t passages = 16;  ///< the retriever is asked for so many, or for k if that is more
    std::size_t context = std::numeric_limits<std::size_t>::max();  ///< the most tokens of the text that are read with each
};

/// Orders what a retriever finds by what it is worth to a language model: by
///
///     log p(scored | head, passage, given)        the head of the model, the passage in front of the text, as in PrependPassages
///
/// where `target(query)` gives both texts: by default the newest 16 tokens of Query::context, and what stands before them. The scores are
/// these sums of logarithms. What is equal keeps its order. If the window is too small, passages get half of it at most, and the text
/// loses its oldest tokens, as many for each passage. At least one token stands before those that are scored. If there is none to score,
/// or one passage only, nothing is evaluated, and passages come as they were found.
///
/// The model is held, or referred to by a `std::ref`. If it can fork, it keeps what it holds, so it may be that of the decoder; else it is
/// empty after each call. Passages are read one after the other by a ScoringModel, in branches that share passes by a BatchedModel that is
/// none, else token by token.
/// Requires  passages have tokens
/// Source    Ram et al. 2023, In-Context RALM (arXiv 2302.00083), section 5.1
template <class R, class Model, class Target = ScoreNewest>
class Reranked : public detail::HeldRetriever<Reranked<R, Model, Target>, R> {
    static_assert(checked_model<members::Unwrapped<Model>>());
    static_assert(detail::GivesTarget<Target>,
                  "flashback: the target of Reranked must be callable as target(const Query&) and return a RerankTarget");
    using Held = detail::HeldRetriever<Reranked, R>;
    friend struct detail::PassesHints<Reranked, true>;

public:
    /// Whether answers depend on Query::context: they do.
    static constexpr bool reads_context = true;

    /// Throws    Error{contract} for a context of 0 tokens
    Reranked(R retriever, Model model, RerankOptions options = {}, Target target = Target{})
        : Held(std::move(retriever)), model_(std::move(model)), options_(options), target_(std::move(target)) {
        FLASHBACK_ASSERT(options.context > 0, "Reranked needs to read at least 1 token of the text, found 0");
    }

    /// The k passages that make the scored tokens likeliest; valid until the next call.
    /// Throws    what retriever, target and model throw; Error{window} if the window has no room for a passage and a text;
    ///           Error{logits} if a logit is NaN or +infinity; Error{contract} if a scored token has none
    /// Cost      evaluates head, passage, text and scored tokens, but the last, for each passage found; a fork,
    ///           or one for each passage if branches share passes
    std::span<const Passage> retrieve(const Query& query, std::size_t k) {
        auto&& range = this->inner().retrieve(query, depth(k));
        found_.assign(std::ranges::begin(range), std::ranges::end(range));
        if (found_.size() > 1) order(target_(query));
        found_.resize(std::min(k, found_.size()));
        return found_;
    }

    /// The tokens that were evaluated to order passages, and those of the retriever's models.
    std::size_t work() const { return evaluated_ + Held::work(); }

private:
    std::size_t depth(std::size_t k) const noexcept { return std::max(k, options_.passages); }

    void order(RerankTarget target) {
        auto& model = members::unwrap(model_);
        const TokenSpan head = head_of(model);
        if (head.empty() && target.given.empty() && !target.scored.empty()) {  // the first token follows nothing
            target = {target.scored.first(1), target.scored.subspan(1)};
        }
        if (target.scored.empty()) return;
        std::size_t longest = 0;
        for (const Passage& passage : found_) longest = std::max(longest, passage.tokens.size());
        const TokenSpan given = target.given.last(std::min(target.given.size(), options_.context));
        const detail::RerankInput input{head, window_of(model), longest, given, target.scored.size()};
        inputs_.resize(found_.size());
        for (std::size_t i = 0; i < found_.size(); ++i) input.write(found_[i].tokens, inputs_[i]);
        scores_.assign(found_.size(), 0.0);
        evaluated_ += detail::score_after(model, inputs_, target.scored, scores_);
        sort();
    }

    void sort() {
        places_.resize(found_.size());
        std::iota(places_.begin(), places_.end(), std::size_t{0});
        std::ranges::stable_sort(places_, std::ranges::greater{}, [&](std::size_t i) { return scores_[i]; });
        ordered_.clear();
        for (const std::size_t i : places_) {
            ordered_.push_back(found_[i]);
            ordered_.back().score = static_cast<float>(scores_[i]);
        }
        found_.swap(ordered_);
    }

    void hint(const Query& query, std::size_t k) { Held::hint(query, depth(k)); }

    Model model_;
    RerankOptions options_;
    Target target_;
    std::size_t evaluated_ = 0;
    std::vector<Passage> found_;
    std::vector<Passage> ordered_;
    std::vector<TokenBuffer> inputs_;
    std::vector<double> scores_;
    std::vector<std::size_t> places_;
};

}  // namespace flashback::inline FLASHBACK_ISA
