/// \file Dot products of bytes, sixteen outputs side by side. The 32-bit sums are exact, so their order is free.
///
/// A line of 64 bytes holds four weights (u8) of each of sixteen outputs. If the processor has `vpdpbusd`, one instruction
/// takes four products of every output. Otherwise bytes are widened, and `pmaddwd` takes two products, or a loop takes all.
#pragma once

#include "flashback/simd/detail/lanes.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>

// The instruction that multiplies bytes: 512-bit or 256-bit vpdpbusd, pmaddwd of any width, or none.
#if FLASHBACK_SIMD_FLOATS == 16 && defined(__AVX512VNNI__)
#define FLASHBACK_SIMD_DOT_BYTES
#elif FLASHBACK_SIMD_FLOATS == 8 && defined(__AVX2__) && defined(__FMA__) && defined(__AVXVNNI__)
#define FLASHBACK_SIMD_DOT_BYTES
#endif
// For weights of up to 6 bits: pmaddubsw, if there is no vpdpbusd.
#if FLASHBACK_SIMD_FLOATS > 1 && defined(__SSE4_2__) && !defined(FLASHBACK_SIMD_DOT_BYTES)
#define FLASHBACK_SIMD_DOT_SMALL
#endif

namespace flashback::inline FLASHBACK_ISA::simd {

/// Consecutive weights of one output in a line.
inline constexpr std::size_t line_inputs = 4;
inline constexpr std::size_t line_bytes = line_inputs * panel_outputs;

/// Four consecutive activations of a row, in the form that `add_dots` wants.
struct ActivationQuad {
#if defined(FLASHBACK_SIMD_DOT_BYTES)
    std::int8_t k[4];
    FLASHBACK_SIMD_INLINE void set(std::size_t i, std::int8_t x) noexcept { k[i] = x; }
    FLASHBACK_SIMD_INLINE int get(std::size_t i) const noexcept { return k[i]; }
#else
    std::int16_t pairs[2][2];  // (k0, k2), (k1, k3): even and odd bytes of a line are widened by a mask and a shift
    FLASHBACK_SIMD_INLINE void set(std::size_t i, std::int8_t x) noexcept { pairs[i % 2][i / 2] = x; }
    FLASHBACK_SIMD_INLINE int get(std::size_t i) const noexcept { return pairs[i % 2][i / 2]; }
#endif
};

namespace detail {

#if FLASHBACK_SIMD_FLOATS == 16
using IntBatch = __m512i;
FLASHBACK_SIMD_INLINE IntBatch all_ints(std::int32_t x) noexcept { return _mm512_set1_epi32(x); }
FLASHBACK_SIMD_INLINE IntBatch load_ints(const void* from) noexcept { return _mm512_loadu_si512(from); }
FLASHBACK_SIMD_INLINE IntBatch mask_bytes(IntBatch x, std::int32_t m) noexcept { return _mm512_and_si512(x, all_ints(m)); }
FLASHBACK_SIMD_INLINE IntBatch either(IntBatch x, IntBatch y) noexcept { return _mm512_or_si512(x, y); }
template <int N>
FLASHBACK_SIMD_INLINE IntBatch right(IntBatch x) noexcept {
    return _mm512_srli_epi16(x, N);
}
template <int N>
FLASHBACK_SIMD_INLINE IntBatch left(IntBatch x) noexcept {
    return _mm512_slli_epi32(x, N);
}
FLASHBACK_SIMD_INLINE Batch float_batch(IntBatch x) noexcept { return _mm512_cvtepi32_ps(x); }
FLASHBACK_SIMD_INLINE IntBatch widen_bytes(const std::int8_t* from) noexcept {
    return _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}
#if !defined(FLASHBACK_SIMD_DOT_BYTES)
FLASHBACK_SIMD_INLINE IntBatch add_pairs(IntBatch sum, IntBatch x, IntBatch y) noexcept {
    return _mm512_add_epi32(sum, _mm512_madd_epi16(x, y));
}
#else
FLASHBACK_SIMD_INLINE IntBatch add_quads(IntBatch sum, IntBatch bytes, IntBatch quad) noexcept {
    return _mm512_dpbusd_epi32(sum, bytes, quad);
}
#endif
#elif FLASHBACK_SIMD_FLOATS == 8 && defined(__AVX2__)
using IntBatch = __m256i;
FLASHBACK_SIMD_INLINE IntBatch all_ints(std::int32_t x) noexcept { return _mm256_set1_epi32(x); }
FLASHBACK_SIMD_INLINE IntBatch load_ints(const void* from) noexcept {
    return _mm256_loadu_si256(static_cast<const __m256i*>(from));
}
FLASHBACK_SIMD_INLINE IntBatch mask_bytes(IntBatch x, std::int32_t m) noexcept { return _mm256_and_si256(x, all_ints(m)); }
FLASHBACK_SIMD_INLINE IntBatch either(IntBatch x, IntBatch y) noexcept { return _mm256_or_si256(x, y); }
template <int N>
FLASHBACK_SIMD_INLINE IntBatch right(IntBatch x) noexcept {
    return _mm256_srli_epi16(x, N);
}
template <int N>
FLASHBACK_SIMD_INLINE IntBatch left(IntBatch x) noexcept {
    return _mm256_slli_epi32(x, N);
}
FLASHBACK_SIMD_INLINE Batch float_batch(IntBatch x) noexcept { return _mm256_cvtepi32_ps(x); }
FLASHBACK_SIMD_INLINE IntBatch widen_bytes(const std::int8_t* from) noexcept {
    return _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)));
}
#if !defined(FLASHBACK_SIMD_DOT_BYTES)
FLASHBACK_SIMD_INLINE IntBatch add_pairs(IntBatch sum, IntBatch x, IntBatch y) noexcept {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(x, y));
}
#else
FLASHBACK_SIMD_INLINE IntBatch add_quads(IntBatch sum, IntBatch bytes, IntBatch quad) noexcept {
    return _mm256_dpbusd_avx_epi32(sum, bytes, quad);
}
#endif
#elif FLASHBACK_SIMD_FLOATS > 1 && defined(__x86_64__)
using IntBatch = __m128i;
FLASHBACK_SIMD_INLINE IntBatch all_ints(std::int32_t x) noexcept { return _mm_set1_epi32(x); }
FLASHBACK_SIMD_INLINE IntBatch load_ints(const void* from) noexcept {
    return _mm_loadu_si128(static_cast<const __m128i*>(from));
}
FLASHBACK_SIMD_INLINE IntBatch mask_bytes(IntBatch x, std::int32_t m) noexcept { return _mm_and_si128(x, all_ints(m)); }
FLASHBACK_SIMD_INLINE IntBatch either(IntBatch x, IntBatch y) noexcept { return _mm_or_si128(x, y); }
template <int N>
FLASHBACK_SIMD_INLINE IntBatch right(IntBatch x) noexcept {
    return _mm_srli_epi16(x, N);
}
template <int N>
FLASHBACK_SIMD_INLINE IntBatch left(IntBatch x) noexcept {
    return _mm_slli_epi32(x, N);
}
FLASHBACK_SIMD_INLINE IntBatch add_pairs(IntBatch sum, IntBatch x, IntBatch y) noexcept {
    return _mm_add_epi32(sum, _mm_madd_epi16(x, y));
}
FLASHBACK_SIMD_INLINE IntBatch widen_bytes(const std::int8_t* from) noexcept {
    return _mm_setr_epi32(from[0], from[1], from[2], from[3]);
}
#else
#define FLASHBACK_SIMD_INT_LOOPS
#endif

}  // namespace detail

