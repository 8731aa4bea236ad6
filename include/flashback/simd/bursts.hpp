/// \file Short bursts of the most that the machine can do: arithmetic in registers, and reading memory.
#pragma once

#include "flashback/simd/detail/byte_lanes.hpp"
#include "flashback/simd/detail/lanes.hpp"
#include "flashback/simd/detail/small_sums.hpp"

#include <algorithm>
#include <cstddef>

namespace flashback::inline FLASHBACK_ISA::simd {

namespace detail {

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

/// `peak_chains` chains of `peak_steps` operations each. Functions that call this are not inlined: g++ -O3 keeps the chains in
/// memory then (measured with AVX2: half of the peak).
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

}  // namespace detail

/// Operations of one call of f32_burst: about a millisecond of fused multiply-adds.
inline constexpr double f32_burst_operations =
    2.0 * batch_floats * static_cast<double>(detail::peak_chains * detail::peak_steps);
/// Keeps the units for fused multiply-adds busy, and nothing else.
[[gnu::noinline]] inline void f32_burst() noexcept {
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
}

/// Operations of one call of bf16_burst; 0 if there is no instruction for dot products of bf16; then the call does nothing.
#if defined(__AVX512BF16__) && FLASHBACK_SIMD_FLOATS == 16
inline constexpr double bf16_burst_operations = 2.0 * 32 * static_cast<double>(detail::peak_chains * detail::peak_steps);
#else
inline constexpr double bf16_burst_operations = 0;
#endif
/// The same with dot products of bf16.
[[gnu::noinline]] inline void bf16_burst() noexcept {
#if defined(__AVX512BF16__) && FLASHBACK_SIMD_FLOATS == 16
    __m512 bits = _mm512_set1_ps(0x1.0101p0f);  // as pairs of bf16: about 1 and about 0
    detail::keep(bits);
    const auto factor = reinterpret_cast<__m512bh>(bits);
    detail::run_chains(_mm512_setzero_ps(), [&](__m512 sum) { return _mm512_dpbf16_ps(sum, factor, factor); });
#endif
}

/// Operations of one call of int8_burst; 0 if there are no instructions for dot products of integers; then the call does
/// nothing.
#if defined(FLASHBACK_SIMD_INT_LOOPS)
inline constexpr double int8_burst_operations = 0;
#elif defined(FLASHBACK_SIMD_DOT_BYTES) || defined(FLASHBACK_SIMD_DOT_SMALL)
inline constexpr double int8_burst_operations =
    2.0 * sizeof(detail::IntBatch) * static_cast<double>(detail::peak_chains * detail::peak_steps);
#else
inline constexpr double int8_burst_operations =
    1.0 * sizeof(detail::IntBatch) * static_cast<double>(detail::peak_chains * detail::peak_steps);
#endif
/// The same with dot products of integers of 8 bits.
[[gnu::noinline]] inline void int8_burst() noexcept {
#if !defined(FLASHBACK_SIMD_INT_LOOPS)
    detail::IntBatch factor = detail::all_ints(0x00010001);
    detail::run_chains(detail::all_ints(0), [&](const detail::IntBatch& sum) {
        detail::keep(factor);  // each time, so that the product is not computed once for all
#if defined(FLASHBACK_SIMD_DOT_BYTES)
        return detail::add_quads(sum, factor, factor);
#elif defined(FLASHBACK_SIMD_DOT_SMALL)
        return detail::add_small_quads(sum, factor, factor);
#else
        return detail::add_pairs(sum, factor, factor);
#endif
    });
#endif
}

/// Reads memory once, at `Streams` places in turn, and asks for lines `Ahead` lines before it reads them.
/// Shape     from (floats)
/// Requires  floats is a multiple of 16 · Streams
template <std::size_t Streams, std::size_t Ahead>
void read_streams(const float* from, std::size_t floats) noexcept {
    const std::size_t stream = floats / Streams;
    Lanes sum[Streams];
#pragma GCC unroll 16
    for (std::size_t s = 0; s < Streams; ++s) sum[s] = Lanes::all(0.0f);
    for (std::size_t i = 0; i < stream; i += panel_outputs) {
#pragma GCC unroll 16
        for (std::size_t s = 0; s < Streams; ++s) {
            // The last lines ask for the last one again: after it there may be nothing.
            if constexpr (Ahead > 0) __builtin_prefetch(from + std::min(s * stream + i + Ahead * panel_outputs, floats - 1));
            sum[s] = sum[s] + Lanes::load(from + s * stream + i);
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

}  // namespace flashback::inline FLASHBACK_ISA::simd
