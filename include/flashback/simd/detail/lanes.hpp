/// \file Sixteen floats side by side, whatever the width of the registers. The kernels are written in them.
///
/// A panel of 16 outputs, a group of 16 keys and 16 elements of a row are one `Lanes` everywhere: one batch of AVX-512, two of
/// AVX2, four of SSE2 or NEON. So sums have the same order on every processor, and all processors that have a fused
/// multiply-add give the same bits.
#pragma once

#include "flashback/simd/fma.hpp"
#include "flashback/simd/packed_panel.hpp"

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace flashback::inline FLASHBACK_ISA::simd {

namespace detail {

// Loops over the batches of Lanes have a fixed length and must be unrolled; otherwise the batches live in memory.
template <class Call>
FLASHBACK_SIMD_INLINE void each_batch(const Call& call) noexcept {
#pragma GCC unroll 16
    for (std::size_t i = 0; i < panel_outputs / batch_floats; ++i) call(i);
}

#if FLASHBACK_SIMD_FLOATS == 1
FLASHBACK_SIMD_INLINE Batch load_batch(const float* from) noexcept { return *from; }
FLASHBACK_SIMD_INLINE void store_batch(const Batch& x, float* to) noexcept { *to = x; }
FLASHBACK_SIMD_INLINE Batch select_batch(bool condition, Batch yes, Batch no) noexcept { return condition ? yes : no; }
FLASHBACK_SIMD_INLINE Batch sqrt_batch(Batch x) noexcept { return std::sqrt(x); }
#else
FLASHBACK_SIMD_INLINE Batch load_batch(const float* from) noexcept { return Batch::load_unaligned(from); }
FLASHBACK_SIMD_INLINE void store_batch(const Batch& x, float* to) noexcept { x.store_unaligned(to); }
FLASHBACK_SIMD_INLINE Batch select_batch(const Batch::batch_bool_type& condition, const Batch& yes, const Batch& no) noexcept {
    return xsimd::select(condition, yes, no);
}
FLASHBACK_SIMD_INLINE Batch sqrt_batch(const Batch& x) noexcept { return xsimd::sqrt(x); }
#endif

}  // namespace detail

/// Sixteen floats.
struct Lanes {
    static constexpr std::size_t batches = panel_outputs / batch_floats;
    Batch part[batches];

    /// The same number in every lane.
    FLASHBACK_SIMD_INLINE static Lanes all(float x) noexcept {
        Lanes y;
        const Batch one(x);
        detail::each_batch([&](std::size_t i) FLASHBACK_SIMD_LAMBDA { y.part[i] = one; });
        return y;
    }

    /// Shape     from (16), at any address
    FLASHBACK_SIMD_INLINE static Lanes load(const float* from) noexcept {
        Lanes y;
        detail::each_batch([&](std::size_t i)
                               FLASHBACK_SIMD_LAMBDA { y.part[i] = detail::load_batch(from + i * batch_floats); });
        return y;
    }

    /// The first `count` lanes from memory, and `rest` in the others; later numbers are not read.
    FLASHBACK_SIMD_INLINE static Lanes load_first(const float* from, std::size_t count, float rest = 0) noexcept {
        if (count >= panel_outputs) return load(from);
        float whole[panel_outputs];
        for (std::size_t j = 0; j < panel_outputs; ++j) whole[j] = j < count ? from[j] : rest;
        return load(whole);
    }

    FLASHBACK_SIMD_INLINE void store(float* to) const noexcept {
        detail::each_batch([&](std::size_t i) FLASHBACK_SIMD_LAMBDA { detail::store_batch(part[i], to + i * batch_floats); });
    }

    /// Stores the first `count` lanes; nothing is written after them.
    FLASHBACK_SIMD_INLINE void store_first(float* to, std::size_t count) const noexcept {
        if (count >= panel_outputs) return store(to);
        float whole[panel_outputs];
        store(whole);
        for (std::size_t j = 0; j < count; ++j) to[j] = whole[j];
    }
};

/// Calls `body(i, count)` for every 16 elements of a row; the last ones may be fewer. `count` is a constant 16 except for
/// those, so that `load_first` and `store_first` are plain loads and stores.
template <class Body>
FLASHBACK_SIMD_INLINE void each_lanes(std::size_t n, const Body& body) noexcept {
    std::size_t i = 0;
    for (; i + panel_outputs <= n; i += panel_outputs) body(i, std::integral_constant<std::size_t, panel_outputs>{});
    if (i < n) body(i, n - i);
}

namespace detail {

template <class Operation>
FLASHBACK_SIMD_INLINE Lanes lane_by_lane(const Operation& operation) noexcept {
    Lanes y;
    each_batch([&](std::size_t i) FLASHBACK_SIMD_LAMBDA { y.part[i] = operation(i); });
    return y;
}

}  // namespace detail

FLASHBACK_SIMD_INLINE Lanes operator+(const Lanes& a, const Lanes& b) noexcept {
    return detail::lane_by_lane([&](std::size_t i) FLASHBACK_SIMD_LAMBDA { return a.part[i] + b.part[i]; });
}

FLASHBACK_SIMD_INLINE Lanes operator-(const Lanes& a, const Lanes& b) noexcept {
    return detail::lane_by_lane([&](std::size_t i) FLASHBACK_SIMD_LAMBDA { return a.part[i] - b.part[i]; });
}

/// A product that is rounded by itself, whatever is added to it later.
FLASHBACK_SIMD_INLINE Lanes operator*(const Lanes& a, const Lanes& b) noexcept {
    return detail::lane_by_lane([&](std::size_t i) FLASHBACK_SIMD_LAMBDA { return rounded(a.part[i] * b.part[i]); });
}

FLASHBACK_SIMD_INLINE Lanes operator/(const Lanes& a, const Lanes& b) noexcept {
    return detail::lane_by_lane([&](std::size_t i) FLASHBACK_SIMD_LAMBDA { return a.part[i] / b.part[i]; });
}

FLASHBACK_SIMD_INLINE Lanes fma(const Lanes& a, const Lanes& b, const Lanes& c) noexcept {
    return detail::lane_by_lane([&](std::size_t i) FLASHBACK_SIMD_LAMBDA { return fma(a.part[i], b.part[i], c.part[i]); });
}

/// The square root of every lane, rounded once; NaN below 0.
FLASHBACK_SIMD_INLINE Lanes sqrt(const Lanes& a) noexcept {
    return detail::lane_by_lane([&](std::size_t i) FLASHBACK_SIMD_LAMBDA { return detail::sqrt_batch(a.part[i]); });
}

/// a < b ? yes : no in every lane; no if a or b is NaN.
FLASHBACK_SIMD_INLINE Lanes where_less(const Lanes& a, const Lanes& b, const Lanes& yes, const Lanes& no) noexcept {
    return detail::lane_by_lane([&](std::size_t i) FLASHBACK_SIMD_LAMBDA {
        return detail::select_batch(a.part[i] < b.part[i], yes.part[i], no.part[i]);
    });
}

/// a == b ? yes : no in every lane; no if a or b is NaN.
FLASHBACK_SIMD_INLINE Lanes where_equal(const Lanes& a, const Lanes& b, const Lanes& yes, const Lanes& no) noexcept {
    return detail::lane_by_lane([&](std::size_t i) FLASHBACK_SIMD_LAMBDA {
        return detail::select_batch(a.part[i] == b.part[i], yes.part[i], no.part[i]);
    });
}

/// std::max in every lane: a if they are equal or one of them is NaN.
FLASHBACK_SIMD_INLINE Lanes max(const Lanes& a, const Lanes& b) noexcept { return where_less(a, b, b, a); }

namespace detail {

// One batch with neighbouring groups of `width` lanes exchanged: with 1, (x1, x0, x3, x2, ...).
#if FLASHBACK_SIMD_FLOATS > 1
template <std::size_t width>
FLASHBACK_SIMD_INLINE Batch swap_groups(const Batch& x) noexcept {
    static_assert(width < batch_floats);
    constexpr int within_four = width == 2 ? 0x4e : 0xb1;
#if FLASHBACK_SIMD_FLOATS == 16
    if constexpr (width >= 4) return _mm512_shuffle_f32x4(x, x, width == 8 ? 0x4e : 0xb1);
    return _mm512_permute_ps(x, within_four);
#elif FLASHBACK_SIMD_FLOATS == 8
    if constexpr (width == 4) return _mm256_permute2f128_ps(x, x, 1);
    return _mm256_permute_ps(x, within_four);
#elif defined(__x86_64__)
    return _mm_shuffle_ps(x, x, within_four);
#else
    if constexpr (within_four == 0x4e) return vextq_f32(x, x, 2);
    return vrev64q_f32(x);
#endif
}

FLASHBACK_SIMD_INLINE float first_of(const Batch& x) noexcept {
#if FLASHBACK_SIMD_FLOATS == 16
    return _mm512_cvtss_f32(x);
#elif FLASHBACK_SIMD_FLOATS == 8
    return _mm256_cvtss_f32(x);
#elif defined(__x86_64__)
    return _mm_cvtss_f32(x);
#else
    return vgetq_lane_f32(x, 0);
#endif
}

// Half as many floats as a batch has, each of them twice: (x0, x0, x1, x1, ...).
FLASHBACK_SIMD_INLINE Batch load_twice(const float* from) noexcept {
#if FLASHBACK_SIMD_FLOATS == 16
    const __m256i each = _mm256_castps_si256(_mm256_loadu_ps(from));
    return _mm512_moveldup_ps(_mm512_castsi512_ps(_mm512_cvtepu32_epi64(each)));
#elif FLASHBACK_SIMD_FLOATS == 8
    const __m128 each = _mm_loadu_ps(from);
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_unpacklo_ps(each, each)), _mm_unpackhi_ps(each, each), 1);
#elif defined(__x86_64__)
    const __m128 each = _mm_setr_ps(from[0], from[1], 0, 0);
    return _mm_unpacklo_ps(each, each);
#else
    const float32x2_t each = vld1_f32(from);
    return vcombine_f32(vdup_lane_f32(each, 0), vdup_lane_f32(each, 1));
#endif
}

