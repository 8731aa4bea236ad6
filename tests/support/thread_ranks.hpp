/// \file Ranks that are threads of one program.
#pragma once

#include "flashback/core/ranks.hpp"

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <exception>
#include <mutex>
#include <span>
#include <thread>
#include <utility>
#include <vector>

namespace flashback_test {

/// What ranks have sent to each other and not yet received.
class Mailboxes {
public:
    explicit Mailboxes(std::size_t ranks) : ranks_(ranks), boxes_(ranks * ranks) {}

    std::size_t ranks() const noexcept { return ranks_; }

    void put(std::size_t from, std::size_t to, std::span<const std::byte> bytes) {
        const std::lock_guard lock{mutex_};
        boxes_[from * ranks_ + to].emplace_back(bytes.begin(), bytes.end());
        changed_.notify_all();
    }
    void take(std::size_t from, std::size_t to, std::span<std::byte> bytes) {
        std::unique_lock lock{mutex_};
        std::deque<std::vector<std::byte>>& box = boxes_[from * ranks_ + to];
        changed_.wait(lock, [&] { return gone_ || !box.empty(); });
        if (box.empty()) throw flashback::RankLost{"another rank is gone"};
        if (box.front().size() != bytes.size()) throw flashback::RankLost{"a message of another size"};
        std::copy(box.front().begin(), box.front().end(), bytes.begin());
        box.pop_front();
    }
    /// Ends the wait of all others.
    void give_up() {
        const std::lock_guard lock{mutex_};
        gone_ = true;
        changed_.notify_all();
    }

private:
    std::size_t ranks_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::vector<std::deque<std::vector<std::byte>>> boxes_;
    bool gone_ = false;
};

/// One of several ranks, each of which is a thread.
class ThreadRank {
public:
    ThreadRank(Mailboxes& boxes, std::size_t rank) : boxes_(&boxes), rank_(rank) {}

    std::size_t rank() const noexcept { return rank_; }
    std::size_t size() const noexcept { return boxes_->ranks(); }
    void send(std::span<const std::byte> bytes, std::size_t to) { boxes_->put(rank_, to, bytes); }
    void receive(std::span<std::byte> bytes, std::size_t from) { boxes_->take(from, rank_, bytes); }

private:
    Mailboxes* boxes_;
    std::size_t rank_;
};

/// Runs `work(ranks)` once for each of `count` ranks at once, and gives what each gave. What the lowest rank threw is thrown here, but
/// that a rank is lost only if none threw anything else.
template <class Work>
auto on_ranks(std::size_t count, const Work& work) {
    using Result = decltype(work(flashback::RanksRef{}));
    Mailboxes boxes{count};
    std::vector<Result> results(count);
    std::vector<std::exception_ptr> failures(count);
    std::vector<std::exception_ptr> losses(count);
    std::vector<std::thread> threads;
    for (std::size_t r = 0; r < count; ++r) {
        threads.emplace_back([&, r] {
            ThreadRank rank{boxes, r};
            try {
                results[r] = work(flashback::RanksRef{rank});
            } catch (const flashback::RankLost&) {
                losses[r] = std::current_exception();
                boxes.give_up();
            } catch (...) {
                failures[r] = std::current_exception();
                boxes.give_up();
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    for (const auto& some : {failures, losses}) {
        for (const std::exception_ptr& one : some) {
            if (one) std::rethrow_exception(one);
        }
    }
    return results;
}

}  // namespace flashback_test
