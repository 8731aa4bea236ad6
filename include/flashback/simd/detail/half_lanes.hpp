/// \file Sixteen numbers of 16 or 8 bits as sixteen floats: exact.
#pragma once

#include "flashback/simd/cache_element.hpp"
#include "flashback/simd/detail/lanes.hpp"

#include <cstddef>

namespace flashback::inline FLASHBACK_ISA::simd {

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

FLASHBACK_SIMD_INLINE Lanes load_lanes(const Int8* from) noexcept {
#if FLASHBACK_SIMD_FLOATS == 16
    return {{_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))))}};
#elif FLASHBACK_SIMD_FLOATS == 8 && defined(__AVX2__)
    return detail::lane_by_lane([&](std::size_t i) FLASHBACK_SIMD_LAMBDA -> Batch {
        const __m128i some = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from + 8 * i));
        return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(some));
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

}  // namespace flashback::inline FLASHBACK_ISA::simd
