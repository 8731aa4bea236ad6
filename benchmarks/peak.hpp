/// \file The most that the machine can do, measured in the same run as what it is compared with.
#pragma once

#include "flashback/core/thread_pool.hpp"
#include "flashback/measure/machine_peaks.hpp"

#include <cstddef>
#include <map>

#include <benchmark/benchmark.h>

namespace flashback_bench {

/// The fused multiply-adds of f32 of this run, operations a second; measured when they are first asked for.
inline double peak(std::size_t threads) {
    static std::map<std::size_t, double> known;
    if (!known.contains(threads)) {
        flashback::ThreadPool pool{threads};
        known[threads] = flashback::f32_peak(pool);
    }
    return known[threads];
}

/// Counters of an iteration of `operations` additions and multiplications: operations a second, and what share of the peak of
/// as many threads that is.
inline void count_operations(benchmark::State& state, double operations, std::size_t threads) {
    using benchmark::Counter;
    state.counters["op/s"] = Counter(operations, Counter::kIsIterationInvariantRate);
    state.counters["share_of_peak"] = Counter(operations / peak(threads), Counter::kIsIterationInvariantRate);
}

inline void count_bytes(benchmark::State& state, double bytes) {
    using benchmark::Counter;
    state.counters["byte/s"] = Counter(bytes, Counter::kIsIterationInvariantRate, Counter::kIs1024);
}

}  // namespace flashback_bench
