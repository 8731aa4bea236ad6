/// \file The panels of the types with super-blocks of 256 weights: Q4_K and Q6_K.
#pragma once

#include "flashback/simd/detail/packed_formats.hpp"

#include <cstddef>
#include <cstdint>

namespace flashback::inline FLASHBACK_ISA::simd::detail {

inline constexpr std::size_t super_block = 256;
inline constexpr std::size_t blocks_together = super_block / activation_block;

/// Q4_K: (blocks, 4, 64) bytes of two weights; then for each block the scales and the minima as 8-bit integers, (blocks, 2,
/// 16); then the scales of these, (super-blocks, 2, 16).
struct Q4_KFormat : Nibbles {
    static constexpr DType type = DType::q4_k;
    static constexpr Operand operand = Operand::int8;
    static constexpr std::size_t halves = 1;
    static constexpr int offset = 0;
    static constexpr std::size_t block_bytes = nibble_bytes;
    static constexpr std::size_t small_bytes = 2 * panel_outputs;
    static constexpr std::size_t super_bytes = 2 * panel_outputs * sizeof(Half);

    static constexpr std::size_t bytes(std::size_t inputs) noexcept {
        return inputs / activation_block * (block_bytes + small_bytes) + inputs / super_block * super_bytes;
    }
    static std::size_t small(std::size_t blocks, std::size_t b) noexcept { return blocks * block_bytes + b * small_bytes; }
    static std::size_t super(std::size_t blocks, std::size_t b) noexcept {
        return small(blocks, blocks) + b / blocks_together * super_bytes;
    }
    FLASHBACK_SIMD_INLINE static IntLanes line(const std::byte* block, std::size_t step, std::size_t i) noexcept {
        return nibbles(block, step, i);
    }

    struct Scales {
        Lanes d, minimum;    // of the super-block
        Lanes scale, least;  // of the block, whole numbers
    };
    FLASHBACK_SIMD_INLINE static Scales scales(const std::byte* panel, std::size_t blocks, std::size_t b) noexcept {
        const auto* whole = reinterpret_cast<const std::int8_t*>(panel + small(blocks, b));
        const std::byte* d = panel + super(blocks, b);
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

    static void pack(const std::byte* row, std::size_t inputs, InputRange some, std::size_t lane, std::byte* panel) noexcept {
        const std::size_t blocks = inputs / activation_block;
        const std::size_t end = some.end / activation_block;
        for (std::size_t first = some.begin / activation_block; first < end; first += blocks_together) {
            const auto block = read_as<BlockQ4_K>(row + first / blocks_together * sizeof(BlockQ4_K));
            std::byte* d = panel + super(blocks, first) + lane * sizeof(Half);
            write_as(d, block.d);
            write_as(d + panel_outputs * sizeof(Half), block.dmin);
            for (std::size_t i = 0; i < blocks_together; ++i) {
                std::byte* to = panel + (first + i) * block_bytes;
                const auto [scale, minimum] = k4_scale(block.scales, i);
                panel[small(blocks, first + i) + lane] = std::byte(scale);
                panel[small(blocks, first + i) + panel_outputs + lane] = std::byte(minimum);
                clear(to, lane);
                for (std::size_t k = 0; k < activation_block; ++k)
                    put(to, lane, k, unsigned{block.q[i / 2 * activation_block + k]} >> (i % 2 * 4) & 0xfu);
            }
        }
    }
    static float value(const std::byte* panel, std::size_t inputs, std::size_t lane, std::size_t k) noexcept {
        const std::size_t blocks = inputs / activation_block;
        const std::size_t b = k / activation_block;
        const std::byte* d = panel + super(blocks, b) + lane * sizeof(Half);
        const std::byte* whole = panel + small(blocks, b) + lane;
        const float scale = to_float(read_as<Half>(d)) * static_cast<float>(whole[0]);
        const float minimum =
            to_float(read_as<Half>(d + panel_outputs * sizeof(Half))) * static_cast<float>(whole[panel_outputs]);
        const auto q = static_cast<float>(get(panel + b * block_bytes, lane, k % activation_block));
        return rounded(scale * q) - minimum;
    }
};

/// Q6_K: (blocks, 4, 64) bytes of the lower four bits of two weights, and (blocks, 2, 64) of the upper two bits of four; then
/// for each block the scales of its halves as 8-bit integers, (blocks, 2, 16); then the scales of these, (super-blocks, 16).
struct Q6_KFormat : Nibbles {
    static constexpr DType type = DType::q6_k;
    static constexpr Operand operand = Operand::int8;
    static constexpr std::size_t halves = 2;
    static constexpr int offset = 32;
    static constexpr std::size_t block_bytes = nibble_bytes + 2 * line_bytes;
    static constexpr std::size_t small_bytes = 2 * panel_outputs;
    static constexpr std::size_t super_bytes = panel_outputs * sizeof(Half);

    static constexpr std::size_t bytes(std::size_t inputs) noexcept {
        return inputs / activation_block * (block_bytes + small_bytes) + inputs / super_block * super_bytes;
    }
    static std::size_t small(std::size_t blocks, std::size_t b) noexcept { return blocks * block_bytes + b * small_bytes; }
    static std::size_t super(std::size_t blocks, std::size_t b) noexcept {
        return small(blocks, blocks) + b / blocks_together * super_bytes;
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
    FLASHBACK_SIMD_INLINE static Scales scales(const std::byte* panel, std::size_t blocks, std::size_t b) noexcept {
        const auto* whole = reinterpret_cast<const std::int8_t*>(panel + small(blocks, b));
        return {half_scales(panel + super(blocks, b)),
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
        const std::size_t blocks = inputs / activation_block;
        const std::size_t end = some.end / activation_block;
        for (std::size_t first = some.begin / activation_block; first < end; first += blocks_together) {
            const auto block = read_as<BlockQ6_K>(row + first / blocks_together * sizeof(BlockQ6_K));
            write_as(panel + super(blocks, first) + lane * sizeof(Half), block.d);
            for (std::size_t i = 0; i < blocks_together; ++i) {
                std::byte* to = panel + (first + i) * block_bytes;
                for (std::size_t half = 0; half < 2; ++half)
                    panel[small(blocks, first + i) + half * panel_outputs + lane] = std::byte(block.scales[2 * i + half]);
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
    }
    static float value(const std::byte* panel, std::size_t inputs, std::size_t lane, std::size_t k) noexcept {
        const std::size_t blocks = inputs / activation_block;
        const std::size_t b = k / activation_block;
        const std::size_t in_block = k % activation_block;
        const std::byte* block = panel + b * block_bytes;
        const unsigned high = static_cast<unsigned>(block[upper_at(lane, in_block)]) >> upper_shift(in_block) & 3u;
        const int q = static_cast<int>(get(block, lane, in_block) | high << 4) - 32;
        const int scale = static_cast<std::int8_t>(panel[small(blocks, b) + in_block / 16 * panel_outputs + lane]);
        return to_float(read_as<Half>(panel + super(blocks, b) + lane * sizeof(Half))) * static_cast<float>(scale) *
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
