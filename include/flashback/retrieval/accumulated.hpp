/// \file A retriever that keeps giving what it found for a text before.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/owned_passage.hpp"
#include "flashback/core/retriever.hpp"
#include "flashback/retrieval/detail/held_query.hpp"
#include "flashback/retrieval/detail/held_retriever.hpp"

#include <algorithm>
#include <cstddef>
#include <ranges>
#include <span>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// Collects passages: an answer has those that were found for the text so far, the oldest first, and then the new ones, until there are k.
/// The retriever is asked for `each` passages at a time; a passage that was found before is not added again. So k, which is
/// GenerateOptions::passages, is how many may stand, and `each` how many a retrieval may add.
///
/// A text is known by Query::context, which the decoder fills in. A query goes on with the last text if its context is longer than that of
/// the text's first query, and begins with it; so tokens that were taken back do not matter. Any other query, and one without a context,
/// begins a new text.
/// Source    Trivedi et al. 2023, IRCoT (arXiv 2212.10509), section 3: paragraphs are collected, at most 15
template <class R>
class Accumulated : public detail::HeldRetriever<Accumulated<R>, R> {
    using Held = detail::HeldRetriever<Accumulated, R>;
    friend struct detail::PassesHints<Accumulated, true>;

public:
    /// Answers depend on the context, and on the queries before. A cache belongs inside.
    static constexpr bool reads_context = true;
    /// Answers depend on the queries before.
    static constexpr bool remembers_queries = true;

    /// Throws    Error{contract} if `each` is 0
    explicit Accumulated(R retriever, std::size_t each = 1) : Held(std::move(retriever)), each_(each) {
        FLASHBACK_ASSERT(each > 0, "Accumulated asks for at least 1 passage at a time, found 0");
    }

    /// What was found for this text, at most k passages; valid until the next call. Without room for another one nothing is searched.
    /// Throws    what the retriever throws; then what was found before is kept
    /// Cost      a copy of what is new, and a comparison with the first context
    std::span<const Passage> retrieve(const Query& query, std::size_t k) {
        const bool goes_on = this->goes_on(query);
        searched_ = !goes_on || kept_.size() < k;
        if (searched_) {
            auto&& range = this->inner().retrieve(query, each_);  // first of all: the query may view what is kept
            const std::span<const Passage> found{std::ranges::data(range), std::ranges::size(range)};
            if (!goes_on) begin(query.context);
            for (const Passage& passage : found) {
                if (kept_.size() >= k) break;
                if (keys_.insert(detail::key_of(passage)).second) kept_.emplace_back(passage);
            }
        }
        views_.clear();
        for (std::size_t i = 0; i < std::min(k, kept_.size()); ++i) views_.push_back(kept_[i].view());
        return views_;
    }

    /// Whether the last answer has a part that is that of a fallback.
    bool fell_back() const { return searched_ && Held::fell_back(); }

    /// Forgets what was found: the next query begins a new text.
    void clear() noexcept {
        started_ = false;
        kept_.clear();
        keys_.clear();
    }

private:
    bool goes_on(const Query& query) const {
        return started_ && query.context.size() > start_.size() &&
               std::ranges::equal(query.context.first(start_.size()), start_);
    }

    void begin(TokenSpan context) {
        start_.assign(context.begin(), context.end());
        clear();
        started_ = !context.empty();
    }

    void hint(const Query& query, std::size_t k) {
        idle_ = goes_on(query) && kept_.size() >= k;
        if (!idle_) Held::hint(query, each_);
    }
    bool hinted() const { return idle_ || Held::hinted(); }

    std::size_t each_;
    bool started_ = false;
    bool searched_ = false;  // for the last answer
    bool idle_ = false;      // what was hinted at last needs no search
    TokenBuffer start_;      // the context of the text's first query
    std::vector<OwnedPassage> kept_;
    std::unordered_set<std::string> keys_;
    std::vector<Passage> views_;
};

}  // namespace flashback::inline FLASHBACK_ISA
