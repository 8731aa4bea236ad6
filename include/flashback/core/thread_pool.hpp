/// \file A small fork-join pool that its owner hands to sessions.
#pragma once

#include "flashback/core/error.hpp"

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
/// part, so that no round waits for it. Used by one thread at a time; satisfies Executor.
class ThreadPool {
public:
    /// Starts `threads - 1` threads; the caller of `run` is the last one.
    /// Throws    Error{contract} for 0 threads, std::system_error
    explicit ThreadPool(std::size_t threads) {
        FLASHBACK_ASSERT(threads > 0, "a thread pool needs at least 1 thread, found 0");
        claims_ = std::make_unique<Claim[]>(threads - 1);
        crew_.threads.reserve(threads - 1);
        for (std::size_t i = 1; i < threads; ++i) crew_.threads.emplace_back([this, i] { work(i); });
    }
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    /// How many threads run tasks, including the caller's.
    std::size_t concurrency() const noexcept { return crew_.threads.size() + 1; }

    /// Calls `task(i)` for all i < count. Part t consists of t, t + concurrency(), ...; thread t does it, or another thread
    /// that gets to it first.
    template <class Task>
    void run(std::size_t count, Task&& task) {
        if (crew_.threads.empty() || count <= 1) {
            for (std::size_t i = 0; i < count; ++i) task(i);
            return;
        }
        context_ = const_cast<void*>(static_cast<const void*>(&task));
        call_ = [](void* context, std::size_t i) { (*static_cast<std::remove_reference_t<Task>*>(context))(i); };
        count_ = count;
        float_control_ = float_control();
        const auto workers = static_cast<std::uint32_t>(crew_.threads.size());
        const std::uint32_t round = round_.load(std::memory_order_relaxed) + 1;
        pending_.store(workers, std::memory_order_relaxed);
        round_.store(round, std::memory_order_release);
        round_.notify_all();
        share(0);
        const std::uint32_t taken = share_unclaimed(round);
        std::uint32_t left = pending_.fetch_sub(taken, std::memory_order_acquire) - taken;
        for (; left != 0; left = pending_.load(std::memory_order_acquire)) wait_for_change(pending_, left, spins);
    }

private:
    /// Decides who does the part of a thread: the first to come, who sets it to the number of the round. At the end of a round
    /// all have its number.
    struct alignas(64) Claim {
        std::atomic<std::uint32_t> round{0};
    };

    static constexpr int spins = 4096;  // about 20 us with the pause below: longer than the gap between two layers

    static void wait_for_change(const std::atomic<std::uint32_t>& value, std::uint32_t old, int most) {
        for (int i = 0; i < most; ++i) {
            if (value.load(std::memory_order_relaxed) != old) return;
#if defined(__x86_64__)
            __builtin_ia32_pause();
#endif
        }
        value.wait(old, std::memory_order_relaxed);
    }

    // How the caller rounds and whether it flushes subnormal numbers to zero; its workers must do as it does (rule R10).
#if defined(__x86_64__)
    static unsigned float_control() noexcept { return __builtin_ia32_stmxcsr() & ~0x3fu; }  // without the status flags
    static void take_over(unsigned control) noexcept { __builtin_ia32_ldmxcsr(control); }
#else
    static unsigned float_control() noexcept { return 0; }
    static void take_over(unsigned /*control*/) noexcept {}
#endif

    void share(std::size_t thread) {
        for (std::size_t i = thread; i < count_; i += concurrency()) call_(context_, i);
    }

    /// Claims the part of a thread, and tells whether it was still free. No round ends before every part was claimed. So a
    /// thread that comes late finds its part claimed, and does nothing.
    bool claim(std::size_t thread, std::uint32_t round) noexcept {
        std::atomic<std::uint32_t>& last = claims_[thread - 1].round;
        std::uint32_t before = round - 1;
        return last.load(std::memory_order_relaxed) == before &&
               last.compare_exchange_strong(before, round, std::memory_order_relaxed);
    }

    /// Does the parts that nobody has begun, the last one first, because sleeping threads wake up in order. Gives how many
    /// parts it did.
    std::uint32_t share_unclaimed(std::uint32_t round) {
        std::uint32_t taken = 0;
        for (std::size_t thread = crew_.threads.size(); thread > 0; --thread) {
            if (!claim(thread, round)) continue;
            share(thread);
            ++taken;
        }
        return taken;
    }

    void work(std::size_t thread) {
        const int mine = thread < processors_ ? spins : 0;  // without a processor of its own it would disturb another
        for (std::uint32_t seen = 0;;) {
            std::uint32_t now;
            while ((now = round_.load(std::memory_order_acquire)) == seen) wait_for_change(round_, seen, mine);
            seen = now;
            if (stopping_.load(std::memory_order_relaxed)) return;
            if (!claim(thread, now)) continue;
            take_over(float_control_);
            share(thread);
            const std::uint32_t done = 1 + (concurrency() > processors_ ? share_unclaimed(now) : 0);
            if (pending_.fetch_sub(done, std::memory_order_release) == done) pending_.notify_one();
        }
    }

    void stop() {
        stopping_.store(true, std::memory_order_relaxed);
        round_.fetch_add(1, std::memory_order_release);
        round_.notify_all();
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

    std::atomic<std::uint32_t> round_{0};
    std::atomic<std::uint32_t> pending_{0};  ///< parts that are not done
    std::atomic<bool> stopping_{false};
    std::unique_ptr<Claim[]> claims_;
    const std::size_t processors_ = std::thread::hardware_concurrency() > 0 ? std::thread::hardware_concurrency() : SIZE_MAX;
    // Written only between two rounds, and read by those that claimed a part; the release of round_ hands them over.
    void* context_ = nullptr;
    void (*call_)(void*, std::size_t) = nullptr;
    std::size_t count_ = 0;
    unsigned float_control_ = 0;
    Crew crew_{*this, {}};
};

}  // namespace flashback::inline FLASHBACK_ISA
