/// \file A retriever that remembers the passages it has given, to guess from them.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/owned_passage.hpp"
#include "flashback/core/retriever.hpp"
#include "flashback/retrieval/detail/held_query.hpp"
#include "flashback/retrieval/detail/held_retriever.hpp"
#include "flashback/retrieval/detail/recently_used.hpp"

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <functional>
#include <limits>
#include <memory>
#include <ranges>
#include <span>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

namespace detail {

template <class Score>
concept ScoresPassages = requires(Score& score, const Query& query, const Passage& passage) {
    { score(query, passage) } -> std::convertible_to<float>;
};

/// The member `retrieve_batch` of a retriever that remembers, if what it holds has it.
/// Requires  `Self`, whose friend this is, has held_batch(queries, k)
template <class Self, bool Batches>
struct RemembersBatches {};
template <class Self>
struct RemembersBatches<Self, true> {
    /// What the retriever finds for several queries, valid until the next call; it is remembered.
    std::span<const std::vector<Passage>> retrieve_batch(std::span<const Query> queries, std::size_t k) {
        return static_cast<Self&>(*this).held_batch(queries, k);
    }
};

/// The members `begin_batch` and `take_batch` likewise.
template <class Self, bool Asynchronous>
struct RemembersLater {};
template <class Self>
struct RemembersLater<Self, true> {
    /// Lets the retriever begin to search for several queries.
    void begin_batch(std::span<const Query> queries, std::size_t k) { static_cast<Self&>(*this).begin_held(queries, k); }
    /// What it found for them, valid until the next call; it is remembered.
    std::span<const std::vector<Passage>> take_batch() { return static_cast<Self&>(*this).take_held(); }
};

}  // namespace detail

/// Answers as the retriever does, and remembers the newest passages that it gave; `speculate` ranks those, without a search, by
/// `score(query, passage)`, for which the retriever's own metric is the best choice. So a text can go on with a guess while the
/// search still runs; who does that compares the two answers afterwards, and takes back what was written after a wrong guess.
/// Source    Zhang et al. 2024, RaLMSpec (arXiv 2401.14021): the local cache. Its prefetching is to ask for more passages
///           than are read
template <class R, class Score>
class SeenPassages : public detail::HeldRetriever<SeenPassages<R, Score>, R>,
                     public detail::RemembersBatches<SeenPassages<R, Score>, BatchRetriever<members::Unwrapped<R>>>,
                     public detail::RemembersLater<SeenPassages<R, Score>, AsynchronousRetriever<members::Unwrapped<R>>> {
    static_assert(
        detail::ScoresPassages<Score>,
        "flashback: the score of SeenPassages must be callable as score(const Query&, const Passage&) and return a number");
    using Held = detail::HeldRetriever<SeenPassages, R>;
    friend struct detail::PassesHints<SeenPassages, true>;
    friend struct detail::RemembersBatches<SeenPassages, true>;
    friend struct detail::RemembersLater<SeenPassages, true>;

public:
    /// Remembers at most so many passages. Two are the same if they have one id, or none but the same text and tokens.
    /// Throws    Error{contract} for 0 passages
    SeenPassages(R retriever, Score score, std::size_t passages = 1024)
        : Held(std::move(retriever)), score_(std::move(score)), seen_(passages, std::numeric_limits<std::size_t>::max()) {
        FLASHBACK_ASSERT(passages > 0, "SeenPassages needs room for at least 1 passage, found 0");
    }

    /// What the retriever finds, valid until the next call; it is remembered.
    /// Throws    what the retriever throws
    /// Cost      a copy of the passages and their texts
    std::span<const Passage> retrieve(const Query& query, std::size_t k) {
        auto&& range = this->inner().retrieve(query, k);
        found_.assign(std::ranges::begin(range), std::ranges::end(range));
        remember(found_);
        return found_;
    }

    /// The k passages that score highest among those that are remembered, with these scores; if scores are equal, what was given last is
    /// first. A passage whose score is not a number is left out. What they view is valid until the next call of `speculate`, also if
    /// passages are forgotten meanwhile.
    /// Throws    what the score throws
    /// Cost      a call of the score for each passage remembered
    std::span<const Passage> speculate(const Query& query, std::size_t k) {
        std::vector<std::shared_ptr<const OwnedPassage>> standing;
        guessed_.clear();
        for (const auto& entry : seen_) {
            Passage passage = entry.value->view();
            passage.score = static_cast<float>(score_(query, std::as_const(passage)));
            if (passage.score != passage.score) continue;
            guessed_.push_back(passage);
            standing.push_back(entry.value);
        }
        std::ranges::stable_sort(guessed_, std::ranges::greater{}, &Passage::score);
        guessed_.resize(std::min(k, guessed_.size()));
        standing_ = std::move(standing);
        return guessed_;
    }

    /// Number of passages that are remembered.
    std::size_t size() const noexcept { return seen_.size(); }

    /// Forgets all passages.
    void clear() noexcept { seen_.clear(); }

private:
    void remember(std::span<const Passage> found) {
        for (auto passage = found.rbegin(); passage != found.rend(); ++passage) {  // so that the best one is forgotten last
            seen_.keep(detail::key_of(*passage), std::make_shared<const OwnedPassage>(*passage), 0);
        }
    }
    template <class Answers>
    std::span<const std::vector<Passage>> remember_batch(Answers&& answers) {
        batch_.resize(std::ranges::size(answers));
        auto out = batch_.begin();
        for (auto&& answer : answers) {
            out->assign(std::ranges::begin(answer), std::ranges::end(answer));
            remember(*out++);
        }
        return batch_;
    }
    auto held_batch(std::span<const Query> queries, std::size_t k) {
        return remember_batch(this->inner().retrieve_batch(queries, k));
    }
    void begin_held(std::span<const Query> queries, std::size_t k) { this->inner().begin_batch(queries, k); }
    auto take_held() { return remember_batch(this->inner().take_batch()); }

    Score score_;
    detail::RecentlyUsed<std::shared_ptr<const OwnedPassage>> seen_;
    std::vector<std::shared_ptr<const OwnedPassage>> standing_;  // what was guessed last
    std::vector<Passage> found_;
    std::vector<std::vector<Passage>> batch_;
    std::vector<Passage> guessed_;
};

}  // namespace flashback::inline FLASHBACK_ISA
