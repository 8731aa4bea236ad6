/// \file The exponential of the forward path, as one chain of fused multiply-adds that a compiler can vectorise.
#pragma once

#include "flashback/simd/fma.hpp"

#include <bit>
#include <cstdint>

namespace flashback::inline FLASHBACK_ISA::testing::plain {

/// e^x to within 2 units in the last place; 0 below -87.3365 (the result is subnormal there, or almost), infinity above
/// 88.7228, NaN for NaN.
/// Source    Cody and Waite 1980, Software manual for the elementary functions, chapter 6 (argument reduction); the polynomial
///           is that of Cephes' expf
inline float exp(float x) noexcept {
    constexpr float lowest = -87.3365f;
    constexpr float highest = 88.7228f;
    constexpr float to_integer = 0x1.8p23f;  // adding it leaves the rounded integer in the lowest bits of the fraction
    const float bounded = x < lowest ? lowest : (x > highest ? highest : x);
    const float shifted = simd::fma(bounded, 0x1.715476p0f, to_integer);
    const float n = shifted - to_integer;
    float r = simd::fma(n, -0x1.62e4p-1f, bounded);  // ln 2 in two parts; n times the first is exact
    r = simd::fma(n, -0x1.7f7d1cp-20f, r);

    float p = 1.9875691500e-4f;
    p = simd::fma(p, r, 1.3981999507e-3f);
    p = simd::fma(p, r, 8.3334519073e-3f);
    p = simd::fma(p, r, 4.1665795894e-2f);
    p = simd::fma(p, r, 1.6666665459e-1f);
    p = simd::fma(p, r, 5.0000001201e-1f);
    p = simd::fma(p, r * r, r) + 1.0f;

    // 2^n as two factors, because 2^128 is not a float
    const std::int32_t exponent = static_cast<std::int32_t>(std::bit_cast<std::uint32_t>(shifted) & 0x7fffffu) - 0x400000;
    const std::int32_t half = exponent >> 1;
    const float scale_a = std::bit_cast<float>((half + 127) << 23);
    const float scale_b = std::bit_cast<float>((exponent - half + 127) << 23);
    const float y = p * scale_a * scale_b;
    const float low = x < lowest ? 0.0f : y;
    return x > highest ? __builtin_inff() : low;
}

}  // namespace flashback::inline FLASHBACK_ISA::testing::plain
