/// \file A small fork-join pool that its owner hands to sessions.
#pragma once

#include "flashback/core/error.hpp"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// Threads that wait for work. They spin for some microseconds, because the next step of a transformer follows at once, and
/// then sleep; threads beyond the number of processors sleep at once. If the system has not yet run a thread, others do its
/// part, so that no round waits for it. It binds no thread to a processor. Used by one thread at a time; satisfies Executor.
/// Cost      a round takes no lock. About 2 · concurrency() lines of the cache go from one processor to another. If each of up to 64
///           threads has a processor, none of them is written by more than 9
class ThreadPool {
public:
    /// Starts `threads - 1` threads; the caller of `run` is the last one.
    /// Throws    Error{contract} for 0 threads, std::system_error
    explicit ThreadPool(std::size_t threads) {
        FLASHBACK_ASSERT(threads > 0, "a thread pool needs at least 1 thread, found 0");
        claims_ = std::make_unique<Claim[]>(threads);
        groups_ = std::make_unique<Group[]>(threads / group_threads + 1);
        crew_.threads.reserve(threads - 1);
        for (std::size_t i = 1; i < threads; ++i) crew_.threads.emplace_back([this, i] { work(i); });
    }
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    /// How many threads run tasks, including the caller's.
    std::size_t concurrency() const noexcept { return crew_.threads.size() + 1; }

    /// Calls `task(i)` for all i < count. Part t consists of t, t + concurrency(), ...; thread t does it, or another thread
    /// that gets to it first. Threads for which there is no part are not waited for.
    template <class Task>
    void run(std::size_t count, Task&& task) {
        if (crew_.threads.empty() || count <= 1) {
            for (std::size_t i = 0; i < count; ++i) task(i);
            return;
        }
        job_.context = const_cast<void*>(static_cast<const void*>(&task));
        job_.call = [](void* context, std::size_t i) { (*static_cast<std::remove_reference_t<Task>*>(context))(i); };
        job_.count = count;
        job_.float_control = float_control();
        groups_done_.store(0, std::memory_order_relaxed);
        const Round round = next_round(std::min({count, concurrency(), most_parts}));
        ring(job_.bell, round).notify_one();
        if (round.parts() > processors_) ring(job_.spare_bell, round).notify_one();
        share(0, round);
        // Most rounds end about now. If this one does not, some thread may be away. Looking for its part takes a while, too.
        const int patience = crowded() ? 0 : static_cast<int>(round.parts() / 2);
        if (!spin_until([&] { return is_done(round); }, patience)) share_unclaimed(round);
        for (std::uint32_t done; (done = groups_done_.load(std::memory_order_acquire)) != round.groups();) {
            const auto changed = [&] { return groups_done_.load(std::memory_order_relaxed) != done; };
            if (!spin_until(changed, spins)) groups_done_.wait(done, std::memory_order_relaxed);
        }
    }

private:
    // Neighbours tell a line of their own that they are done, and the last of them tells the caller.
    static constexpr std::size_t group_threads = 8;
    static constexpr std::size_t most_parts = 0xffff;
    static constexpr int spins = 4096;  // about 20 us with the pause below: longer than the gap between two layers

    /// The number of a round, and into how many parts it is divided. They are one word: a thread that comes late knows
    /// whether it had a part in the round that it saw, whatever the caller does by then.
    struct Round {
        std::uint64_t word;

        std::uint64_t number() const noexcept { return word >> 16; }
        std::size_t parts() const noexcept { return static_cast<std::size_t>(word & most_parts); }
        std::uint32_t groups() const noexcept { return static_cast<std::uint32_t>((parts() - 1) / group_threads + 1); }
        /// How many threads of a group have a part, without the caller.
        std::size_t members(std::size_t group) const noexcept {
            return std::min(parts(), (group + 1) * group_threads) - std::max<std::size_t>(group * group_threads, 1);
        }
    };

    /// All that a thread reads when a round begins. Beside `round` it is written only between two rounds, and read by those
    /// that claimed a part; the release of `round` hands it over.
    struct alignas(64) Job {
        std::atomic<std::uint64_t> round{0};
        std::atomic<std::uint32_t> bell{0};        // changes after `round`: what threads sleep on
        std::atomic<std::uint32_t> spare_bell{0};  // the same for threads without a processor, if they have a part
        unsigned float_control = 0;
        void* context = nullptr;
        void (*call)(void*, std::size_t) = nullptr;
        std::size_t count = 0;
    };

    /// Decides who does the part of a thread: the first to come, who sets it to the number of the round. At the end of a round
    /// all parts of it have its number.
    struct alignas(64) Claim {
        std::atomic<std::uint64_t> round{0};
    };

    struct alignas(64) Group {
        std::atomic<std::size_t> done{0};
    };

    template <class Done>
    static bool spin_until(const Done& done, int most) {
        for (int i = 0; i < most; ++i) {
            if (done()) return true;
#if defined(__x86_64__)
            __builtin_ia32_pause();
#endif
        }
        return false;
    }

