/// \file Dot products of weights of up to 6 bits, sixteen outputs side by side: in 16 bits, if the processor has `pmaddubsw` and
/// no `vpdpbusd`; else as those of bytes.
///
/// `pmaddubsw` adds two products of a weight (u8) and an activation (-127 to 127); at most 2 · 63 · 127 = 16,002. An output has
/// two sums of 16 bits, of the first two and of the last two inputs of each line. They begin with what takes the offset of the
/// weights away. So at every step they are at most what weights without offset can give: 16 products with weights up to 15 are
/// 30,480, and 8 products with weights from -32 to 31 are 32,512.
#pragma once

#include "flashback/simd/detail/byte_lanes.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace flashback::inline FLASHBACK_ISA::simd {

#if defined(FLASHBACK_SIMD_DOT_SMALL)

namespace detail {

#if FLASHBACK_SIMD_FLOATS == 16
#define FLASHBACK_DETAIL_WIDE(operation) _mm512_##operation
#elif FLASHBACK_SIMD_FLOATS == 8 && defined(__AVX2__)
#define FLASHBACK_DETAIL_WIDE(operation) _mm256_##operation
#else
#define FLASHBACK_DETAIL_WIDE(operation) _mm_##operation
#endif
FLASHBACK_SIMD_INLINE IntBatch add_shorts(IntBatch x, IntBatch y) noexcept { return FLASHBACK_DETAIL_WIDE(add_epi16)(x, y); }
FLASHBACK_SIMD_INLINE IntBatch add_small_quads(IntBatch sum, IntBatch bytes, IntBatch quad) noexcept {
    return add_shorts(sum, FLASHBACK_DETAIL_WIDE(maddubs_epi16)(bytes, quad));
}
template <int N>
FLASHBACK_SIMD_INLINE IntBatch shorts_left(IntBatch x) noexcept {
    return FLASHBACK_DETAIL_WIDE(slli_epi16)(x, N);
}
#undef FLASHBACK_DETAIL_WIDE

}  // namespace detail

/// The 32 activations of a block once more, as bytes; those of the row are widened.
struct SmallQuads {
    struct Quad {
        std::int8_t k[line_inputs];
    };
    Quad quads[8];
    FLASHBACK_SIMD_INLINE void set(std::size_t i, std::int8_t x) noexcept { quads[i / line_inputs].k[i % line_inputs] = x; }
    /// The i-th four; where there are no bytes of their own, they are those of the row.
    FLASHBACK_SIMD_INLINE const Quad& four(const ActivationQuad* /*of_row*/, std::size_t i) const noexcept { return quads[i]; }
};

/// A sum of activations, in two parts: of the first two and of the last two of every four.
struct QuadSum {
    std::int16_t first, last;
};
inline QuadSum quad_sum(std::int32_t first, std::int32_t last) noexcept {
    return {static_cast<std::int16_t>(first), static_cast<std::int16_t>(last)};
}

/// Sixteen sums, each in two parts.
struct SmallSum {
    IntLanes parts;  // of 16 bits

    FLASHBACK_SIMD_INLINE static SmallSum all(const QuadSum& x) noexcept {
        std::int32_t both;
        std::memcpy(&both, &x, sizeof both);
        return {IntLanes::all(both)};
    }
    template <int N>
    FLASHBACK_SIMD_INLINE SmallSum ints_left() const noexcept {
        return {IntLanes::each([&](std::size_t i) FLASHBACK_SIMD_LAMBDA { return detail::shorts_left<N>(parts.part[i]); })};
    }
    FLASHBACK_SIMD_INLINE SmallSum operator+(const SmallSum& y) const noexcept {
        return {IntLanes::each([&](std::size_t i)
                                   FLASHBACK_SIMD_LAMBDA { return detail::add_shorts(parts.part[i], y.parts.part[i]); })};
    }
};

/// A line of weights of up to 6 bits.
struct SmallLine {
    IntLanes bytes;
    FLASHBACK_SIMD_INLINE static SmallLine of(const IntLanes& line) noexcept { return {line}; }
};

FLASHBACK_SIMD_INLINE SmallSum add_dots(const SmallSum& sum, const SmallLine& line, const SmallQuads::Quad& quad) noexcept {
    std::int32_t four;
    std::memcpy(&four, quad.k, sizeof four);
    const detail::IntBatch all = detail::all_ints(four);
    return {in_this_order(IntLanes::each([&](std::size_t i) FLASHBACK_SIMD_LAMBDA {
        return detail::add_small_quads(sum.parts.part[i], line.bytes.part[i], all);
    }))};
}

/// The sums as floats.
FLASHBACK_SIMD_INLINE Lanes to_lanes(const SmallSum& x) noexcept {
    const detail::IntBatch ones = detail::all_ints(0x00010001);
    const IntLanes none = IntLanes::all(0);
    return to_lanes(IntLanes::each(
        [&](std::size_t i) FLASHBACK_SIMD_LAMBDA { return detail::add_pairs(none.part[i], x.parts.part[i], ones); }));
}

#else

struct SmallQuads {
    FLASHBACK_SIMD_INLINE void set(std::size_t /*i*/, std::int8_t /*x*/) noexcept {}
    FLASHBACK_SIMD_INLINE const ActivationQuad& four(const ActivationQuad* of_row, std::size_t i) const noexcept {
        return of_row[i];
    }
};
using QuadSum = std::int32_t;
inline QuadSum quad_sum(std::int32_t first, std::int32_t last) noexcept { return first + last; }
using SmallSum = IntLanes;
using SmallLine = WeightLine;

#endif

}  // namespace flashback::inline FLASHBACK_ISA::simd