#if !defined(FLASHBACK_SIMD_INT_LOOPS)
/// Sixteen 32-bit integers, or the 64 bytes of a line.
struct IntLanes {
    static constexpr std::size_t batch_ints = sizeof(detail::IntBatch) / sizeof(std::int32_t);
    static constexpr std::size_t batches = panel_outputs / batch_ints;
    detail::IntBatch part[batches];

    template <class Operation>
    FLASHBACK_SIMD_INLINE static IntLanes each(const Operation& operation) noexcept {
        IntLanes y;
#pragma GCC unroll 16
        for (std::size_t i = 0; i < batches; ++i) y.part[i] = operation(i);
        return y;
    }
    FLASHBACK_SIMD_INLINE static IntLanes all(std::int32_t x) noexcept {
        return each([&](std::size_t) FLASHBACK_SIMD_LAMBDA { return detail::all_ints(x); });
    }
    /// Shape     from: 64 bytes at any address
    FLASHBACK_SIMD_INLINE static IntLanes load(const void* from) noexcept {
        return each([&](std::size_t i) FLASHBACK_SIMD_LAMBDA {
            return detail::load_ints(static_cast<const std::int32_t*>(from) + i * batch_ints);
        });
    }
    /// Shape     from (16)
    FLASHBACK_SIMD_INLINE static IntLanes widen(const std::int8_t* from) noexcept {
        return each([&](std::size_t i) FLASHBACK_SIMD_LAMBDA { return detail::widen_bytes(from + i * batch_ints); });
    }
    /// The bits that every byte has in common with `byte_mask`.
    FLASHBACK_SIMD_INLINE IntLanes masked(std::uint8_t byte_mask) const noexcept {
        const auto four = static_cast<std::int32_t>(byte_mask * 0x01010101u);
        return each([&](std::size_t i) FLASHBACK_SIMD_LAMBDA { return detail::mask_bytes(part[i], four); });
    }
    /// Every byte shifted right. The upper bits come from the next byte; a mask must remove them.
    template <int N>
    FLASHBACK_SIMD_INLINE IntLanes bytes_right() const noexcept {
        return each([&](std::size_t i) FLASHBACK_SIMD_LAMBDA { return detail::right<N>(part[i]); });
    }
    /// Every integer shifted left.
    template <int N>
    FLASHBACK_SIMD_INLINE IntLanes ints_left() const noexcept {
        return each([&](std::size_t i) FLASHBACK_SIMD_LAMBDA { return detail::left<N>(part[i]); });
    }
    /// The upper 16 bits of every integer; the lower ones become 0.
    FLASHBACK_SIMD_INLINE IntLanes upper_halves() const noexcept {
        return each([&](std::size_t i) FLASHBACK_SIMD_LAMBDA { return detail::mask_bytes(part[i], -0x10000); });
    }
    FLASHBACK_SIMD_INLINE IntLanes operator|(const IntLanes& y) const noexcept {
        return each([&](std::size_t i) FLASHBACK_SIMD_LAMBDA { return detail::either(part[i], y.part[i]); });
    }
};
#else
struct IntLanes {
    std::int32_t part[panel_outputs];

