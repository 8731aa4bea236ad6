/// \file Random weights of the types that nothing is converted to: blocks of any bits.
#pragma once

#include "flashback/core/random.hpp"
#include "flashback/tensor/dtype.hpp"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace flashback_test::inline FLASHBACK_ISA {

/// Any bytes are blocks of Q4_K and Q6_K, but the scales of a block must be numbers.
/// Shape     to: blocks, as a file has them; `scale(0)` gives d of the next block, and behind it `scale(1)` its dmin (Q4_K)
template <class Scale>
void random_blocks(flashback::DType type, flashback::SplitMix64& random, std::size_t blocks, const Scale& scale,
                   std::byte* to) {
    const std::size_t bytes = flashback::layout_of(type).block_bytes;
    for (std::size_t i = 0; i < blocks * bytes; ++i) to[i] = static_cast<std::byte>(random.below(256));
    const bool q4 = type == flashback::DType::q4_k;
    for (std::size_t block = 0; block < blocks; ++block, to += bytes) {
        for (std::size_t i = 0; i < (q4 ? 2u : 1u); ++i) {
            const std::uint16_t half = flashback::float_to_half(scale(i));
            std::memcpy(to + (q4 ? 0 : 208) + i * sizeof half, &half, sizeof half);
        }
    }
}

/// The same with as much variance as numbers from -most to most have, and a mean near zero.
inline void random_blocks(flashback::DType type, flashback::SplitMix64& random, std::size_t blocks, double most,
                          std::byte* to) {
    // With uniform bits s n - 7.5 m of Q4_K has a standard deviation of 258, s (n - 32) of Q6_K one of 1365.
    const double one = most / std::sqrt(3.0) / (type == flashback::DType::q4_k ? 258 : 1365);
    random_blocks(
        type, random, blocks, [&](std::size_t i) { return static_cast<float>(i == 0 ? one : 7.5 * one); }, to);
}

}  // namespace flashback_test::inline FLASHBACK_ISA
