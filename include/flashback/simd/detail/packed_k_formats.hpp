/// \file The panels of the types with super-blocks of 256 weights: Q4_K and Q6_K.
#pragma once

#include "flashback/simd/detail/packed_formats.hpp"

#include <cstddef>
#include <cstdint>

namespace flashback::inline FLASHBACK_ISA::simd::detail {

inline constexpr std::size_t super_block = 256;
inline constexpr std::size_t blocks_together = super_block / activation_block;

/// Q4_K: the lines of a block are (4, 64) bytes of two weights; its scales are the scales and the minima as 8-bit integers, (2,
/// 16). The line of a super-block has the scales of these, f16, (2, 16).
struct Q4_KFormat : Nibbles, PanelLayout<Nibbles::nibble_bytes, super_block> {
    static constexpr DType type = DType::q4_k;
    static constexpr Operand operand = Operand::int8;
    static constexpr std::size_t halves = 1;
    static constexpr int offset = 0;

    FLASHBACK_SIMD_INLINE static IntLanes line(const std::byte* block, std::size_t step, std::size_t i) noexcept {
        return nibbles(block, step, i);
    }

    struct Scales {
        Lanes d, minimum;    // of the super-block
        Lanes scale, least;  // of the block, whole numbers
    };
    FLASHBACK_SIMD_INLINE static Scales scales(const std::byte* panel, std::size_t b) noexcept {
        const auto* whole = reinterpret_cast<const std::int8_t*>(panel + scales_at(b));
        const std::byte* d = panel + super_at(b);
        return {half_scales(d), half_scales(d + panel_outputs * sizeof(Half)), to_lanes(IntLanes::widen(whole)),
                to_lanes(IntLanes::widen(whole + panel_outputs))};
    }
    FLASHBACK_SIMD_INLINE static Sum start(const ActivationBlock& /*a*/, std::size_t /*half*/) noexcept { return Sum::all({}); }
    /// Products of whole numbers below 2^24 are exact in f32.
    template <class AnySum>
    FLASHBACK_SIMD_INLINE static Lanes add(const Scales& w, const AnySum* sum, const ActivationBlock& a,
                                           const Lanes& y) noexcept {
        const Lanes scale = Lanes::all(a.scale);
        const Lanes with_scales = fma(to_lanes(sum[0]) * w.scale, w.d * scale, y);
        return fma(Lanes::all(static_cast<float>(a.minus_sum)) * w.least, w.minimum * scale, with_scales);
    }

    static void pack(const std::byte* row, std::size_t /*inputs*/, InputRange some, std::size_t lane,
                     std::byte* panel) noexcept {
        const std::size_t end = some.end / activation_block;
        for (std::size_t first = some.begin / activation_block; first < end; first += blocks_together) {
            const auto block = read_as<BlockQ4_K>(row + first / blocks_together * sizeof(BlockQ4_K));
            std::byte* d = panel + super_at(first) + lane * sizeof(Half);
            write_as(d, block.d);
            write_as(d + panel_outputs * sizeof(Half), block.dmin);
            for (std::size_t i = 0; i < blocks_together; ++i) {
                std::byte* to = panel + lines_at(first + i);
                const auto [scale, minimum] = k4_scale(block.scales, i);
                panel[scales_at(first + i) + lane] = std::byte(scale);
                panel[scales_at(first + i) + panel_outputs + lane] = std::byte(minimum);
                clear(to, lane);
                for (std::size_t k = 0; k < activation_block; ++k)
                    put(to, lane, k, unsigned{block.q[i / 2 * activation_block + k]} >> (i % 2 * 4) & 0xfu);
            }
        }
    }
    static float value(const std::byte* panel, std::size_t lane, std::size_t k) noexcept {
        const std::size_t b = k / activation_block;
        const std::byte* d = panel + super_at(b) + lane * sizeof(Half);
        const std::byte* whole = panel + scales_at(b) + lane;
        const float scale = to_float(read_as<Half>(d)) * static_cast<float>(whole[0]);
        const float minimum =
            to_float(read_as<Half>(d + panel_outputs * sizeof(Half))) * static_cast<float>(whole[panel_outputs]);
        const auto q = static_cast<float>(get(panel + lines_at(b), lane, k % activation_block));
        return rounded(scale * q) - minimum;
    }
};

/// Q6_K: the lines of a block are (4, 64) bytes of the lower four bits of two weights, and (2, 64) of the upper two bits of four;
/// its scales are those of its halves as 8-bit integers, (2, 16). The line of two super-blocks has the scales of these, f16, (2,
/// 16).
struct Q6_KFormat : Nibbles, PanelLayout<Nibbles::nibble_bytes + 2 * line_bytes, 2 * super_block> {
    static constexpr DType type = DType::q6_k;
    static constexpr Operand operand = Operand::int8;
    static constexpr std::size_t halves = 2;
    static constexpr int offset = 32;