    template <class Operation>
    FLASHBACK_SIMD_INLINE static IntLanes each(const Operation& operation) noexcept {
        IntLanes y;
        for (std::size_t i = 0; i < panel_outputs; ++i) y.part[i] = operation(i);
        return y;
    }
    FLASHBACK_SIMD_INLINE static IntLanes all(std::int32_t x) noexcept {
        return each([&](std::size_t) FLASHBACK_SIMD_LAMBDA { return x; });
    }
    FLASHBACK_SIMD_INLINE static IntLanes load(const void* from) noexcept {
        IntLanes y;
        std::memcpy(y.part, from, sizeof y.part);
        return y;
    }
    FLASHBACK_SIMD_INLINE static IntLanes widen(const std::int8_t* from) noexcept {
        return each([&](std::size_t i) FLASHBACK_SIMD_LAMBDA { return std::int32_t{from[i]}; });
    }
    FLASHBACK_SIMD_INLINE IntLanes masked(std::uint8_t byte_mask) const noexcept {
        return each([&](std::size_t i)
                        FLASHBACK_SIMD_LAMBDA { return part[i] & static_cast<std::int32_t>(byte_mask * 0x01010101u); });
    }
    template <int N>
    FLASHBACK_SIMD_INLINE IntLanes bytes_right() const noexcept {
        return each([&](std::size_t i)
                        FLASHBACK_SIMD_LAMBDA { return static_cast<std::int32_t>(static_cast<std::uint32_t>(part[i]) >> N); });
    }
    template <int N>
    FLASHBACK_SIMD_INLINE IntLanes ints_left() const noexcept {
        return each([&](std::size_t i)
                        FLASHBACK_SIMD_LAMBDA { return static_cast<std::int32_t>(static_cast<std::uint32_t>(part[i]) << N); });
    }
    FLASHBACK_SIMD_INLINE IntLanes upper_halves() const noexcept {
        return each([&](std::size_t i) FLASHBACK_SIMD_LAMBDA { return part[i] & -0x10000; });
    }
    FLASHBACK_SIMD_INLINE IntLanes operator|(const IntLanes& y) const noexcept {
        return each([&](std::size_t i) FLASHBACK_SIMD_LAMBDA { return part[i] | y.part[i]; });
    }
};
#endif

/// A line of weights, in the form that `add_dots` wants.
struct WeightLine {
#if defined(FLASHBACK_SIMD_DOT_BYTES) || defined(FLASHBACK_SIMD_INT_LOOPS)
    IntLanes bytes;
    FLASHBACK_SIMD_INLINE static WeightLine of(const IntLanes& line) noexcept { return {line}; }
#else
    IntLanes even, odd;  // widened to 16 bits
    FLASHBACK_SIMD_INLINE static WeightLine of(const IntLanes& line) noexcept {
        return {
            IntLanes::each([&](std::size_t i) FLASHBACK_SIMD_LAMBDA { return detail::mask_bytes(line.part[i], 0x00ff00ff); }),
            line.bytes_right<8>()};
    }
#endif
};

