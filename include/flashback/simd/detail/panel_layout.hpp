/// \file Where the parts of a panel of quantised weights lie: in the order in which they are multiplied.
///
/// So one row of activations reads a panel, and the panels behind it, from the first byte to the last. Processors fetch such a
/// stream ahead best. (Measured on Zen 5, where two threads read 92 to 98 GB/s: with all scales behind the lines, and four
/// panels side by side, Q8_0 read 77 % of that and Q4_0 65 %; in this order 98 and 92 %.)
#pragma once

#include "flashback/simd/activations.hpp"

#include <cstddef>

namespace flashback::inline FLASHBACK_ISA::simd::detail {

/// Blocks of 32 inputs come in pairs: a line with the scales of both, half a line each, then `LinesBytes` of lines for each. If
/// `SuperInputs` is not 0, in front of the pairs of so many inputs there is a line with the scales of their super-blocks.
template <std::size_t LinesBytes, std::size_t SuperInputs = 0>
struct PanelLayout {
    static constexpr std::size_t lines_bytes = LinesBytes;
    static constexpr std::size_t pair_bytes = line_bytes + 2 * LinesBytes;
    static constexpr std::size_t super_inputs = SuperInputs;
    static constexpr std::size_t super_blocks = SuperInputs / activation_block;

    /// The line of scales of a pair.
    /// Requires  b is a block of the pair
    FLASHBACK_SIMD_INLINE static constexpr std::size_t pair_at(std::size_t b) noexcept {
        std::size_t at = b / 2 * pair_bytes;
        if constexpr (SuperInputs > 0) at += (b / super_blocks + 1) * line_bytes;
        return at;
    }
    /// The scales of block b: half a line.
    FLASHBACK_SIMD_INLINE static constexpr std::size_t scales_at(std::size_t b) noexcept {
        return pair_at(b) + b % 2 * (line_bytes / 2);
    }
    /// The lines of block b.
    FLASHBACK_SIMD_INLINE static constexpr std::size_t lines_at(std::size_t b) noexcept {
        return pair_at(b) + line_bytes + b % 2 * LinesBytes;
    }
    /// The line of scales of the super-block of block b, and maybe of its neighbour.
    FLASHBACK_SIMD_INLINE static constexpr std::size_t super_at(std::size_t b) noexcept requires(SuperInputs > 0) {
        return b / super_blocks * (line_bytes + super_blocks / 2 * pair_bytes);
    }

    static constexpr std::size_t bytes(std::size_t inputs) noexcept {
        const std::size_t blocks = inputs / activation_block;
        std::size_t lines = (blocks + 1) / 2;
        if constexpr (SuperInputs > 0) lines += (inputs + SuperInputs - 1) / SuperInputs;
        return lines * line_bytes + blocks * LinesBytes;
    }
};

}  // namespace flashback::inline FLASHBACK_ISA::simd::detail
