/// \file A small fork-join pool that its owner hands to sessions.
#pragma once

#include "flashback/core/error.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <type_traits>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// Threads that wait for work: they spin for some microseconds, because the next step of a transformer follows at once,
/// and then sleep. Used by one thread at a time; satisfies Executor.
class ThreadPool {
public:
    /// Starts `threads - 1` threads; the caller of `run` is the last one.
    /// Throws    Error{contract} for 0 threads, std::system_error
    explicit ThreadPool(std::size_t threads) {
        FLASHBACK_ASSERT(threads > 0, "a thread pool needs at least 1 thread, found 0");
        crew_.threads.reserve(threads - 1);
        for (std::size_t i = 1; i < threads; ++i) crew_.threads.emplace_back([this, i] { work(i); });
    }
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    /// How many threads run tasks, the caller's among them.
    std::size_t concurrency() const noexcept { return crew_.threads.size() + 1; }

    /// Calls `task(i)` for all i < count; thread t takes t, t + concurrency(), ...
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
        pending_.store(crew_.threads.size(), std::memory_order_relaxed);
        round_.fetch_add(1, std::memory_order_release);
        round_.notify_all();
        share(0);
        for (std::size_t left; (left = pending_.load(std::memory_order_acquire)) != 0;) wait_for_change(pending_, left);
    }

private:
    static constexpr int spins = 4096;  // about 20 us with the pause below: longer than the gap between two layers

    template <class T>
    static void wait_for_change(std::atomic<T>& value, T old) {
        for (int i = 0; i < spins; ++i) {
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

    void work(std::size_t thread) {
        for (std::uint32_t seen = 0;;) {
            std::uint32_t now;
            while ((now = round_.load(std::memory_order_acquire)) == seen) wait_for_change(round_, seen);
            seen = now;
            if (stopping_) return;
            take_over(float_control_);
            share(thread);
            if (pending_.fetch_sub(1, std::memory_order_release) == 1) pending_.notify_one();
        }
    }

    void stop() {
        stopping_ = true;
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
    std::atomic<std::size_t> pending_{0};
    // Written between two rounds only; the release of round_ hands them to the workers.
    void* context_ = nullptr;
    void (*call_)(void*, std::size_t) = nullptr;
    std::size_t count_ = 0;
    unsigned float_control_ = 0;
    bool stopping_ = false;
    Crew crew_{*this, {}};
};

}  // namespace flashback::inline FLASHBACK_ISA