#if !defined(FLASHBACK_SIMD_DOT_BYTES) && !defined(FLASHBACK_SIMD_INT_LOOPS)
/// The same sums. Sums of integers may be taken in any order. g++ takes them in one that keeps every product of a block alive
/// (measured: 0.57 of this speed with AVX2).
FLASHBACK_SIMD_INLINE IntLanes in_this_order(IntLanes sum) noexcept {
#pragma GCC unroll 16
    for (std::size_t i = 0; i < IntLanes::batches; ++i) {
#if FLASHBACK_SIMD_FLOATS == 16
        asm("" : "+v"(sum.part[i]));
#else
        asm("" : "+x"(sum.part[i]));
#endif
    }
    return sum;
}
#endif

/// sum + the four products of each output with the activations of a row.
FLASHBACK_SIMD_INLINE IntLanes add_dots(const IntLanes& sum, const WeightLine& line, const ActivationQuad& quad) noexcept {
#if defined(FLASHBACK_SIMD_DOT_BYTES)
    std::int32_t four;
    std::memcpy(&four, &quad, sizeof four);
    const detail::IntBatch all = detail::all_ints(four);
    return IntLanes::each([&](std::size_t i)
                              FLASHBACK_SIMD_LAMBDA { return detail::add_quads(sum.part[i], line.bytes.part[i], all); });
#elif defined(FLASHBACK_SIMD_INT_LOOPS)
    return IntLanes::each([&](std::size_t i) FLASHBACK_SIMD_LAMBDA {
        std::uint8_t w[line_inputs];
        std::memcpy(w, &line.bytes.part[i], sizeof w);
        std::int32_t s = sum.part[i];
        for (std::size_t k = 0; k < line_inputs; ++k) s += w[k] * quad.get(k);
        return s;
    });
#else
    std::int32_t two[2];
    std::memcpy(&two[0], quad.pairs[0], sizeof two[0]);
    std::memcpy(&two[1], quad.pairs[1], sizeof two[1]);
    const detail::IntBatch even = detail::all_ints(two[0]);
    const detail::IntBatch odd = detail::all_ints(two[1]);
    return in_this_order(IntLanes::each([&](std::size_t i) FLASHBACK_SIMD_LAMBDA {
        return detail::add_pairs(detail::add_pairs(sum.part[i], line.even.part[i], even), line.odd.part[i], odd);
    }));
#endif
}

/// The floats whose bits the integers are.
FLASHBACK_SIMD_INLINE Lanes bits_as_lanes(const IntLanes& x) noexcept {
#if defined(FLASHBACK_SIMD_INT_LOOPS)
    float whole[panel_outputs];
    std::memcpy(whole, x.part, sizeof whole);
    return Lanes::load(whole);
#elif FLASHBACK_SIMD_FLOATS == 16
    return {{_mm512_castsi512_ps(x.part[0])}};
#elif FLASHBACK_SIMD_FLOATS == 8 && defined(__AVX2__)
    return detail::lane_by_lane([&](std::size_t i) FLASHBACK_SIMD_LAMBDA -> Batch { return _mm256_castsi256_ps(x.part[i]); });
#elif FLASHBACK_SIMD_FLOATS == 8
    return detail::lane_by_lane([&](std::size_t i) FLASHBACK_SIMD_LAMBDA -> Batch {
        return _mm256_castsi256_ps(_mm256_set_m128i(x.part[2 * i + 1], x.part[2 * i]));
    });
#else
    return detail::lane_by_lane([&](std::size_t i) FLASHBACK_SIMD_LAMBDA -> Batch { return _mm_castsi128_ps(x.part[i]); });
#endif
}

/// The integers as floats; exact below 2^24.
FLASHBACK_SIMD_INLINE Lanes to_lanes(const IntLanes& x) noexcept {
#if defined(FLASHBACK_SIMD_INT_LOOPS)
    float whole[panel_outputs];
    for (std::size_t j = 0; j < panel_outputs; ++j) whole[j] = static_cast<float>(x.part[j]);
    return Lanes::load(whole);
#elif FLASHBACK_SIMD_FLOATS == 16 || (FLASHBACK_SIMD_FLOATS == 8 && defined(__AVX2__))
    return detail::lane_by_lane([&](std::size_t i) FLASHBACK_SIMD_LAMBDA { return detail::float_batch(x.part[i]); });
#elif FLASHBACK_SIMD_FLOATS == 8
    return detail::lane_by_lane([&](std::size_t i) FLASHBACK_SIMD_LAMBDA -> Batch {
        return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_cvtepi32_ps(x.part[2 * i])), _mm_cvtepi32_ps(x.part[2 * i + 1]),
                                    1);
    });
#else
    return detail::lane_by_lane([&](std::size_t i) FLASHBACK_SIMD_LAMBDA -> Batch { return _mm_cvtepi32_ps(x.part[i]); });
#endif
}

}  // namespace flashback::inline FLASHBACK_ISA::simd
