#include "flashback/core/thread_pool.hpp"

#include "flashback/core/executor.hpp"
#include "flashback/core/random.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <new>
#include <set>
#include <thread>
#include <vector>

#include <pthread.h>
#include <time.h>

#include <doctest/doctest.h>

using namespace flashback;

static_assert(Executor<ThreadPool>);

namespace {

/// The threads of a pool, in tasks that wait for each other.
std::vector<::pthread_t> ids_of(ThreadPool& pool) {
    std::vector<::pthread_t> ids(pool.concurrency());
    std::atomic<std::size_t> there = 0;
    pool.run(ids.size(), [&](std::size_t i) {
        ids[i] = ::pthread_self();
        for (++there; there < ids.size();) std::this_thread::yield();
    });
    return ids;
}

#if !defined(__SANITIZE_THREAD__)  // it keeps signals back
std::atomic<bool> held = false;
std::atomic<int> stopped = 0;

/// A handler of a signal: the thread is as good as one that the system does not run.
void stop_for_a_while(int /*signal*/) {
    for (++stopped; held;) {
        const ::timespec moment{0, 1'000'000};
        ::nanosleep(&moment, nullptr);
    }
}
#endif

}  // namespace

TEST_CASE("every task runs exactly once") {
    for (const std::size_t threads : {1u, 2u, 3u, 4u, 9u, 20u}) {
        ThreadPool pool{threads};
        CHECK(pool.concurrency() == threads);
        for (std::size_t count = 0; count <= 100; ++count) {
            std::vector<int> seen(count);
            pool.run(count, [&](std::size_t i) { ++seen[i]; });
            CAPTURE(threads);
            CAPTURE(count);
            REQUIRE(seen == std::vector<int>(count, 1));
        }
    }
}

TEST_CASE("what the tasks of one round write, those of the next read") {
    for (const std::size_t threads : {2u, 3u}) {
        ThreadPool pool{threads};
        constexpr std::size_t count = 5;
        std::vector<std::size_t> values(count);
        std::vector<std::size_t> next(count);
        constexpr std::size_t rounds = 2000;
        for (std::size_t round = 0; round < rounds; ++round) {
            pool.run(count, [&](std::size_t i) { next[i] = values[(i + 1) % count] + 1; });
            values.swap(next);
        }
        CHECK(values == std::vector<std::size_t>(count, rounds));
    }
}

TEST_CASE("rounds of changing sizes: every task runs once, whichever threads have a part in them") {
    ThreadPool pool{20};
    constexpr std::size_t most = 45;
    std::vector<std::size_t> runs(most);
    std::vector<std::size_t> expected(most);
    SplitMix64 random{1};
    for (int round = 0; round < 3000; ++round) {
        const std::size_t count = random.below(most + 1);
        for (std::size_t i = 0; i < count; ++i) ++expected[i];
        pool.run(count, [&](std::size_t i) { ++runs[i]; });  // a race if two threads did it, or if one came too late
        REQUIRE(runs == expected);
    }
}

TEST_CASE("threads that sleep wake up for the next round and for the end") {
    for (int round = 0; round < 3; ++round) {
        ThreadPool pool{3};
        std::atomic<int> done{0};
        for (int pause = 0; pause < 3; ++pause) {
            std::this_thread::sleep_for(std::chrono::milliseconds{5});
            pool.run(6, [&](std::size_t) { ++done; });
        }
        std::this_thread::sleep_for(std::chrono::milliseconds{5});
        CHECK(done == 18);
    }
}

TEST_CASE("the caller waits for a slow task") {
    ThreadPool pool{2};
    std::atomic<bool> finished{false};
    pool.run(2, [&](std::size_t i) {
        if (i == 0) return;
        std::this_thread::sleep_for(std::chrono::milliseconds{20});
        finished = true;
    });
    CHECK(finished);
}

TEST_CASE("tasks run in as many threads as the pool has, if they take their time") {
    ThreadPool pool{3};
    for (int round = 0; round < 20; ++round) {
        const auto ids = ids_of(pool);
        CHECK(std::set<::pthread_t>(ids.begin(), ids.end()).size() == 3);
        CHECK(std::ranges::find(ids, ::pthread_self()) != ids.end());
    }
}

#if !defined(__SANITIZE_THREAD__)
TEST_CASE("a round waits for no thread that the system does not run: others do its part") {
    ThreadPool pool{4};
    const std::vector<::pthread_t> ids = ids_of(pool);
    std::signal(SIGUSR1, stop_for_a_while);
    held = true;
    stopped = 0;
    for (const ::pthread_t id : ids) {
        if (id != ::pthread_self()) ::pthread_kill(id, SIGUSR1);
    }
    while (stopped < 3) std::this_thread::yield();
    std::atomic<bool> done = false;
    std::thread release{[&] {  // so that the test fails and does not hang
        for (int i = 0; i < 2000 && !done; ++i) std::this_thread::sleep_for(std::chrono::milliseconds{10});
        held = false;
    }};
    for (std::size_t round = 0; round < 100; ++round) {
        std::vector<int> seen(round);
        pool.run(round, [&](std::size_t i) { ++seen[i]; });
        CHECK(seen == std::vector<int>(round, 1));
    }
    CHECK(held);
    done = true;
    release.join();
    const auto again = ids_of(pool);  // those that were away do nothing of what is over, and go on
    CHECK(std::set<::pthread_t>(again.begin(), again.end()) == std::set<::pthread_t>(ids.begin(), ids.end()));
    std::signal(SIGUSR1, SIG_DFL);
}
#endif

TEST_CASE("what a task throws in any thread reaches the caller through a reference, and ends nothing") {
    ThreadPool pool{3};
    const ExecutorRef executor{pool};
    for (std::size_t bad = 0; bad < 20; ++bad) {
        CAPTURE(bad);
        CHECK_THROWS_AS(executor.run(20,
                                     [bad](std::size_t i) {
                                         if (i >= bad) throw std::bad_alloc{};
                                     }),
                        std::bad_alloc);
    }
    std::atomic<int> ran = 0;
    executor.run(20, [&](std::size_t) { ++ran; });
    CHECK(ran == 20);
}

TEST_CASE("a pool that does nothing ends") {
    for (int i = 0; i < 50; ++i) CHECK(ThreadPool{4}.concurrency() == 4);
}

TEST_CASE("a pool of 0 threads is refused") {
    CHECK_THROWS_WITH_AS(ThreadPool{0}, "a thread pool needs at least 1 thread, found 0", Error);
}
