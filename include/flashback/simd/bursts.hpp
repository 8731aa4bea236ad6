/// \file Short bursts of the most that the machine can do: arithmetic in registers, and reading memory.
#pragma once

#include "flashback/simd/detail/amx_matmul.hpp"
#include "flashback/simd/detail/byte_lanes.hpp"
#include "flashback/simd/detail/lanes.hpp"
#include "flashback/simd/detail/small_sums.hpp"
#include "flashback/simd/tiles.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>

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

#if defined(FLASHBACK_SIMD_AMX)
inline constexpr std::size_t tile_burst_rounds = std::size_t{1} << 15;  // about a millisecond, too
inline constexpr std::size_t tile_burst_chains = 4;                     // 52 cycles of latency, one product in 16

/// `rounds` products for each of four full tiles of sums: every element of the others is 1. Bytes or bf16.
template <class Tiles, bool Bytes>
void tile_burst(std::size_t rounds) noexcept {
    std::uint16_t ones[tile_row_bytes / sizeof(std::uint16_t)];
    std::ranges::fill(ones, static_cast<std::uint16_t>(Bytes ? 0x0101 : 0x3f80));
    constexpr std::size_t full[2] = {tile_rows, tile_rows};
    Tiles tiles;
    tiles.configure(full);
    each_constant<2>([&](auto i) FLASHBACK_SIMD_LAMBDA {
        tiles.template load<activation_tile(i)>(ones, 0);
        tiles.template load<weight_tile(i)>(ones, 0);
    });
    for (std::size_t round = 0; round < rounds; ++round) {
        each_sum<2, 2>([&](auto r, auto p) FLASHBACK_SIMD_LAMBDA {
            if constexpr (Bytes) {
                tiles.template multiply_bytes<sum_tile(r, p), activation_tile(r), weight_tile(p)>();
            } else {
                tiles.template multiply<sum_tile(r, p), activation_tile(r), weight_tile(p)>();
            }
        });
    }
}
#endif

/// Additions and multiplications of a burst of tiles, if products use the processor's own. A tile has `inputs` elements a row.
inline double tile_burst_operations([[maybe_unused]] std::size_t inputs) noexcept {
#if defined(FLASHBACK_SIMD_AMX)
    if (tiles().use == TileUse::tiles)
        return 2.0 * static_cast<double>(inputs * tile_rows * panel_outputs * tile_burst_chains * tile_burst_rounds);
#endif
    return 0;
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

// Under the tag `amx` products of bf16 do without the instruction for vectors.
#if defined(__AVX512BF16__) && FLASHBACK_SIMD_FLOATS == 16 && !defined(FLASHBACK_SIMD_AMX)
#define FLASHBACK_DETAIL_BF16_BURST
#endif
/// Operations of one call of bf16_burst; 0 if there is no instruction for dot products of bf16, or if tiles take its place; then
/// the call does nothing.
#if defined(FLASHBACK_DETAIL_BF16_BURST)
inline constexpr double bf16_burst_operations = 2.0 * 32 * static_cast<double>(detail::peak_chains * detail::peak_steps);
#else
inline constexpr double bf16_burst_operations = 0;
#endif
/// The same with dot products of bf16.
[[gnu::noinline]] inline void bf16_burst() noexcept {
#if defined(FLASHBACK_DETAIL_BF16_BURST)
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

/// Operations of one call of bf16_tile_burst; 0 if products do not use the processor's tiles (their software twin is no peak);
/// then the call does nothing.
inline double bf16_tile_burst_operations() noexcept { return detail::tile_burst_operations(32); }
/// The same with products of bf16 in tiles. The registers are given back at its end.
[[gnu::noinline]] inline void bf16_tile_burst() noexcept {
#if defined(FLASHBACK_SIMD_AMX) && !defined(FLASHBACK_AMX_EMULATE)
    if (tiles().use == TileUse::tiles) detail::tile_burst<detail::AmxTiles, false>(detail::tile_burst_rounds);
#endif
}

/// Operations of one call of int8_tile_burst; 0 likewise.
inline double int8_tile_burst_operations() noexcept { return detail::tile_burst_operations(64); }
/// The same with products of bytes in tiles.
[[gnu::noinline]] inline void int8_tile_burst() noexcept {
#if defined(FLASHBACK_SIMD_AMX) && !defined(FLASHBACK_AMX_EMULATE)
    if (tiles().use == TileUse::tiles) detail::tile_burst<detail::AmxTiles, true>(detail::tile_burst_rounds);
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
