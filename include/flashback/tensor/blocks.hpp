/// \file The blocks in which GGUF stores quantised weights, byte for byte.
///
/// Every struct has the size and the order of the file. Bytes of a file may lie anywhere, so read a block with memcpy. `d` and
/// the like are binary16 numbers (`half_to_float`). Each struct says which bits belong to which element: e counts the elements
/// of the block, and `/` and `%` are those of integers. `dequantize` is the same in code.
/// Source    llama.cpp: ggml-common.h and the functions dequantize_row_* of ggml-quants.c
#pragma once

#include "flashback/tensor/dtype.hpp"

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace flashback::inline FLASHBACK_ISA {

/// 32 weights of 4 bits, centred: weight e = d (n - 8) with n the low nibble of q[e], for e >= 16 the high nibble of q[e - 16].
struct BlockQ4_0 {
    static constexpr DType type = DType::q4_0;   ///< its name
    static constexpr std::size_t elements = 32;  ///< weights of a block
    std::uint16_t d;                             ///< scale, binary16
    std::uint8_t q[16];                          ///< the weights
};

/// 32 weights of 4 bits above a minimum: weight e = d n + m, with n as in BlockQ4_0.
struct BlockQ4_1 {
    static constexpr DType type = DType::q4_1;   ///< its name
    static constexpr std::size_t elements = 32;  ///< weights of a block
    std::uint16_t d;                             ///< scale, binary16
    std::uint16_t m;                             ///< minimum, binary16
    std::uint8_t q[16];                          ///< the weights
};

/// 32 weights of 5 bits, centred: weight e = d (n - 16); the low 4 bits of n as in BlockQ4_0, the fifth is bit e % 8 of
/// high[e / 8].
struct BlockQ5_0 {
    static constexpr DType type = DType::q5_0;   ///< its name
    static constexpr std::size_t elements = 32;  ///< weights of a block
    std::uint16_t d;                             ///< scale, binary16
    std::uint8_t high[4];                        ///< their high bits
    std::uint8_t q[16];                          ///< low bits of the weights
};

/// 32 weights of 5 bits above a minimum: weight e = d n + m, with n as in BlockQ5_0.
struct BlockQ5_1 {
    static constexpr DType type = DType::q5_1;   ///< its name
    static constexpr std::size_t elements = 32;  ///< weights of a block
    std::uint16_t d;                             ///< scale, binary16
    std::uint16_t m;                             ///< minimum, binary16
    std::uint8_t high[4];                        ///< their high bits
    std::uint8_t q[16];                          ///< low bits of the weights
};

/// 32 weights of 8 bits: weight e = d q[e].
struct BlockQ8_0 {
    static constexpr DType type = DType::q8_0;   ///< its name
    static constexpr std::size_t elements = 32;  ///< weights of a block
    std::uint16_t d;                             ///< scale, binary16
    std::int8_t q[32];                           ///< the weights
};

/// 256 weights of 2 bits in groups of 16: weight e = d s n - dmin m, with s and m the low and the high nibble of scales[e / 16]
/// and n two bits of q[e / 128 * 32 + e % 32], from bit e % 128 / 32 * 2.
struct BlockQ2_K {
    static constexpr DType type = DType::q2_k;    ///< its name
    static constexpr std::size_t elements = 256;  ///< weights of a block
    std::uint8_t scales[16];                      ///< of the groups
    std::uint8_t q[64];                           ///< the weights
    std::uint16_t d;                              ///< scale, binary16
    std::uint16_t dmin;                           ///< scale of the minima, binary16
};

/// 256 weights of 3 bits in groups of 16: weight e = d s (n - 4), with s = k3_scale(scales, e / 16), the low two bits of n as
/// in BlockQ2_K, and the third is bit e / 32 of high[e % 32].
struct BlockQ3_K {
    static constexpr DType type = DType::q3_k;    ///< its name
    static constexpr std::size_t elements = 256;  ///< weights of a block
    std::uint8_t high[32];                        ///< their high bits
    std::uint8_t q[64];                           ///< low bits of the weights
    std::uint8_t scales[12];                      ///< of the groups
    std::uint16_t d;                              ///< scale, binary16
};

/// 256 weights of 4 bits in groups of 32: weight e = d s n - dmin m, with {s, m} = k4_scale(scales, e / 32) and n a nibble of
/// q[e / 64 * 32 + e % 32]: the low one if e / 32 is even, the high one if it is odd.
struct BlockQ4_K {
    static constexpr DType type = DType::q4_k;    ///< its name
    static constexpr std::size_t elements = 256;  ///< weights of a block
    std::uint16_t d;                              ///< scale, binary16
    std::uint16_t dmin;                           ///< scale of the minima, binary16
    std::uint8_t scales[12];                      ///< of the groups
    std::uint8_t q[128];                          ///< the weights
};

/// 256 weights of 5 bits in groups of 32: as BlockQ4_K, and the fifth bit of n is bit e / 32 of high[e % 32].
struct BlockQ5_K {
    static constexpr DType type = DType::q5_k;    ///< its name
    static constexpr std::size_t elements = 256;  ///< weights of a block
    std::uint16_t d;                              ///< scale, binary16
    std::uint16_t dmin;                           ///< scale of the minima, binary16
    std::uint8_t scales[12];                      ///< of the groups
    std::uint8_t high[32];                        ///< their high bits
    std::uint8_t q[128];                          ///< low bits of the weights
};

/// 256 weights of 6 bits in groups of 16: weight e = d s (n - 32) with s = scales[e / 16]. With r = e % 128, the place in a
/// half of the block, n has the low nibble (r < 64) or the high nibble of low[e / 128 * 64 + r % 64], and above it two bits of
/// high[e / 128 * 32 + r % 32], from bit r / 32 * 2.
struct BlockQ6_K {
    static constexpr DType type = DType::q6_k;    ///< its name
    static constexpr std::size_t elements = 256;  ///< weights of a block
    std::uint8_t low[128];                        ///< low bits of the weights
    std::uint8_t high[64];                        ///< their high bits
    std::int8_t scales[16];                       ///< of the groups
    std::uint16_t d;                              ///< scale, binary16
};

/// The scale and the minimum of a group in Q4_K and Q5_K, 0 to 63 each.
struct K4Scale {
    std::uint8_t scale;  ///< of a group
    std::uint8_t min;    ///< of a group
};

/// Takes the 6-bit scale and minimum of group i out of the 12 bytes of a Q4_K or Q5_K block.
/// Requires  i < 8
constexpr K4Scale k4_scale(const std::uint8_t (&scales)[12], std::size_t i) noexcept {
    const auto byte = [](int value) { return static_cast<std::uint8_t>(value); };
    // Bytes 0 to 3 and 4 to 7 hold the first four scales and minima whole. The others have their low bits in bytes 8 to 11, and
    // their upper two bits on top of the first four.
    if (i < 4) return {byte(scales[i] & 63), byte(scales[i + 4] & 63)};
    return {byte((scales[i + 4] & 15) | scales[i - 4] >> 6 << 4), byte(scales[i + 4] >> 4 | scales[i] >> 6 << 4)};
}

/// Takes the 6-bit scale of group i, -32 to 31, out of the 12 bytes of a Q3_K block.
/// Requires  i < 16
constexpr int k3_scale(const std::uint8_t (&scales)[12], std::size_t i) noexcept {
    const int low = i < 8 ? scales[i] & 15 : scales[i - 8] >> 4;
    const int high = scales[8 + i % 4] >> (i / 4 * 2) & 3;
    return (low | high << 4) - 32;
}

namespace detail {

/// A block as in the file: it has no padding, consists of bytes, and is as large as the table of types says.
template <class Block>
inline constexpr bool matches_layout = std::is_trivially_copyable_v<Block>&& std::has_unique_object_representations_v<Block> &&
                                       sizeof(Block) == layout_of(Block::type).block_bytes&& Block::elements ==
                                           layout_of(Block::type).block_elements;

}  // namespace detail

static_assert(detail::matches_layout<BlockQ4_0> && sizeof(BlockQ4_0) == 18);
static_assert(detail::matches_layout<BlockQ4_1> && sizeof(BlockQ4_1) == 20);
static_assert(detail::matches_layout<BlockQ5_0> && sizeof(BlockQ5_0) == 22);
static_assert(detail::matches_layout<BlockQ5_1> && sizeof(BlockQ5_1) == 24);
static_assert(detail::matches_layout<BlockQ8_0> && sizeof(BlockQ8_0) == 34);
static_assert(detail::matches_layout<BlockQ2_K> && sizeof(BlockQ2_K) == 84);
static_assert(detail::matches_layout<BlockQ3_K> && sizeof(BlockQ3_K) == 110);
static_assert(detail::matches_layout<BlockQ4_K> && sizeof(BlockQ4_K) == 144);
static_assert(detail::matches_layout<BlockQ5_K> && sizeof(BlockQ5_K) == 176);
static_assert(detail::matches_layout<BlockQ6_K> && sizeof(BlockQ6_K) == 210);

}  // namespace flashback::inline FLASHBACK_ISA
