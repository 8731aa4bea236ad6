/// \file A retriever whose health is known.
#pragma once

#include "flashback/core/retriever.hpp"
#include "flashback/retrieval/detail/held_retriever.hpp"
#include "flashback/retrieval/detail/latency_histogram.hpp"

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <ranges>
#include <span>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// How a retriever has done so far.
struct RetrieverHealth {
    std::size_t queries = 0;          ///< that were answered or failed
    std::size_t empty = 0;            ///< answers without a passage, although some were asked for
    std::size_t failures = 0;         ///< queries that threw
    std::size_t passages = 0;         ///< in all answers
    std::chrono::nanoseconds p50{0};  ///< half of the queries took no longer, failures included; at most a sixteenth too long
    std::chrono::nanoseconds p95{0};  ///< 95 of 100 queries took no longer
    std::chrono::nanoseconds max{0};  ///< the slowest query
};

/// Counts what becomes of the queries to a retriever, and how long they take. To read `health()` of one that is held by another, hold it
/// yourself and give the other a `std::ref`.
template <class R, class Clock = std::chrono::steady_clock>
class Watched : public detail::HeldRetriever<Watched<R, Clock>, R> {
    using Held = detail::HeldRetriever<Watched, R>;
    friend struct detail::PassesHints<Watched, true>;

public:
    /// Counts what `retriever` does.
    explicit Watched(R retriever) : Held(std::move(retriever)), counters_(std::make_unique<Counters>()) {}

    /// What the retriever finds; valid until the next call.
    /// Throws    what the retriever throws
    std::span<const Passage> retrieve(const Query& query, std::size_t k) {
        const auto began = Clock::now();
        try {
            auto&& range = this->inner().retrieve(query, k);
            found_.assign(std::ranges::begin(range), std::ranges::end(range));
        } catch (...) {
            count(began, counters_->failures);
            throw;
        }
        counters_->passages.fetch_add(found_.size(), std::memory_order_relaxed);
        count(began, found_.empty() && k > 0 ? counters_->empty : counters_->full);
        return found_;
    }

    /// The counts; another thread may ask while this one searches, and what it gets may lack parts of the newest query.
    /// Cost      reads 976 counters; the memory does not grow
    RetrieverHealth health() const noexcept {
        RetrieverHealth health;
        health.failures = counters_->failures.load(std::memory_order_relaxed);
        health.passages = counters_->passages.load(std::memory_order_relaxed);
        health.empty = counters_->empty.load(std::memory_order_relaxed);
        health.queries = health.failures + health.empty + counters_->full.load(std::memory_order_relaxed);
        constexpr std::array<double, 2> parts{0.5, 0.95};
        std::array<std::chrono::nanoseconds, 2> times{};
        counters_->times.quantiles(parts, times);
        health.p50 = times[0];
        health.p95 = times[1];
        health.max = counters_->times.longest();
        return health;
    }

private:
    struct Counters {
        std::atomic<std::size_t> full{0};
        std::atomic<std::size_t> empty{0};
        std::atomic<std::size_t> failures{0};
        std::atomic<std::size_t> passages{0};
        detail::LatencyHistogram times;
    };

    void count(typename Clock::time_point began, std::atomic<std::size_t>& outcome) noexcept {
        counters_->times.add(std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - began));
        outcome.fetch_add(1, std::memory_order_relaxed);
    }

    std::vector<Passage> found_;
    std::unique_ptr<Counters> counters_;  // they stay where they are if this object moves
};

}  // namespace flashback::inline FLASHBACK_ISA
