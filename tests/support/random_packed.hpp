/// \file Random quantised weights, packed.
#pragma once

#include "flashback/core/random.hpp"
#include "flashback/simd/packed_matrix.hpp"
#include "support/random_blocks.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace flashback_test::inline FLASHBACK_ISA {

/// Weights of any bits (so Q8_0 has -128, too, which no quantised number is), with scales that are numbers.
/// Requires  Q8_0, Q4_0, Q4_K or Q6_K
inline flashback::simd::PackedMatrix random_packed(flashback::DType type, std::size_t outputs, std::size_t inputs,
                                                   flashback::SplitMix64& random) {
    flashback::simd::PackedMatrix w{type, outputs, inputs};
    const flashback::DTypeLayout layout = flashback::layout_of(type);
    const std::size_t blocks = inputs / layout.block_elements;
    std::vector<std::byte> row(blocks * layout.block_bytes);
    for (std::size_t o = 0; o < outputs; ++o) {
        if (layout.block_elements == 32) {
            for (std::byte& byte : row) byte = static_cast<std::byte>(random.below(256));
            for (std::size_t b = 0; b < blocks; ++b) {
                const std::uint16_t scale = flashback::float_to_half(static_cast<float>(random.uniform()));
                std::memcpy(row.data() + b * layout.block_bytes, &scale, sizeof scale);
            }
        } else {
            random_blocks(type, random, blocks, 1.0, row.data());
        }
        w.set_row(o, row.data());
    }
    return w;
}

}  // namespace flashback_test::inline FLASHBACK_ISA
