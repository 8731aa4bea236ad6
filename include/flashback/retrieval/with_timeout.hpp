/// \file A retriever that does not wait for ever.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/retriever.hpp"
#include "flashback/retrieval/detail/held_query.hpp"
#include "flashback/retrieval/detail/held_retriever.hpp"
#include "flashback/retrieval/detail/search_thread.hpp"

#include <chrono>
#include <cstddef>
#include <memory>
#include <ranges>
#include <span>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// Lets a retriever search in a thread of its own. If its answer is not there in time, the fallback answers, another retriever; by
/// default it finds nothing. A late answer is kept for the same query: asked again, that gets it, or waits for it. Another query waits
/// until the retriever is free, within its own time, and the late answer is dropped.
///
/// Nothing can stop a search that has begun, so the end of this object waits for it, and no thread is left behind.
/// Requires  while a search runs, nobody else uses the retriever, nor what it refers to, nor does the fallback; unless several threads may
template <class R, class Fallback = NoPassages>
class WithTimeout : public detail::PassesHints<WithTimeout<R, Fallback>, PrefetchingRetriever<members::Unwrapped<R>>> {
    static_assert(checked_retriever<members::Unwrapped<R>>() && checked_retriever<members::Unwrapped<Fallback>>());
    friend struct detail::PassesHints<WithTimeout, true>;

public:
    /// Whether answers depend on Query::context.
    static constexpr bool reads_context =
        detail::reads_context_of<members::Unwrapped<R>>() || detail::reads_context_of<members::Unwrapped<Fallback>>();
    /// Whether answers depend on the queries before.
    static constexpr bool remembers_queries =
        detail::remembers_queries_of<members::Unwrapped<R>>() || detail::remembers_queries_of<members::Unwrapped<Fallback>>();

    /// Starts the thread.
    /// Throws    Error{contract} for a time below 0; std::system_error if no thread can be started
    WithTimeout(R retriever, std::chrono::nanoseconds time, Fallback fallback = Fallback{})
        : time_(checked(time)),
          fallback_(std::move(fallback)),
          search_(std::make_unique<detail::SearchThread<R>>(std::move(retriever))) {}

    /// What the retriever finds in time, or the fallback; valid until the next call.
    /// Throws    what the retriever throws, also if that was late and the same query is asked again; what the fallback throws
    /// Cost      two changes of threads; a copy of the query, and of the passages and their texts
    std::span<const Passage> retrieve(const Query& query, std::size_t k) {
        const auto now = Clock::now();
        const auto longest = Clock::time_point::max() - now;
        const auto deadline =
            time_ < longest ? now + std::chrono::duration_cast<Clock::duration>(time_) : Clock::time_point::max();
        if (!search_->is_for(query, k, same_)) {
            if (!search_->wait_until(deadline)) return fall_back(query, k);
            search_->begin(query, k);
        }
        if (!search_->wait_until(deadline)) return fall_back(query, k);
        answer_ = search_->take();
        fell_back_ = answer_.fell_back;
        detail::view_answer(answer_, found_);
        return found_;
    }

    /// Whether the last answer is that of a fallback. It may be another one the next time.
    bool fell_back() const noexcept { return fell_back_; }

    /// How often the fallback answered, ever.
    std::size_t timeouts() const noexcept { return timeouts_; }

    /// The tokens that models of the retriever and of the fallback have evaluated, ever; those of a search count when it ends.
    std::size_t work() const { return search_->work() + work_of(members::unwrap(fallback_)); }

private:
    using Clock = std::chrono::steady_clock;

    static std::chrono::nanoseconds checked(std::chrono::nanoseconds time) {
        FLASHBACK_ASSERT(time.count() >= 0, "WithTimeout needs a time of 0 or more, found ", time.count(), " ns");
        return time;
    }

    std::span<const Passage> fall_back(const Query& query, std::size_t k) {
        fell_back_ = true;
        ++timeouts_;
        auto&& range = members::unwrap(fallback_).retrieve(query, k);
        found_.assign(std::ranges::begin(range), std::ranges::end(range));
        return found_;
    }

    /// While a search is late, a hint is lost.
    void hint(const Query& query, std::size_t k) {
        if (!search_->running()) search_->retriever().prefetch(query, k);
    }
    bool hinted() const { return !search_->running() && search_->retriever().ready(); }

    std::chrono::nanoseconds time_;
    Fallback fallback_;
    FLASHBACK_NO_UNIQUE_ADDRESS detail::SameQuery<reads_context> same_;
    detail::ThreadAnswer answer_;
    std::vector<Passage> found_;
    bool fell_back_ = false;
    std::size_t timeouts_ = 0;
    std::unique_ptr<detail::SearchThread<R>> search_;  // it stays where it is if this object moves
};

}  // namespace flashback::inline FLASHBACK_ISA
