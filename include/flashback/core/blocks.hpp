/// \file The blocks of weights of GGUF's quantised types, byte for byte.
#pragma once

#include "flashback/core/config.hpp"

#include <cstddef>
#include <cstdint>

namespace flashback::inline FLASHBACK_ISA {

/// 32 weights: d · (q - 8).
struct BlockQ4_0 {
    std::uint16_t d;     ///< f16
    std::uint8_t q[16];  ///< weight i in the lower four bits of q[i], weight i + 16 in the upper ones
};

/// 32 weights: d · q + m.
struct BlockQ4_1 {
    std::uint16_t d;
    std::uint16_t m;
    std::uint8_t q[16];  ///< as in BlockQ4_0
};

/// 32 weights: d · (q - 16).
struct BlockQ5_0 {
    std::uint16_t d;
    std::uint8_t high[4];  ///< the fifth bit of weight i is bit i % 8 of high[i / 8]
    std::uint8_t q[16];    ///< the lower four bits, as in BlockQ4_0
};

/// 32 weights: d · q + m.
struct BlockQ5_1 {
    std::uint16_t d;
    std::uint16_t m;
    std::uint8_t high[4];  ///< as in BlockQ5_0
    std::uint8_t q[16];
};

/// 32 weights: d · q.
struct BlockQ8_0 {
    std::uint16_t d;  ///< f16
    std::int8_t q[32];
};

/// 256 weights in blocks of 16: d · scale · q - dmin · minimum.
struct BlockQ2_K {
    std::uint8_t scales[16];  ///< the scale in the lower four bits, the minimum in the upper ones
    std::uint8_t q[64];       ///< weight 128 h + 32 j + l in the bits 2 j, 2 j + 1 of q[32 h + l]
    std::uint16_t d;
    std::uint16_t dmin;
};

/// 256 weights in blocks of 16: d · (scale - 32) · (q - 4).
struct BlockQ3_K {
    std::uint8_t high[32];    ///< the third bit of weight 32 j + l is bit j of high[l]
    std::uint8_t q[64];       ///< the lower two bits, as in BlockQ2_K
    std::uint8_t scales[12];  ///< 6 bits each, see k3_scale
    std::uint16_t d;
};

/// 256 weights in blocks of 32: d · scale · q - dmin · minimum.
struct BlockQ4_K {
    std::uint16_t d;
    std::uint16_t dmin;
    std::uint8_t scales[12];  ///< 6 bits each, see k4_scale
    std::uint8_t q[128];      ///< weights 64 j + l and 64 j + 32 + l in the lower and upper four bits of q[32 j + l]
};

/// 256 weights in blocks of 32: d · scale · q - dmin · minimum.
struct BlockQ5_K {
    std::uint16_t d;
    std::uint16_t dmin;
    std::uint8_t scales[12];
    std::uint8_t high[32];  ///< the fifth bit of weight 32 j + l is bit j of high[l]
    std::uint8_t q[128];    ///< the lower four bits, as in BlockQ4_K
};

/// 256 weights in blocks of 16: d · scale · (q - 32).
struct BlockQ6_K {
    std::uint8_t low[128];  ///< four bits: of weight 128 h + 32 j + l in low[64 h + 32 (j % 2) + l], upper ones if j >= 2
    std::uint8_t high[64];  ///< two bits: of weight 128 h + 32 j + l in the bits 2 j, 2 j + 1 of high[32 h + l]
    std::int8_t scales[16];
    std::uint16_t d;
};

static_assert(sizeof(BlockQ4_0) == 18 && sizeof(BlockQ4_1) == 20 && sizeof(BlockQ5_0) == 22 && sizeof(BlockQ5_1) == 24 &&
              sizeof(BlockQ8_0) == 34 && sizeof(BlockQ2_K) == 84 && sizeof(BlockQ3_K) == 110 && sizeof(BlockQ4_K) == 144 &&
              sizeof(BlockQ5_K) == 176 && sizeof(BlockQ6_K) == 210);

/// The scale and the minimum of 32 weights, 6 bits each.
struct ScaleAndMinimum {
    std::uint8_t scale;
    std::uint8_t minimum;
};

/// What the 12 bytes of Q4_K and Q5_K say of the block i < 8: the first four in 6 bits each, of the last four the lower four bits
/// in bytes of their own and the upper two above the first four.
constexpr ScaleAndMinimum k4_scale(const std::uint8_t (&scales)[12], std::size_t i) noexcept {
    if (i < 4) return {static_cast<std::uint8_t>(scales[i] & 63), static_cast<std::uint8_t>(scales[i + 4] & 63)};
    return {static_cast<std::uint8_t>((scales[i + 4] & 15) | scales[i - 4] >> 6 << 4),
            static_cast<std::uint8_t>(scales[i + 4] >> 4 | scales[i] >> 6 << 4)};
}

/// The scale of the block i < 16 of Q3_K, from -32 to 31: the lower four bits of i and i + 8 share a byte, the upper two of
/// i, i + 4, i + 8 and i + 12.
constexpr int k3_scale(const std::uint8_t (&scales)[12], std::size_t i) noexcept {
    const int low = scales[i % 8] >> (i / 8 * 4) & 15;
    const int high = scales[8 + i % 4] >> (i / 4 * 2) & 3;
    return (low | high << 4) - 32;
}

}  // namespace flashback::inline FLASHBACK_ISA
