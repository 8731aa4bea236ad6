/// \file How the weights of sixteen outputs lie beside each other, for each type, and how GGUF's blocks get there.
///
/// For every 32 inputs of a quantised type, a panel holds lines of 64 bytes. A line has four inputs of sixteen outputs, or two
/// times four if weights have 4 bits. Scales lie between the lines (panel_layout.hpp). A panel has as many bytes as sixteen rows
/// in the file, rounded up to a line; Q4_K has 1/36 more, because its scales take 8 bits.
#pragma once

#include "flashback/simd/activations.hpp"
#include "flashback/simd/detail/panel_layout.hpp"
#include "flashback/simd/packed_panel.hpp"
#include "flashback/tensor/blocks.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace flashback::inline FLASHBACK_ISA::simd::detail {

template <class T>
FLASHBACK_SIMD_INLINE T read_as(const std::byte* from) noexcept {
    T value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

template <class T>
FLASHBACK_SIMD_INLINE void write_as(std::byte* to, T value) noexcept {
    std::memcpy(to, &value, sizeof value);
}

/// Some of the inputs of a row. It begins at a multiple of 256 and ends at one, or with the row.
struct InputRange {
    std::size_t begin;
    std::size_t end;
};

/// F32 and F16: the numbers as they are, (inputs, 16).
template <class E, DType T>
struct ElementFormat {
    using Element = E;
    static constexpr DType type = T;
    static constexpr Operand operand = Operand::f32;
    using Line = Lanes;
    static constexpr std::size_t step_inputs = 1;  // of a line of sixteen outputs
    static constexpr std::size_t step_bytes = panel_outputs * sizeof(Element);

    FLASHBACK_SIMD_INLINE static Lanes line(const std::byte* from) noexcept {
        return load_lanes(reinterpret_cast<const Element*>(from));
    }
    FLASHBACK_SIMD_INLINE static const float* operands(const Activations& a) noexcept { return a.x; }
    FLASHBACK_SIMD_INLINE static std::size_t stride(const Activations& a) noexcept { return a.x_stride; }
    FLASHBACK_SIMD_INLINE static Lanes add(const Lanes& sum, const Lanes& line, float x) noexcept {
        return fma(line, Lanes::all(x), sum);
    }

    static constexpr std::size_t bytes(std::size_t inputs) noexcept { return inputs * panel_outputs * sizeof(Element); }

    static void pack(const std::byte* row, std::size_t /*inputs*/, InputRange some, std::size_t lane,
                     std::byte* panel) noexcept {
        for (std::size_t k = some.begin; k < some.end; ++k) {
            std::memcpy(panel + (k * panel_outputs + lane) * sizeof(Element), row + k * sizeof(Element), sizeof(Element));
        }
    }
    static float value(const std::byte* panel, std::size_t lane, std::size_t k) noexcept {
        return to_float(read_as<Element>(panel + (k * panel_outputs + lane) * sizeof(Element)));
    }
};
using F32Format = ElementFormat<float, DType::f32>;
using F16Format = ElementFormat<Half, DType::f16>;

/// BF16: pairs of inputs, (inputs / 2 rounded up, 16, 2); what is missing in the last group is 0.
struct BF16Format {
    static constexpr DType type = DType::bf16;
    static constexpr Operand operand = Operand::bf16;
    static constexpr std::size_t step_inputs = 2;
    static constexpr std::size_t step_bytes = line_bytes;

#if !defined(FLASHBACK_SIMD_AMX)  // tiles need no more
    using Line = PairLine;
    FLASHBACK_SIMD_INLINE static PairLine line(const std::byte* from) noexcept { return PairLine::load(from); }
    FLASHBACK_SIMD_INLINE static const ActivationPair* operands(const Activations& a) noexcept { return a.pairs; }
    FLASHBACK_SIMD_INLINE static std::size_t stride(const Activations& a) noexcept { return a.pair_stride; }
    FLASHBACK_SIMD_INLINE static Lanes add(const Lanes& sum, const PairLine& line, const ActivationPair& x) noexcept {
        return add_pairs(sum, line, x);
    }
#endif

    static constexpr std::size_t bytes(std::size_t inputs) noexcept { return (inputs + 1) / 2 * line_bytes; }

    static std::size_t at(std::size_t lane, std::size_t k) noexcept {
        return (k / 2 * panel_outputs + lane) * 2 * sizeof(BFloat16) + k % 2 * sizeof(BFloat16);
    }
    static void pack(const std::byte* row, std::size_t inputs, InputRange some, std::size_t lane, std::byte* panel) noexcept {
        for (std::size_t k = some.begin; k < some.end; ++k)
            write_as(panel + at(lane, k), read_as<BFloat16>(row + k * sizeof(BFloat16)));
        if (some.end != inputs) return;
        for (std::size_t k = inputs; k % bf16_group != 0; ++k) write_as(panel + at(lane, k), BFloat16{0});
    }
    static float value(const std::byte* panel, std::size_t lane, std::size_t k) noexcept {
        return to_float(read_as<BFloat16>(panel + at(lane, k)));
    }
};

/// Whether a format is multiplied by tiles (amx_matmul.hpp).
#if defined(FLASHBACK_SIMD_AMX)
template <class Format>
inline constexpr bool in_tiles = Format::operand == Operand::bf16;
#else
template <class Format>
inline constexpr bool in_tiles = false;
#endif

/// Scales of sixteen outputs, f16.
FLASHBACK_SIMD_INLINE Lanes half_scales(const std::byte* from) noexcept {
    return load_lanes(reinterpret_cast<const Half*>(from));
}

/// What the types with one scale for 32 weights share. Their lines take `LinesBytes` and hold each weight plus 2^OffsetBits. The
/// scales of a block are f16, (16).
template <std::size_t LinesBytes, int OffsetBits, class Sum>
struct OneScale : PanelLayout<LinesBytes> {
    using Layout = PanelLayout<LinesBytes>;
    static constexpr Operand operand = Operand::int8;
    static constexpr std::size_t halves = 1;  // how many sums of integers a block has
    static constexpr int offset = 1 << OffsetBits;

    struct Scales {
        Lanes d;
    };
    FLASHBACK_SIMD_INLINE static Scales scales(const std::byte* panel, std::size_t b) noexcept {
        return {half_scales(panel + Layout::scales_at(b))};
    }
    /// Takes the offset of the weights away again.
    FLASHBACK_SIMD_INLINE static Sum start(const ActivationBlock& a, std::size_t /*half*/) noexcept {
        if constexpr (std::is_same_v<Sum, IntLanes>) {
            return IntLanes::all(a.minus_sum).template ints_left<OffsetBits>();
        } else {
            return (Sum::all(a.minus_sums[0]) + Sum::all(a.minus_sums[1])).template ints_left<OffsetBits>();
        }
    }
    /// Shape     sum (halves): those of vectors or of tiles
    template <class AnySum>
    FLASHBACK_SIMD_INLINE static Lanes add(const Scales& w, const AnySum* sum, const ActivationBlock& a,
                                           const Lanes& y) noexcept {
        return fma(to_lanes(sum[0]), w.d * Lanes::all(a.scale), y);
    }

    static constexpr std::size_t scale_at(std::size_t b, std::size_t lane) noexcept {
        return Layout::scales_at(b) + lane * sizeof(Half);
    }
    /// What follows the scales of the last block if it has no neighbour.
    static void pack_end(std::size_t inputs, InputRange some, std::size_t lane, std::byte* panel) noexcept {
        const std::size_t blocks = inputs / activation_block;
        if (some.end == inputs && blocks % 2 == 1) write_as(panel + scale_at(blocks, lane), Half{});
    }
    static float scaled(const std::byte* panel, std::size_t lane, std::size_t b, int stored) noexcept {
        const auto d = read_as<Half>(panel + scale_at(b, lane));
        return to_float(d) * static_cast<float>(stored - offset);
    }
};

/// Q8_0: the lines of a block are (8, 64) bytes of weight + 128.
struct Q8_0Format : OneScale<8 * line_bytes, 7, IntLanes> {
    static constexpr DType type = DType::q8_0;
    using Sum = IntLanes;
    using Line = WeightLine;
    static constexpr std::size_t steps = 8;  // how often lines are loaded
    static constexpr std::size_t lines = 1;  // how many lines a step gives

    /// Which four of the 32 inputs the line `i` of a step holds.
    static constexpr std::size_t quad(std::size_t step, std::size_t /*i*/) noexcept { return step; }
    FLASHBACK_SIMD_INLINE static IntLanes line(const std::byte* block, std::size_t step, std::size_t /*i*/) noexcept {
        return IntLanes::load(block + step * line_bytes);
    }
    /// The activations that belong to line i of a block.
    FLASHBACK_SIMD_INLINE static const ActivationQuad& four(const ActivationQuad* quads, const ActivationBlock& /*a*/,
                                                            std::size_t i) noexcept {
        return quads[i];
    }

    static void pack(const std::byte* row, std::size_t inputs, InputRange some, std::size_t lane, std::byte* panel) noexcept {
        for (std::size_t b = some.begin / activation_block; b < some.end / activation_block; ++b) {
            const auto block = read_as<BlockQ8_0>(row + b * sizeof(BlockQ8_0));
            write_as(panel + scale_at(b, lane), block.d);
            for (std::size_t s = 0; s < steps; ++s) {
                std::uint32_t four;
                std::memcpy(&four, block.q + s * line_inputs, sizeof four);
                write_as(panel + lines_at(b) + s * line_bytes + lane * line_inputs, four ^ 0x80808080u);
            }
        }
        pack_end(inputs, some, lane, panel);
    }
    static float value(const std::byte* panel, std::size_t lane, std::size_t k) noexcept {
        const std::size_t b = k / activation_block;
        const std::byte* at = panel + lines_at(b) + k % activation_block / line_inputs * line_bytes;
        return scaled(panel, lane, b, static_cast<int>(at[lane * line_inputs + k % line_inputs]));
    }
};

/// What the types of 4 bits share. Line l holds the inputs 4 l .. 4 l + 3 of a block in its lower nibbles, and the inputs 16
/// further on in its upper ones. So the second half of a block needs no other load.
struct Nibbles {
    using Sum = SmallSum;
    using Line = SmallLine;
    static constexpr std::size_t steps = 4;
    static constexpr std::size_t lines = 2;
    static constexpr std::size_t nibble_bytes = steps * line_bytes;

    static constexpr std::size_t quad(std::size_t step, std::size_t i) noexcept { return step + 4 * i; }
    FLASHBACK_SIMD_INLINE static IntLanes nibbles(const std::byte* block, std::size_t step, std::size_t i) noexcept {
        const IntLanes both = IntLanes::load(block + step * line_bytes);
        return (i == 0 ? both : both.bytes_right<4>()).masked(0x0f);
    }
    FLASHBACK_SIMD_INLINE static const auto& four(const ActivationQuad* quads, const ActivationBlock& a,
                                                  std::size_t i) noexcept {
        return a.small.four(quads, i);
    }
    /// Stores the lower four bits of element k of a block.
    /// Requires  the bytes are zero before
    static void put(std::byte* block, std::size_t lane, std::size_t k, unsigned nibble) noexcept {
        block[k % 16 / line_inputs * line_bytes + lane * line_inputs + k % line_inputs] |= std::byte(nibble << (k / 16 * 4));
    }
    static unsigned get(const std::byte* block, std::size_t lane, std::size_t k) noexcept {
        const std::byte both = block[k % 16 / line_inputs * line_bytes + lane * line_inputs + k % line_inputs];
        return static_cast<unsigned>(both) >> (k / 16 * 4) & 0xfu;
    }
    static void clear(std::byte* block, std::size_t lane) noexcept {
        for (std::size_t s = 0; s < steps; ++s) write_as(block + s * line_bytes + lane * line_inputs, std::uint32_t{0});
    }
};

/// Q4_0: the lines of a block are (4, 64) bytes of two weights + 8.
struct Q4_0Format : Nibbles, OneScale<Nibbles::nibble_bytes, 3, SmallSum> {
    static constexpr DType type = DType::q4_0;

    FLASHBACK_SIMD_INLINE static IntLanes line(const std::byte* block, std::size_t step, std::size_t i) noexcept {
        return nibbles(block, step, i);
    }

    static void pack(const std::byte* row, std::size_t inputs, InputRange some, std::size_t lane, std::byte* panel) noexcept {
        for (std::size_t b = some.begin / activation_block; b < some.end / activation_block; ++b) {
            // The file pairs the nibbles of a byte as a line does.
            const auto block = read_as<BlockQ4_0>(row + b * sizeof(BlockQ4_0));
            write_as(panel + scale_at(b, lane), block.d);
            for (std::size_t s = 0; s < steps; ++s)
                std::memcpy(panel + lines_at(b) + s * line_bytes + lane * line_inputs, block.q + s * line_inputs, line_inputs);
        }
        pack_end(inputs, some, lane, panel);
    }
    static float value(const std::byte* panel, std::size_t lane, std::size_t k) noexcept {
        const std::size_t b = k / activation_block;
        return scaled(panel, lane, b, static_cast<int>(get(panel + lines_at(b), lane, k % activation_block)));
    }
};

/// The panels [first, last) of a matrix.
struct MatmulPanels {
    const std::byte* weights;  ///< of panel 0
    std::size_t panel_bytes, inputs, first, last;
};

}  // namespace flashback::inline FLASHBACK_ISA::simd::detail