// The bits of x plus those of y shifted left by 23: this is x times 2^n if the last bits of y are those of n. The integer
// functions of xsimd would fall back on batches of other architectures, so two architectures would have a function in common.
FLASHBACK_SIMD_INLINE Batch add_to_exponent(const Batch& x, const Batch& y) noexcept {
#if FLASHBACK_SIMD_FLOATS == 16
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(x), _mm512_slli_epi32(_mm512_castps_si512(y), 23)));
#elif FLASHBACK_SIMD_FLOATS == 8 && defined(__AVX2__)
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x), _mm256_slli_epi32(_mm256_castps_si256(y), 23)));
#elif FLASHBACK_SIMD_FLOATS == 8
    const auto half = [](__m128 a, __m128 b) {
        return _mm_castsi128_ps(_mm_add_epi32(_mm_castps_si128(a), _mm_slli_epi32(_mm_castps_si128(b), 23)));
    };
    const __m256 low = _mm256_castps128_ps256(half(_mm256_castps256_ps128(x), _mm256_castps256_ps128(y)));
    return _mm256_insertf128_ps(low, half(_mm256_extractf128_ps(x, 1), _mm256_extractf128_ps(y, 1)), 1);
#elif defined(__x86_64__)
    return _mm_castsi128_ps(_mm_add_epi32(_mm_castps_si128(x), _mm_slli_epi32(_mm_castps_si128(y), 23)));
