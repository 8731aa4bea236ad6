/// \file A retriever with a thread of its own, which searches one query after the other.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/owned_passage.hpp"
#include "flashback/core/retriever.hpp"
#include "flashback/retrieval/detail/held_query.hpp"
#include "flashback/retrieval/detail/held_retriever.hpp"

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <exception>
#include <mutex>
#include <ranges>
#include <span>
#include <thread>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

/// What a search in a thread came to. It owns its passages, because the next search may begin while they are read.
struct ThreadAnswer {
    std::vector<OwnedPassage> passages;
    std::vector<std::vector<OwnedPassage>> batch = {};  ///< for each query, if there were several
    std::exception_ptr error;
    bool fell_back = false;
};

/// Searches in a thread of its own, which lives as long as this object and sleeps if there is nothing to search for. All members are for
/// one thread, the owner's. The end of this object waits for the search that runs.
template <class R>
class SearchThread {
public:
    using Clock = std::chrono::steady_clock;

    explicit SearchThread(R retriever) : retriever_(std::move(retriever)), thread_([this] { run(); }) {}
    SearchThread(const SearchThread&) = delete;
    SearchThread& operator=(const SearchThread&) = delete;
    ~SearchThread() {
        {
            const std::lock_guard lock{mutex_};
            stopping_ = true;
        }
        changed_.notify_all();
        thread_.join();
    }

    /// Begins a search. An answer that nobody took is gone.
    /// Requires  none is running
    void begin(const Query& query, std::size_t k) {
        query_.assign(query);
        k_ = k;
        is_batch_ = false;
        start();
    }

    /// Begins to search for several queries. An answer that nobody took is gone.
    /// Requires  no search is running
    void begin_batch(std::span<const Query> queries, std::size_t k) {
        batch_.resize(queries.size());
        for (std::size_t i = 0; i < queries.size(); ++i) batch_[i].assign(queries[i]);
        k_ = k;
        is_batch_ = true;
        start();
    }

    bool running() const {
        const std::lock_guard lock{mutex_};
        return state_ == State::running;
    }

    /// Whether the search that runs, or whose answer nobody took, is for so many passages and a query that `serves` accepts.
    template <class Serves>
    bool is_for(const Query& query, std::size_t k, Serves& serves) const {
        {
            const std::lock_guard lock{mutex_};
            if (state_ == State::idle) return false;
        }
        return k_ == k && serves(query_.view(), query);  // only the owner changes them
    }

    /// Waits until no search is running.
    void wait() const {
        std::unique_lock lock{mutex_};
        changed_.wait(lock, [&] { return state_ != State::running; });
    }

    /// Waits likewise, but at most until then; tells whether no search is running.
    bool wait_until(Clock::time_point deadline) const {
        std::unique_lock lock{mutex_};
        return changed_.wait_until(lock, deadline, [&] { return state_ != State::running; });
    }

    /// The answer of the last search, which leaves this object.
    /// Requires  none is running
    /// Throws    what the search threw
    ThreadAnswer take() {
        {
            const std::lock_guard lock{mutex_};
            state_ = State::idle;
        }
        if (answer_.error) std::rethrow_exception(std::exchange(answer_.error, nullptr));
        return std::exchange(answer_, {});
    }

    /// The retriever, for the owner's thread.
    /// Requires  no search is running
    auto& retriever() noexcept { return members::unwrap(retriever_); }
    const auto& retriever() const noexcept { return members::unwrap(retriever_); }

    /// The tokens that models of the retriever have evaluated, those of a search that is running left out.
    std::size_t work() const {
        if (!running()) work_ = work_of(retriever());
        return work_;
    }

private:
    enum class State : unsigned char { idle, running, done };

    void start() {
        {
            const std::lock_guard lock{mutex_};
            state_ = State::running;
        }
        changed_.notify_all();
    }

    void run() {
        std::unique_lock lock{mutex_};
        for (;;) {
            changed_.wait(lock, [&] { return stopping_ || state_ == State::running; });
            if (stopping_) return;
            lock.unlock();
            search();
            lock.lock();
            state_ = State::done;
            changed_.notify_all();
        }
    }

    void search() noexcept {
        answer_ = {};
        try {
            is_batch_ ? search_batch() : keep(retriever().retrieve(query_.view(), k_), answer_.passages);
            answer_.fell_back = fell_back_of(retriever());
        } catch (...) {
            answer_.error = std::current_exception();
        }
    }

    void search_batch() {
        using Inner = members::Unwrapped<R>;
        answer_.batch.resize(batch_.size());
        if constexpr (BatchRetriever<Inner>) {
            std::vector<Query> queries;
            for (const HeldQuery& query : batch_) queries.push_back(query.view());
            auto&& answers = retriever().retrieve_batch(std::span<const Query>{queries}, k_);
            FLASHBACK_ASSERT(std::ranges::size(answers) == queries.size(), "a retriever gave ", std::ranges::size(answers),
                             " answers to ", queries.size(), " queries");
            auto out = answer_.batch.begin();
            for (auto&& answer : answers) keep(answer, *out++);
        } else {
            for (std::size_t i = 0; i < batch_.size(); ++i) keep(retriever().retrieve(batch_[i].view(), k_), answer_.batch[i]);
        }
    }

    template <class Range>
    static void keep(Range&& found, std::vector<OwnedPassage>& passages) {
        for (const Passage& passage : found) passages.emplace_back(passage);
    }

    R retriever_;
    HeldQuery query_;  // these belong to the thread while a search runs, else to the owner
    std::vector<HeldQuery> batch_;
    bool is_batch_ = false;
    std::size_t k_ = 0;
    ThreadAnswer answer_;
    mutable std::size_t work_ = 0;
    mutable std::mutex mutex_;
    mutable std::condition_variable changed_;
    State state_ = State::idle;
    bool stopping_ = false;
    std::thread thread_;  // the last: it uses the others
};

/// Views of the passages of an answer.
inline void view_answer(const ThreadAnswer& answer, std::vector<Passage>& found) {
    found.clear();
    for (const OwnedPassage& passage : answer.passages) found.push_back(passage.view());
}

}  // namespace flashback::inline FLASHBACK_ISA::detail
