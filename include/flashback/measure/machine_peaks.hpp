/// \file What the machine can do at most: arithmetic in registers, and reading of memory. It is measured in the same program as
/// what it is compared with.
///
/// A kernel, a prefill or a decode is judged by its share of these peaks in the same run. Each peak is the best of many short
/// bursts, so that other programs on the machine lower it as little as possible.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/executor.hpp"
#include "flashback/simd/byte_lanes.hpp"
#include "flashback/simd/lanes.hpp"
#include "flashback/tensor/aligned_buffer.hpp"
#include "flashback/tensor/huge_pages.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace flashback::inline FLASHBACK_ISA::simd {

/// What a number of threads reach at most, all at the same time. An addition and a multiplication are two operations.
struct MachinePeaks {
    std::size_t threads = 0;
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

/// The same value. The compiler must have it in a register here, and knows nothing about it.
template <class Value>
FLASHBACK_SIMD_INLINE void keep(Value& value) noexcept {
#if FLASHBACK_SIMD_FLOATS == 16
    asm volatile("" : "+v"(value));
#elif defined(__x86_64__)
    asm volatile("" : "+x"(value));
#elif defined(__aarch64__)
    asm volatile("" : "+w"(value));
#else
    asm volatile("" : : "g"(&value) : "memory");
#endif
}

// Independent chains: at least latency times throughput of any processor (6 cycles of a bf16 dot product, two at a time), and
// at most what the registers hold beside the factors.
inline constexpr std::size_t peak_chains = 12;
inline constexpr std::size_t peak_steps = std::size_t{1} << 18;  // about a millisecond

/// `peak_chains` chains of `peak_steps` operations each.
template <class Register, class Operation>
FLASHBACK_SIMD_INLINE void run_chains(const Register& start, const Operation& operation) noexcept {
    Register sum[peak_chains];
#pragma GCC unroll 16
    for (Register& chain : sum) chain = start;
    for (std::size_t i = 0; i < peak_steps; ++i) {
#pragma GCC unroll 16
        for (Register& chain : sum) {
            chain = operation(chain);
            keep(chain);
        }
    }
}

/// Operations a second of chains in which every step does `operations`.
template <class Burst>
double operations_peak(const ExecutorRef& executor, double operations, double seconds, const Burst& burst) {
    const double all = operations * peak_chains * peak_steps * static_cast<double>(executor.concurrency());
    return best_rate(executor, all, seconds, [&](std::size_t) { burst(); });
}

}  // namespace detail

/// Fused multiply-adds of f32 (what `fma` is here) in registers: operations a second.
inline double f32_peak(const ExecutorRef& executor, double seconds = PeakOptions{}.seconds) {
    return detail::operations_peak(executor, 2.0 * batch_floats, seconds, [] {
#if FLASHBACK_SIMD_FLOATS == 1
        float factor = 0.999f;
        detail::keep(factor);
        detail::run_chains(1.0f, [&](float sum) { return fma(sum, factor, factor); });
#else
        using Register = Batch::register_type;
        Register factor = Batch(0.999f);
        detail::keep(factor);
        detail::run_chains(Register(Batch(1.0f)), [&](const Register& sum) { return Register(fma(sum, factor, factor)); });
#endif
    });
}

/// Dot products of two bf16 each, added to f32 (AVX-512 BF16), in registers: operations a second; nothing without the
/// instruction.
inline std::optional<double> bf16_peak(const ExecutorRef& executor, double seconds = PeakOptions{}.seconds) {
#if defined(__AVX512BF16__) && FLASHBACK_SIMD_FLOATS == 16
    return detail::operations_peak(executor, 2.0 * 32, seconds, [] {
        __m512 bits = _mm512_set1_ps(0x1.0101p0f);  // as pairs of bf16: about 1 and about 0
        detail::keep(bits);
        const auto factor = reinterpret_cast<__m512bh>(bits);
        detail::run_chains(_mm512_setzero_ps(), [&](__m512 sum) { return _mm512_dpbf16_ps(sum, factor, factor); });
    });
#else
    static_cast<void>(executor), static_cast<void>(seconds);
    return {};
#endif
}

/// Dot products of 8-bit integers, added to 32 bits, in registers: operations a second of `vpdpbusd` (AVX-512 VNNI or AVX
/// VNNI), or of `pmaddwd` and an addition on widened bytes; nothing if there is neither.
inline std::optional<double> int8_peak(const ExecutorRef& executor, double seconds = PeakOptions{}.seconds) {
#if !defined(FLASHBACK_SIMD_INT_LOOPS)
#if defined(FLASHBACK_SIMD_DOT_BYTES)
    constexpr std::size_t products = sizeof(detail::IntBatch);
#else
    constexpr std::size_t products = sizeof(detail::IntBatch) / 2;
#endif
    return detail::operations_peak(executor, 2.0 * products, seconds, [] {
        detail::IntBatch factor = detail::all_ints(0x00010001);
        detail::run_chains(detail::all_ints(0), [&](const detail::IntBatch& sum) {
            detail::keep(factor);  // each time, so that the product is not computed once for all
#if defined(FLASHBACK_SIMD_DOT_BYTES)
            return detail::add_quads(sum, factor, factor);
#else
            return detail::add_pairs(sum, factor, factor);
#endif
        });
    });
#else
    static_cast<void>(executor), static_cast<void>(seconds);
    return {};
#endif
}

/// Memory to read that no thread has in its cache.
class ReadStream {
public:
    /// Throws    std::bad_alloc
    /// Cost      writes all bytes once, each part in the thread that will read it
    ReadStream(const ExecutorRef& executor, std::size_t bytes)
        : executor_(executor),
          floats_(std::max<std::size_t>(bytes / (most_streams * line_bytes * executor.concurrency()), 1) * most_streams *
                  panel_outputs),
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
    static constexpr std::size_t line_bytes = panel_outputs * sizeof(float);

    template <std::size_t Streams, std::size_t Ahead>
    double measure_way(double seconds) const {
        return detail::best_rate(executor_, static_cast<double>(memory_.size() * sizeof(float)), seconds,
                                 [&](std::size_t part) { read<Streams, Ahead>(memory_.data() + part * floats_); });
    }

    /// Reads `Streams` places in turn, and asks for lines `Ahead` lines before it reads them.
    template <std::size_t Streams, std::size_t Ahead>
    void read(const float* part) const noexcept {
        const std::size_t stream = floats_ / Streams;
        Lanes sum[Streams];
#pragma GCC unroll 16
        for (std::size_t s = 0; s < Streams; ++s) sum[s] = Lanes::all(0.0f);
        for (std::size_t i = 0; i < stream; i += panel_outputs) {
#pragma GCC unroll 16
            for (std::size_t s = 0; s < Streams; ++s) {
                const float* line = part + s * stream + i;
                // The last lines ask for the last one again: after it there may be nothing.
                if constexpr (Ahead > 0)
                    __builtin_prefetch(part + std::min(s * stream + i + Ahead * panel_outputs, floats_ - 1));
                sum[s] = sum[s] + Lanes::load(line);
            }
        }
        for (Lanes& lanes : sum) {
            for (Batch& batch : lanes.part) {
#if FLASHBACK_SIMD_FLOATS == 1
                detail::keep(batch);
#else
                Batch::register_type bits = batch;
                detail::keep(bits);
#endif
            }
        }
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

}  // namespace flashback::inline FLASHBACK_ISA::simd