    // How the caller rounds and whether it flushes subnormal numbers to zero; its workers must do as it does (rule R10).
#if defined(__x86_64__)
    static unsigned float_control() noexcept { return __builtin_ia32_stmxcsr() & ~0x3fu; }  // without the status flags
    static void take_over(unsigned control) noexcept { __builtin_ia32_ldmxcsr(control); }
#else
    static unsigned float_control() noexcept { return 0; }
    static void take_over(unsigned /*control*/) noexcept {}
#endif

    bool crowded() const noexcept { return concurrency() > processors_; }

    Round next_round(std::size_t parts) noexcept {
        const std::uint64_t number = (job_.round.load(std::memory_order_relaxed) >> 16) + 1;
        job_.round.store(number << 16 | parts, std::memory_order_release);
        return {number << 16 | parts};
    }

    /// Sequentially consistent: a thread that is about to sleep sees it, or is seen by who wakes sleepers.
    static std::atomic<std::uint32_t>& ring(std::atomic<std::uint32_t>& bell, Round round) noexcept {
        bell.store(static_cast<std::uint32_t>(round.number()), std::memory_order_seq_cst);
        return bell;
    }

    bool is_done(Round round) const noexcept { return groups_done_.load(std::memory_order_relaxed) == round.groups(); }

    void share(std::size_t part, Round round) {
        for (std::size_t i = part; i < job_.count; i += round.parts()) job_.call(job_.context, i);
    }

    /// Claims the part of a thread, and tells whether it was still free. No round ends before every part was claimed. So a
    /// thread that comes late finds its part claimed, and does nothing.
    bool claim(std::size_t thread, Round round) noexcept {
        std::atomic<std::uint64_t>& last = claims_[thread].round;
        std::uint64_t before = last.load(std::memory_order_relaxed);
        return before < round.number() && last.compare_exchange_strong(before, round.number(), std::memory_order_relaxed);
    }

    /// Tells that some parts of a group are done.
    void arrive(std::size_t group, std::size_t parts, Round round) noexcept {
        std::atomic<std::size_t>& done = groups_[group].done;
        if (done.fetch_add(parts, std::memory_order_acq_rel) + parts != round.members(group)) return;
        done.store(0, std::memory_order_relaxed);
        if (groups_done_.fetch_add(1, std::memory_order_acq_rel) + 1 == round.groups()) groups_done_.notify_one();
    }

    /// Does the parts that nobody has begun, the last one first, because sleeping threads wake up in order.
    void share_unclaimed(Round round) {
        std::size_t taken = 0;
        for (std::size_t thread = round.parts() - 1; thread > 0; --thread) {
            if (claim(thread, round)) {
                share(thread, round);
                ++taken;
            }
            if (taken > 0 && (thread == 1 || thread % group_threads == 0)) {
                arrive(thread / group_threads, taken, round);
                taken = 0;
            }
        }
    }

    void work(std::size_t thread) {
        const bool spare = thread >= processors_;  // without a processor of its own it would disturb another
        std::atomic<std::uint32_t>& bell = spare ? job_.spare_bell : job_.bell;
        for (Round seen{0};;) {
            Round now{};
            bool slept = false;
            for (;;) {
                const std::uint32_t rung = bell.load(std::memory_order_acquire);
                now.word = job_.round.load(std::memory_order_acquire);
                if (now.word != seen.word) break;
                const auto changed = [&] { return job_.round.load(std::memory_order_relaxed) != seen.word; };
                if (spin_until(changed, spare ? 0 : spins)) continue;
                bell.wait(rung, std::memory_order_relaxed);
                slept = true;
            }
            seen = now;
            if (stopping_.load(std::memory_order_relaxed)) return;
            if (slept && !is_done(now)) {
                // Waking a thread costs a microsecond or more. So the caller wakes one, and each that woke up wakes two more.
                bell.notify_one();
                bell.notify_one();
            }
            if (thread >= now.parts() || !claim(thread, now)) continue;
            take_over(job_.float_control);
            share(thread, now);
            arrive(thread / group_threads, 1, now);
            if (crowded()) share_unclaimed(now);
        }
    }

    void stop() {
        stopping_.store(true, std::memory_order_relaxed);
        const Round last = next_round(0);
        ring(job_.bell, last).notify_all();
        ring(job_.spare_bell, last).notify_all();
    }

    // A member of its own, so that the threads end even if the constructor cannot start the last of them.
    struct Crew {
        ThreadPool& pool;
        std::vector<std::thread> threads;
        ~Crew() {
            pool.stop();
            for (auto& thread : threads) thread.join();
        }
    };

    Job job_;
    alignas(64) std::atomic<std::uint32_t> groups_done_{0};  ///< groups whose parts are all done
    // From here on nothing is written while rounds run.
    alignas(64) std::atomic<bool> stopping_{false};
    std::unique_ptr<Claim[]> claims_;
    std::unique_ptr<Group[]> groups_;
    const std::size_t processors_ = std::thread::hardware_concurrency() > 0 ? std::thread::hardware_concurrency() : SIZE_MAX;
    Crew crew_{*this, {}};
};

}  // namespace flashback::inline FLASHBACK_ISA
