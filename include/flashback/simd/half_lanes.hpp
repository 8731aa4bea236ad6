/// \file Sixteen 16-bit numbers as sixteen floats, and back. The first is exact; the second rounds to nearest even.
#pragma once

#include "flashback/simd/lanes.hpp"
#include "flashback/tensor/dtype.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace flashback::inline FLASHBACK_ISA::simd {

/// The element of weights or of a cache: IEEE 754 binary16.
enum class Half : std::uint16_t {};
/// The element of weights or of a cache: the upper half of a float.
enum class BFloat16 : std::uint16_t {};

FLASHBACK_SIMD_INLINE float to_float(float x) noexcept { return x; }
FLASHBACK_SIMD_INLINE float to_float(Half x) noexcept { return half_to_float(static_cast<std::uint16_t>(x)); }
FLASHBACK_SIMD_INLINE float to_float(BFloat16 x) noexcept { return bf16_to_float(static_cast<std::uint16_t>(x)); }

/// Shape     from (16), at any address
FLASHBACK_SIMD_INLINE Lanes load_lanes(const float* from) noexcept { return Lanes::load(from); }

FLASHBACK_SIMD_INLINE Lanes load_lanes(const Half* from) noexcept {
#if FLASHBACK_SIMD_FLOATS == 16
    return {{_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)))}};
#elif FLASHBACK_SIMD_FLOATS == 8 && defined(__F16C__) && defined(__AVX2__) && defined(__FMA__)
    return detail::lane_by_lane([&](std::size_t i) FLASHBACK_SIMD_LAMBDA -> Batch {
        return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from) + i));
    });
#else
    float whole[panel_outputs];
    for (std::size_t j = 0; j < panel_outputs; ++j) whole[j] = to_float(from[j]);
    return Lanes::load(whole);
#endif
}

FLASHBACK_SIMD_INLINE Lanes load_lanes(const BFloat16* from) noexcept {
#if FLASHBACK_SIMD_FLOATS == 16
    const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
    return {{_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16))}};
#elif FLASHBACK_SIMD_FLOATS == 8 && defined(__AVX2__)
    return detail::lane_by_lane([&](std::size_t i) FLASHBACK_SIMD_LAMBDA -> Batch {
        const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from) + i));
        return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
    });
#else
    float whole[panel_outputs];
    for (std::size_t j = 0; j < panel_outputs; ++j) whole[j] = to_float(from[j]);
    return Lanes::load(whole);
#endif
}

/// The first `count` of sixteen, and 0 in the other lanes; later numbers are not read.
template <class Element>
FLASHBACK_SIMD_INLINE Lanes load_first_lanes(const Element* from, std::size_t count) noexcept {
    if (count >= panel_outputs) return load_lanes(from);
    float whole[panel_outputs];
    for (std::size_t j = 0; j < panel_outputs; ++j) whole[j] = j < count ? to_float(from[j]) : 0.0f;
    return Lanes::load(whole);
}

/// Rounds a row of floats to another element type.
/// Shape     from, to (n)
inline void round_row(const float* from, std::size_t n, float* to) noexcept { std::copy_n(from, n, to); }

// At -O0, g++'s intrinsics for this are macros that convert -1 to a mask.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wsign-conversion"
inline void round_row(const float* from, std::size_t n, Half* to) noexcept {
    std::size_t i = 0;
#if FLASHBACK_SIMD_FLOATS == 16
    for (; i + 16 <= n; i += 16) {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i),
                            _mm512_cvtps_ph(_mm512_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
    }
#elif FLASHBACK_SIMD_FLOATS == 8 && defined(__F16C__) && defined(__AVX2__) && defined(__FMA__)
    for (; i + 8 <= n; i += 8) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i),
                         _mm256_cvtps_ph(_mm256_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT));
    }
#endif
    for (; i < n; ++i) to[i] = Half{float_to_half(from[i])};
}
#pragma GCC diagnostic pop

inline void round_row(const float* from, std::size_t n, BFloat16* to) noexcept {
    for (std::size_t i = 0; i < n; ++i) to[i] = BFloat16{float_to_bf16(from[i])};
}

/// The same, but to a column: element i goes to to[i · stride].
template <class Element>
inline void round_strided(const float* from, std::size_t n, Element* to, std::size_t stride) noexcept {
    Element whole[panel_outputs];
    each_lanes(n, [&](std::size_t i, std::size_t count) FLASHBACK_SIMD_LAMBDA {
        round_row(from + i, count, whole);
        for (std::size_t j = 0; j < count; ++j) to[(i + j) * stride] = whole[j];
    });
}

/// Calls `call(Element{})` with the element that a type names: float, Half or BFloat16. Tells whether it names one of these.
template <class Call>
constexpr bool with_element(DType type, const Call& call) {
    switch (type) {
        case DType::f32: call(float{}); return true;
        case DType::f16: call(Half{}); return true;
        case DType::bf16: call(BFloat16{}); return true;
        default: return false;
    }
}

}  // namespace flashback::inline FLASHBACK_ISA::simd
