/// \file Products of pairs of bfloat16, added to sixteen floats: with `vdpbf16ps`, or with other instructions that give the
/// same bits.
///
/// The instruction first adds the product of the odd elements and then that of the even ones, each as a fused multiply-add. It
/// treats subnormal numbers as zeros. (Measured on Zen 4; the pseudocode of Intel's manual says the same.)
#pragma once

#include "flashback/simd/detail/byte_lanes.hpp"
#include "flashback/simd/detail/lanes.hpp"
#include "flashback/tensor/dtype.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>

#if FLASHBACK_SIMD_FLOATS == 16 && defined(__AVX512BF16__) && defined(__AVX512VNNI__)
#define FLASHBACK_SIMD_DOT_BF16
#endif

namespace flashback::inline FLASHBACK_ISA::simd {

#if defined(FLASHBACK_SIMD_AMX)
/// How many inputs one instruction takes; what is missing in the last group is zero (rule R3).
inline constexpr std::size_t bf16_group = 32;
#else
inline constexpr std::size_t bf16_group = 2;
#endif

/// Two consecutive activations of a row, rounded to bfloat16.
struct ActivationPair {
#if defined(FLASHBACK_SIMD_AMX)
    std::uint16_t bits[2];
    /// Subnormal numbers count as zeros before they are rounded, as in `vcvtneps2bf16`.
    FLASHBACK_SIMD_INLINE void set(float even, float odd) noexcept {
        bits[0] = rounded_to_bf16(even);
        bits[1] = rounded_to_bf16(odd);
    }
    static std::uint16_t rounded_to_bf16(float x) noexcept {
        const auto all = std::bit_cast<std::uint32_t>(x);
        return (all & 0x7f800000u) == 0 ? static_cast<std::uint16_t>(all >> 16 & 0x8000u) : float_to_bf16(x);
    }
#elif defined(FLASHBACK_SIMD_DOT_BF16)
    std::uint16_t bits[2];
    FLASHBACK_SIMD_INLINE void set(float even, float odd) noexcept {
        bits[0] = float_to_bf16(even);
        bits[1] = float_to_bf16(odd);
    }
#else
    float value[2];
    FLASHBACK_SIMD_INLINE void set(float even, float odd) noexcept {
        value[0] = bf16_to_float(float_to_bf16(even));
        value[1] = bf16_to_float(float_to_bf16(odd));
    }
#endif
};

/// Rounds a row of activations.
/// Shape     from (n); to (n / 2, rounded up to whole groups): what is missing in the last one is zero
inline void round_pairs(const float* from, std::size_t n, ActivationPair* to) noexcept {
    std::size_t i = 0;
#if defined(FLASHBACK_SIMD_DOT_BF16)
    for (; i + panel_outputs <= n; i += panel_outputs) {
        const __m256bh sixteen = _mm512_cvtneps_pbh(_mm512_loadu_ps(from + i));
        std::memcpy(to + i / 2, &sixteen, sizeof sixteen);
    }
#endif
    for (; i < n; i += 2) to[i / 2].set(from[i], i + 1 < n ? from[i + 1] : 0.0f);
    for (; i % bf16_group != 0; i += 2) to[i / 2].set(0.0f, 0.0f);
}

#if !defined(FLASHBACK_SIMD_AMX)
/// Two weights of each of sixteen outputs.
struct PairLine {
#if defined(FLASHBACK_SIMD_DOT_BF16)
    __m512i pairs;
    FLASHBACK_SIMD_INLINE static PairLine load(const std::byte* line) noexcept { return {_mm512_loadu_si512(line)}; }
#else
    Lanes even, odd;
    FLASHBACK_SIMD_INLINE static PairLine load(const std::byte* line) noexcept {
        const IntLanes pairs = IntLanes::load(line);
        return {bits_as_lanes(pairs.ints_left<16>()), bits_as_lanes(pairs.upper_halves())};
    }
#endif
};

/// sum + odd · odd + even · even, in this order, in every lane.
FLASHBACK_SIMD_INLINE Lanes add_pairs(const Lanes& sum, const PairLine& line, const ActivationPair& pair) noexcept {
#if defined(FLASHBACK_SIMD_DOT_BF16)
    std::int32_t two;
    std::memcpy(&two, &pair, sizeof two);
    return {{_mm512_dpbf16_ps(sum.part[0], reinterpret_cast<__m512bh>(line.pairs),
                              reinterpret_cast<__m512bh>(_mm512_set1_epi32(two)))}};
#else
    return fma(line.even, Lanes::all(pair.value[0]), fma(line.odd, Lanes::all(pair.value[1]), sum));
#endif
}
#endif  // FLASHBACK_SIMD_AMX

}  // namespace flashback::inline FLASHBACK_ISA::simd
