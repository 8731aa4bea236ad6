/// \file The types of elements of a cache, and rows of floats rounded to them.
#pragma once

#include "flashback/simd/detail/lanes.hpp"
#include "flashback/tensor/dtype.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace flashback::inline FLASHBACK_ISA::simd {

/// The element of weights or of a cache: IEEE 754 binary16.
enum class Half : std::uint16_t {};
/// The element of weights or of a cache: the upper half of a float.
enum class BFloat16 : std::uint16_t {};
/// The element of a cache: a whole number from -127 to 127 of steps; how large they are is kept beside each row.
enum class Int8 : std::int8_t {};

/// The value of an element; of an Int8, in steps.
FLASHBACK_SIMD_INLINE float to_float(float x) noexcept { return x; }
FLASHBACK_SIMD_INLINE float to_float(Half x) noexcept { return half_to_float(static_cast<std::uint16_t>(x)); }
FLASHBACK_SIMD_INLINE float to_float(BFloat16 x) noexcept { return bf16_to_float(static_cast<std::uint16_t>(x)); }
FLASHBACK_SIMD_INLINE float to_float(Int8 x) noexcept { return static_cast<float>(static_cast<std::int8_t>(x)); }

/// Rounds a row of floats to another element.
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

/// The step in which a row is rounded to whole numbers: its greatest magnitude over 127, rounded up to 16 bits. So every multiple of it is
/// exact in f32, and a row that was rounded once stays as it is. NaN if the row is not finite; then it becomes NaN.
/// Shape     row (n)
inline float int8_step(const float* row, std::size_t n) noexcept {
    float most = 0;
    bool finite = true;
    for (std::size_t i = 0; i < n; ++i) {
        most = std::max(most, std::fabs(row[i]));
        finite = finite && std::isfinite(row[i]);
    }
    if (!finite) return std::numeric_limits<float>::quiet_NaN();
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(most / 127);
    const float step = std::bit_cast<float>((bits + 0xff) & ~std::uint32_t{0xff});
    return std::isfinite(step) && step * 127 >= std::numeric_limits<float>::min() ? step : 0.0f;
}

/// A number in such steps; ties go to the even one.
inline Int8 in_steps(float x, float step) noexcept {
    const float steps = step > 0 ? std::nearbyint(x / step) : 0.0f;
    return Int8{static_cast<std::int8_t>(std::clamp(steps, -127.0f, 127.0f))};
}

/// Calls `call(Element{})` with the element that a type names: float, Half, BFloat16 or Int8. Tells whether it names one of these.
template <class Call>
constexpr bool with_element(DType type, const Call& call) {
    switch (type) {
        case DType::f32: call(float{}); return true;
        case DType::f16: call(Half{}); return true;
        case DType::bf16: call(BFloat16{}); return true;
        case DType::i8: call(Int8{}); return true;
        default: return false;
    }
}

}  // namespace flashback::inline FLASHBACK_ISA::simd