    /// The scales of the super-block of block b.
    FLASHBACK_SIMD_INLINE static constexpr std::size_t d_at(std::size_t b) noexcept {
        return super_at(b) + b / blocks_together % 2 * (line_bytes / 2);
    }
    /// Line s / 2 of the upper bits belongs to the lines s of the lower ones: two bits for each half.
    FLASHBACK_SIMD_INLINE static IntLanes line(const std::byte* block, std::size_t step, std::size_t i) noexcept {
        const IntLanes upper = IntLanes::load(block + nibble_bytes + step / 2 * line_bytes);
        const IntLanes low = nibbles(block, step, i);
        if (step % 2 == 0) return low | (i == 0 ? upper.ints_left<4>() : upper.ints_left<2>()).masked(0x30);
        return low | (i == 0 ? upper : upper.bytes_right<2>()).masked(0x30);
    }
    static std::size_t upper_shift(std::size_t k) noexcept { return k % 16 / line_inputs % 2 * 4 + k / 16 * 2; }
    static std::size_t upper_at(std::size_t lane, std::size_t k) noexcept {
        return nibble_bytes + k % 16 / line_inputs / 2 * line_bytes + lane * line_inputs + k % line_inputs;
    }

    struct Scales {
        Lanes d;
        Lanes scale[2];
    };
    FLASHBACK_SIMD_INLINE static Scales scales(const std::byte* panel, std::size_t b) noexcept {
        const auto* whole = reinterpret_cast<const std::int8_t*>(panel + scales_at(b));
        return {half_scales(panel + d_at(b)),
                {to_lanes(IntLanes::widen(whole)), to_lanes(IntLanes::widen(whole + panel_outputs))}};
    }
    FLASHBACK_SIMD_INLINE static Sum start(const ActivationBlock& a, std::size_t half) noexcept {
        return Sum::all(a.minus_sums[half]).ints_left<5>();
    }
    /// Products of whole numbers below 2^24 and their sum are exact in f32.
    template <class AnySum>
    FLASHBACK_SIMD_INLINE static Lanes add(const Scales& w, const AnySum* sum, const ActivationBlock& a,
                                           const Lanes& y) noexcept {
        const Lanes both = fma(to_lanes(sum[1]), w.scale[1], to_lanes(sum[0]) * w.scale[0]);
        return fma(both, w.d * Lanes::all(a.scale), y);
    }

    static void pack(const std::byte* row, std::size_t inputs, InputRange some, std::size_t lane, std::byte* panel) noexcept {
        const std::size_t end = some.end / activation_block;
        for (std::size_t first = some.begin / activation_block; first < end; first += blocks_together) {
            const auto block = read_as<BlockQ6_K>(row + first / blocks_together * sizeof(BlockQ6_K));
            write_as(panel + d_at(first) + lane * sizeof(Half), block.d);
            for (std::size_t i = 0; i < blocks_together; ++i) {
                std::byte* to = panel + lines_at(first + i);
                for (std::size_t half = 0; half < 2; ++half)
                    panel[scales_at(first + i) + half * panel_outputs + lane] = std::byte(block.scales[2 * i + half]);
                clear(to, lane);
                for (std::size_t s = 0; s < 2; ++s)
                    write_as(to + nibble_bytes + s * line_bytes + lane * line_inputs, std::uint32_t{0});
                for (std::size_t k = 0; k < activation_block; ++k) {
                    const std::size_t quarter = i % 4;  // of 128 weights, whose bits lie beside those of the other quarters
                    const unsigned low = unsigned{block.low[i / 4 * 64 + quarter % 2 * 32 + k]} >> (quarter / 2 * 4) & 0xfu;
                    const unsigned high = unsigned{block.high[i / 4 * 32 + k]} >> (quarter * 2) & 3u;
                    put(to, lane, k, low);
                    to[upper_at(lane, k)] |= std::byte(high << upper_shift(k));
                }
            }
        }
        const std::size_t blocks = inputs / activation_block;  // the last super-block may have no neighbour
        if (some.end == inputs && inputs % super_inputs != 0) write_as(panel + d_at(blocks) + lane * sizeof(Half), Half{});
    }
    static float value(const std::byte* panel, std::size_t lane, std::size_t k) noexcept {
        const std::size_t b = k / activation_block;
        const std::size_t in_block = k % activation_block;
        const std::byte* block = panel + lines_at(b);
        const unsigned high = static_cast<unsigned>(block[upper_at(lane, in_block)]) >> upper_shift(in_block) & 3u;
        const int q = static_cast<int>(get(block, lane, in_block) | high << 4) - 32;
        const int scale = static_cast<std::int8_t>(panel[scales_at(b) + in_block / 16 * panel_outputs + lane]);
        return to_float(read_as<Half>(panel + d_at(b) + lane * sizeof(Half))) * static_cast<float>(scale) *
               static_cast<float>(q);
    }
};

/// Calls `call(Format{})` with the format of a type. Tells whether the type has one.
template <class Call>
constexpr bool with_format(DType type, const Call& call) {
    switch (type) {
        case DType::f32: call(F32Format{}); return true;
        case DType::f16: call(F16Format{}); return true;
        case DType::bf16: call(BF16Format{}); return true;
        case DType::q8_0: call(Q8_0Format{}); return true;
        case DType::q4_0: call(Q4_0Format{}); return true;
        case DType::q4_k: call(Q4_KFormat{}); return true;
        case DType::q6_k: call(Q6_KFormat{}); return true;
        default: return false;
    }
}

}  // namespace flashback::inline FLASHBACK_ISA::simd::detail

namespace flashback::inline FLASHBACK_ISA::simd {

/// The form of activations for a type of weights.
constexpr Operand operand_of(DType type) noexcept {
    Operand operand = Operand::f32;
    detail::with_format(type, [&](auto format) { operand = format.operand; });
    return operand;
}

}  // namespace flashback::inline FLASHBACK_ISA::simd
