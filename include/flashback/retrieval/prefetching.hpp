/// \file A retriever that searches while the model writes.
#pragma once

#include "flashback/core/retriever.hpp"
#include "flashback/retrieval/detail/held_query.hpp"
#include "flashback/retrieval/detail/held_retriever.hpp"
#include "flashback/retrieval/detail/search_thread.hpp"

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// Gives a retriever `prefetch`: a hint begins the search in a thread of its own, and `retrieve` takes the answer, or waits for it. The
/// retriever is called in that thread only, one search at a time: a hint that comes during a search is lost.
///
/// `serves(prefetched, asked)` says whether the answer to one query will do for another. By default it will if they are the same, so
/// nothing depends on what was prefetched; a query that has other tokens by the time it is asked waits for the search that runs, and is
/// searched anew. `stale(retriever)` takes what was prefetched, although the text has grown meanwhile.
///
/// Nothing can stop a search that has begun, so the end of this object waits for it, and no thread is left behind.
/// Requires  while a search runs, nobody else uses the retriever, nor what it refers to (a model, a pool of threads); unless several threads
///           may
/// Source    Jiang et al. 2024, PipeRAG (arXiv 2403.05676): stale queries, for `stale(retriever)`
template <class R, class Serves = detail::SameQuery<detail::reads_context_of<members::Unwrapped<R>>()>>
class Prefetching {
    static_assert(checked_retriever<members::Unwrapped<R>>());
    static_assert(
        std::predicate<Serves&, const Query&, const Query&>,
        "flashback: `serves` of Prefetching must be callable as serves(const Query& prefetched, const Query& asked) and "
        "return bool");

public:
    /// Whether answers depend on Query::context.
    static constexpr bool reads_context = detail::reads_context_of<members::Unwrapped<R>>();
    /// Whether answers depend on the queries before: if what was prefetched may serve for another query, or those of the retriever do.
    static constexpr bool remembers_queries =
        !std::same_as<Serves, detail::SameQuery<reads_context>> || detail::remembers_queries_of<members::Unwrapped<R>>();

    /// Starts the thread.
    /// Throws    std::system_error if no thread can be started
    explicit Prefetching(R retriever, Serves serves = Serves{})
        : serves_(std::move(serves)), search_(std::make_unique<detail::SearchThread<R>>(std::move(retriever))) {}

    /// Begins a search, unless one is running or its answer is there.
    /// Cost      a copy of the query
    void prefetch(const Query& query, std::size_t k) {
        if (!search_->running() && !search_->is_for(query, k, serves_)) search_->begin(query, k);
    }

    /// Whether what was prefetched is there: no search is running.
    bool ready() const { return !search_->running(); }

    /// What was prefetched, or what the retriever finds now; valid until the next call.
    /// Throws    what the retriever throws, also while it prefetched an answer that is asked for
    /// Cost      a copy of the query, and of the passages and their texts
    std::span<const Passage> retrieve(const Query& query, std::size_t k) {
        const bool prefetched = search_->is_for(query, k, serves_);
        search_->wait();
        if (!prefetched) {
            search_->begin(query, k);
            search_->wait();
        }
        answer_ = search_->take();
        if (prefetched) ++hits_;
        detail::view_answer(answer_, found_);
        return found_;
    }

    /// How many answers had been prefetched, ever.
    std::size_t hits() const noexcept { return hits_; }

    /// Whether the last answer is that of a fallback (WithTimeout).
    bool fell_back() const noexcept { return answer_.fell_back; }

    /// The tokens that models of the retriever have evaluated, ever; those of a search count when it ends.
    std::size_t work() const { return search_->work(); }

private:
    Serves serves_;
    detail::ThreadAnswer answer_;
    std::vector<Passage> found_;
    std::size_t hits_ = 0;
    std::unique_ptr<detail::SearchThread<R>> search_;  // it stays where it is if this object moves
};

/// Whether a query is for a text that goes on from the one that was searched for: then its answer serves, stale as it is. Without
/// Query::context all queries are for one text.
struct ServesWhatGoesOn {
    bool operator()(const Query& prefetched, const Query& asked) const {
        return asked.context.size() >= prefetched.context.size() &&
               std::ranges::equal(prefetched.context, asked.context.first(prefetched.context.size()));
    }
};

/// Approximate: an answer that was prefetched serves whatever the text asks for by then, so a retrieval costs only what is left of the
/// search for an older query. With StaleEveryN each retrieval reads what the text asked for one interval before. The first retrieval of a
/// text, and one after tokens were taken back, searches for its own query; but that of a text which begins with all of the last one, as the
/// next turn of a chat does, may read what was prefetched there.
/// Source    Jiang et al. 2024, PipeRAG (arXiv 2403.05676), section 4.1: stale queries
template <class R>
auto stale(R retriever) {
    return Prefetching<R, ServesWhatGoesOn>{std::move(retriever)};
}

}  // namespace flashback::inline FLASHBACK_ISA
