// What a round of a ThreadPool costs, beside the same tasks in one thread.
//
// The pool has range(0) threads, which may be more than the machine has processors.
#include "flashback/core/thread_pool.hpp"

#include <chrono>
#include <cstddef>
#include <thread>

#include <benchmark/benchmark.h>

using namespace flashback;

namespace {

/// Half a microsecond, or five.
template <int steps = 2000>
constexpr auto some_work = [](std::size_t /*task*/) {
    for (int i = 0; i < steps; ++i) benchmark::DoNotOptimize(i);
};

void one_thread(benchmark::State& state) {
    for ([[maybe_unused]] auto _ : state) {
        some_work<>(0);
        some_work<>(1);
    }
}
BENCHMARK(one_thread);

/// Rounds of two tasks, one after the other.
void two_tasks(benchmark::State& state) {
    ThreadPool pool{static_cast<std::size_t>(state.range(0))};
    for ([[maybe_unused]] auto _ : state) pool.run(2, some_work<>);
}
BENCHMARK(two_tasks)->Arg(2)->Arg(8)->Arg(64)->UseRealTime();

/// Rounds of a task for each thread.
void a_task_for_each(benchmark::State& state) {
    ThreadPool pool{static_cast<std::size_t>(state.range(0))};
    for ([[maybe_unused]] auto _ : state) pool.run(pool.concurrency(), some_work<>);
}
BENCHMARK(a_task_for_each)->Arg(2)->Arg(8)->Arg(64)->UseRealTime();

/// A round of two tasks after the threads have gone to sleep.
void after_a_pause(benchmark::State& state) {
    using Clock = std::chrono::steady_clock;
    ThreadPool pool{static_cast<std::size_t>(state.range(0))};
    for ([[maybe_unused]] auto _ : state) {
        std::this_thread::sleep_for(std::chrono::microseconds{300});
        const Clock::time_point start = Clock::now();
        pool.run(2, some_work<20'000>);
        state.SetIterationTime(std::chrono::duration<double>(Clock::now() - start).count());
    }
}
BENCHMARK(after_a_pause)->Arg(2)->Arg(8)->Arg(64)->UseManualTime();

}  // namespace
