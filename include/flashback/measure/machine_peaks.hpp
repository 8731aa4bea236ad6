/// \file The most that the machine can do: arithmetic in registers, and reading memory. It is measured in the same program as
/// what it is compared with.
///
/// A kernel, a prefill or a decode is judged by its share of these peaks in the same run. Each peak is the best of many short
/// bursts, so that other programs on the machine lower it as little as possible.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/executor.hpp"
#include "flashback/simd/bursts.hpp"
#include "flashback/simd/packed_panel.hpp"
#include "flashback/tensor/aligned_buffer.hpp"
#include "flashback/tensor/huge_pages.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <optional>

namespace flashback::inline FLASHBACK_ISA {

/// The most that a number of threads reach, all at the same time. An addition and a multiplication are two operations.
struct MachinePeaks {
    std::size_t threads = 0;          ///< that worked together
    double f32 = 0;                   ///< fused multiply-adds of f32: operations a second
    std::optional<double> bf16 = {};  ///< dot products of bf16: operations a second; absent if there is no instruction
    std::optional<double> int8 = {};  ///< dot products of 8-bit integers: operations a second; absent likewise
    double read = 0;                  ///< reading memory that is in no cache: bytes a second
};

/// How peaks are measured.
struct PeakOptions {
    double seconds = 0.1;                        ///< for each peak; at least two bursts are measured
    std::size_t bytes = std::size_t{512} << 20;  ///< memory to read: many times what the caches hold
};

namespace detail {

/// The most work per second of several rounds, in each of which every thread does the same.
template <class Task>
double best_rate(const ExecutorRef& executor, double work_of_all, double seconds, const Task& task) {
    using Clock = std::chrono::steady_clock;
    const auto since = [](Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); };
    double best = 0;
    const Clock::time_point begin = Clock::now();
    for (std::size_t round = 0; round < 2 || since(begin) < seconds; ++round) {
        const Clock::time_point start = Clock::now();
        executor.run(executor.concurrency(), task);
        best = std::max(best, work_of_all / std::max(since(start), 1e-9));
    }
    return best;
}

/// Operations a second of bursts that all threads run at once.
template <class Burst>
double operations_peak(const ExecutorRef& executor, double operations, double seconds, const Burst& burst) {
    return best_rate(executor, operations * static_cast<double>(executor.concurrency()), seconds,
                     [&](std::size_t) { burst(); });
}

}  // namespace detail

/// Fused multiply-adds of f32 (what `simd::fma` is here) in registers: operations a second.
inline double f32_peak(const ExecutorRef& executor, double seconds = PeakOptions{}.seconds) {
    return detail::operations_peak(executor, simd::f32_burst_operations, seconds, [] { simd::f32_burst(); });
}

/// Dot products of bf16, added to f32, in registers: operations a second of tiles if products use the processor's
/// (simd::tiles()), else of AVX-512 BF16; nothing if there is no such instruction.
inline std::optional<double> bf16_peak(const ExecutorRef& executor, double seconds = PeakOptions{}.seconds) {
    if (const double operations = simd::bf16_tile_burst_operations(); operations > 0)
        return detail::operations_peak(executor, operations, seconds, [] { simd::bf16_tile_burst(); });
    if (simd::bf16_burst_operations == 0) return {};
    return detail::operations_peak(executor, simd::bf16_burst_operations, seconds, [] { simd::bf16_burst(); });
}

/// Dot products of 8-bit integers in registers: operations a second of tiles if products use the processor's (simd::tiles());
/// else of `vpdpbusd` (AVX-512 VNNI or AVX VNNI); or of `pmaddubsw`
/// and an addition of 16 bits (as weights of 4 to 6 bits are multiplied; those of 8 bits are widened, which halves it); or of
/// `pmaddwd` and an addition on widened bytes. Nothing if there is none of these.
inline std::optional<double> int8_peak(const ExecutorRef& executor, double seconds = PeakOptions{}.seconds) {
    if (const double operations = simd::int8_tile_burst_operations(); operations > 0)
        return detail::operations_peak(executor, operations, seconds, [] { simd::int8_tile_burst(); });
    if (simd::int8_burst_operations == 0) return {};
    return detail::operations_peak(executor, simd::int8_burst_operations, seconds, [] { simd::int8_burst(); });
}

/// Memory to read that no thread has in its cache.
class ReadStream {
public:
    /// Throws    std::bad_alloc
    /// Cost      writes all bytes once, each part in the thread that will read it
    ReadStream(const ExecutorRef& executor, std::size_t bytes)
        : executor_(executor),
          floats_(std::max<std::size_t>(bytes / (most_streams * line_bytes * executor.concurrency()), 1) * most_streams *
                  simd::panel_outputs),
          // With small pages, walks through the page table would be measured as well.
          memory_(in_huge_pages(AlignedBuffer<float>{floats_ * executor.concurrency()})) {
        executor_.run(executor_.concurrency(),
                      [&](std::size_t part) { std::fill_n(memory_.data() + part * floats_, floats_, 0.0f); });
    }

    /// Reads everything once with all threads: bytes a second, the best of several times and of several ways. Which way is
    /// fastest depends on the processor: on what it fetches by itself, and how many places it can follow.
    double measure(double seconds = PeakOptions{}.seconds) const {
        return std::max({measure_way<1, 0>(seconds / 4), measure_way<4, 0>(seconds / 4), measure_way<4, 16>(seconds / 4),
                         measure_way<most_streams, 0>(seconds / 4)});
    }

private:
    static constexpr std::size_t most_streams = 8;
    static constexpr std::size_t line_bytes = simd::panel_outputs * sizeof(float);

    template <std::size_t Streams, std::size_t Ahead>
    double measure_way(double seconds) const {
        return detail::best_rate(
            executor_, static_cast<double>(memory_.size() * sizeof(float)), seconds,
            [&](std::size_t part) { simd::read_streams<Streams, Ahead>(memory_.data() + part * floats_, floats_); });
    }

    ExecutorRef executor_;
    std::size_t floats_;  // floats of one thread
    AlignedBuffer<float> memory_;
};

/// All peaks, with as many threads as the executor runs at once.
/// Throws    std::bad_alloc
/// Cost      about `seconds` for each peak, and the memory to read
inline MachinePeaks measure_peaks(const ExecutorRef& executor, const PeakOptions& options = {}) {
    MachinePeaks peaks{.threads = executor.concurrency(), .f32 = f32_peak(executor, options.seconds)};
    peaks.bf16 = bf16_peak(executor, options.seconds);
    peaks.int8 = int8_peak(executor, options.seconds);
    peaks.read = ReadStream{executor, options.bytes}.measure(options.seconds);
    return peaks;
}

}  // namespace flashback::inline FLASHBACK_ISA
