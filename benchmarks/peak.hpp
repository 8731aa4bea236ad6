/// \file What the machine can do at most, measured in the same run as what it is compared with.
#pragma once

#include "flashback/core/thread_pool.hpp"
#include "flashback/simd/fma.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <map>

#include <benchmark/benchmark.h>

namespace flashback_bench {

/// Fused multiply-adds of f32 in registers: operations a second, two for each multiply-add; the best of several bursts.
inline double measure_peak(std::size_t threads) {
    namespace simd = flashback::simd;
    constexpr std::size_t chains = 12;  // more than latency times throughput of any processor; fits into 16 registers
    constexpr std::size_t steps = 1 << 20;
    const auto burst = [](std::size_t) {
        simd::Batch sum[chains];
#pragma GCC unroll 16
        for (std::size_t c = 0; c < chains; ++c) sum[c] = simd::Batch(static_cast<float>(c));
        simd::Batch factor(0.999f);
        for (std::size_t i = 0; i < steps; ++i) {
#pragma GCC unroll 16
            for (std::size_t c = 0; c < chains; ++c) sum[c] = simd::rounded(simd::fma(sum[c], factor, factor));
        }
        for (const simd::Batch& s : sum) benchmark::DoNotOptimize(s);
    };
    flashback::ThreadPool pool{threads};
    double best = 0;
    for (int i = 0; i < 12; ++i) {
        const auto start = std::chrono::steady_clock::now();
        pool.run(threads, burst);
        const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
        const double operations = 2.0 * steps * chains * simd::batch_floats * static_cast<double>(threads);
        best = std::max(best, operations / time.count());
    }
    return best;
}

/// The peak of this run; measured when it is first asked for.
inline double peak(std::size_t threads) {
    static std::map<std::size_t, double> known;
    if (!known.contains(threads)) known[threads] = measure_peak(threads);
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