#else
    return vreinterpretq_f32_u32(vaddq_u32(vreinterpretq_u32_f32(x), vshlq_n_u32(vreinterpretq_u32_f32(y), 23)));
#endif
}
#endif

#if FLASHBACK_SIMD_FLOATS == 1
FLASHBACK_SIMD_INLINE float first_of(float x) noexcept { return x; }
template <std::size_t width>
Batch swap_groups(const Batch& x) noexcept;  // one float has no neighbours: never called
#endif
FLASHBACK_SIMD_INLINE float add_to_exponent(float x, float y) noexcept {
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(x) + (std::bit_cast<std::uint32_t>(y) << 23));
}

FLASHBACK_SIMD_INLINE Lanes add_to_exponent(const Lanes& x, const Lanes& y) noexcept {
    return lane_by_lane([&](std::size_t i) FLASHBACK_SIMD_LAMBDA { return add_to_exponent(x.part[i], y.part[i]); });
}

}  // namespace detail

/// Eight floats, each twice: (x0, x0, x1, x1, ...).
/// Shape     from (8)
FLASHBACK_SIMD_INLINE Lanes load_twice(const float* from) noexcept {
#if FLASHBACK_SIMD_FLOATS == 1
    return detail::lane_by_lane([&](std::size_t i) FLASHBACK_SIMD_LAMBDA { return from[i / 2]; });
#else
    return detail::lane_by_lane([&](std::size_t i)
                                    FLASHBACK_SIMD_LAMBDA { return detail::load_twice(from + i * batch_floats / 2); });
#endif
}

/// Neighbours exchanged: (x1, x0, x3, x2, ...).
FLASHBACK_SIMD_INLINE Lanes swap_neighbours(const Lanes& x) noexcept {
#if FLASHBACK_SIMD_FLOATS == 1
    return detail::lane_by_lane([&](std::size_t i) FLASHBACK_SIMD_LAMBDA { return x.part[i ^ 1]; });
#else
    return detail::lane_by_lane([&](std::size_t i) FLASHBACK_SIMD_LAMBDA { return detail::swap_groups<1>(x.part[i]); });
#endif
}

}  // namespace flashback::inline FLASHBACK_ISA::simd
