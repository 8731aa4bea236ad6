/// \file Turns weights as they are stored into floats.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/tensor/blocks.hpp"
#include "flashback/tensor/dtype.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace flashback::inline FLASHBACK_ISA {
namespace detail {

// Products of a binary16 scale, the 6 bits (Q6_K: 8) of a group's scale and the bits of a weight have at most 24 significant
// bits, so they are exact. Only the sum with a minimum is rounded. So it changes nothing if a compiler fuses the two: the bits
// are the same under all options, and those of llama.cpp.

inline void unpack(const BlockQ4_0& block, float* to) noexcept {
    const float d = half_to_float(block.d);
    for (int i = 0; i < 16; ++i) {
        to[i] = d * static_cast<float>((block.q[i] & 15) - 8);
        to[i + 16] = d * static_cast<float>((block.q[i] >> 4) - 8);
    }
}

inline void unpack(const BlockQ4_1& block, float* to) noexcept {
    const float d = half_to_float(block.d);
    const float m = half_to_float(block.m);
    for (int i = 0; i < 16; ++i) {
        to[i] = d * static_cast<float>(block.q[i] & 15) + m;
        to[i + 16] = d * static_cast<float>(block.q[i] >> 4) + m;
    }
}

/// The fifth bits of 32 weights; bit e belongs to weight e.
inline std::uint32_t fifth_bits(const std::uint8_t (&high)[4]) noexcept {
    return high[0] | static_cast<std::uint32_t>(high[1]) << 8 | static_cast<std::uint32_t>(high[2]) << 16 |
           static_cast<std::uint32_t>(high[3]) << 24;
}

inline void unpack(const BlockQ5_0& block, float* to) noexcept {
    const float d = half_to_float(block.d);
    const std::uint32_t high = fifth_bits(block.high);
    for (int i = 0; i < 16; ++i) {
        const int low_bit = static_cast<int>(high >> i & 1u);
        const int high_bit = static_cast<int>(high >> (i + 16) & 1u);
        to[i] = d * static_cast<float>(((block.q[i] & 15) | low_bit << 4) - 16);
        to[i + 16] = d * static_cast<float>((block.q[i] >> 4 | high_bit << 4) - 16);
    }
}

inline void unpack(const BlockQ5_1& block, float* to) noexcept {
    const float d = half_to_float(block.d);
    const float m = half_to_float(block.m);
    const std::uint32_t high = fifth_bits(block.high);
    for (int i = 0; i < 16; ++i) {
        const int low_bit = static_cast<int>(high >> i & 1u);
        const int high_bit = static_cast<int>(high >> (i + 16) & 1u);
        to[i] = d * static_cast<float>((block.q[i] & 15) | low_bit << 4) + m;
        to[i + 16] = d * static_cast<float>(block.q[i] >> 4 | high_bit << 4) + m;
    }
}

inline void unpack(const BlockQ8_0& block, float* to) noexcept {
    const float d = half_to_float(block.d);
    for (int i = 0; i < 32; ++i) to[i] = d * static_cast<float>(block.q[i]);
}

inline void unpack(const BlockQ2_K& block, float* to) noexcept {
    const float d = half_to_float(block.d);
    const float dmin = half_to_float(block.dmin);
    for (std::size_t group = 0; group < 16; ++group, to += 16) {
        const float scale = d * static_cast<float>(block.scales[group] & 15);
        const float min = dmin * static_cast<float>(block.scales[group] >> 4);
        const std::uint8_t* q = block.q + group / 8 * 32 + group % 2 * 16;
        const std::size_t shift = group % 8 / 2 * 2;
        for (int i = 0; i < 16; ++i) to[i] = scale * static_cast<float>(q[i] >> shift & 3) - min;
    }
}

inline void unpack(const BlockQ3_K& block, float* to) noexcept {
    const float d = half_to_float(block.d);
    for (std::size_t group = 0; group < 16; ++group, to += 16) {
        const float scale = d * static_cast<float>(k3_scale(block.scales, group));
        const std::uint8_t* q = block.q + group / 8 * 32 + group % 2 * 16;
        const std::uint8_t* high = block.high + group % 2 * 16;
        const std::size_t shift = group % 8 / 2 * 2;
        for (int i = 0; i < 16; ++i) {
            const int third_bit = high[i] >> (group / 2) & 1;
            to[i] = scale * static_cast<float>(((q[i] >> shift & 3) | third_bit << 2) - 4);
        }
    }
}

inline void unpack(const BlockQ4_K& block, float* to) noexcept {
    const float d = half_to_float(block.d);
    const float dmin = half_to_float(block.dmin);
    for (std::size_t group = 0; group < 8; ++group, to += 32) {
        const K4Scale k = k4_scale(block.scales, group);
        const float scale = d * static_cast<float>(k.scale);
        const float min = dmin * static_cast<float>(k.min);
        const std::uint8_t* q = block.q + group / 2 * 32;
        const std::size_t shift = group % 2 * 4;
        for (int i = 0; i < 32; ++i) to[i] = scale * static_cast<float>(q[i] >> shift & 15) - min;
    }
}

inline void unpack(const BlockQ5_K& block, float* to) noexcept {
    const float d = half_to_float(block.d);
    const float dmin = half_to_float(block.dmin);
    for (std::size_t group = 0; group < 8; ++group, to += 32) {
        const K4Scale k = k4_scale(block.scales, group);
        const float scale = d * static_cast<float>(k.scale);
        const float min = dmin * static_cast<float>(k.min);
        const std::uint8_t* q = block.q + group / 2 * 32;
        const std::size_t shift = group % 2 * 4;
        for (int i = 0; i < 32; ++i) {
            const int fifth_bit = block.high[i] >> group & 1;
            to[i] = scale * static_cast<float>((q[i] >> shift & 15) | fifth_bit << 4) - min;
        }
    }
}

inline void unpack(const BlockQ6_K& block, float* to) noexcept {
    const float d = half_to_float(block.d);
    for (std::size_t group = 0; group < 16; ++group, to += 16) {
        const float scale = d * static_cast<float>(block.scales[group]);
        const std::uint8_t* low = block.low + group / 8 * 64 + group % 4 * 16;
        const std::uint8_t* high = block.high + group / 8 * 32 + group % 2 * 16;
        const std::size_t low_shift = group % 8 / 4 * 4;
        const std::size_t high_shift = group % 8 / 2 * 2;
        for (int i = 0; i < 16; ++i) {
            to[i] = scale * static_cast<float>(((low[i] >> low_shift & 15) | (high[i] >> high_shift & 3) << 4) - 32);
        }
    }
}

template <class Block>
void unpack_blocks(const std::byte* from, std::size_t count, float* to) noexcept {
    for (std::size_t i = 0; i < count; i += Block::elements, from += sizeof(Block)) {
        Block block;
        std::memcpy(&block, from, sizeof(Block));
        unpack(block, to + i);
    }
}

template <class Convert>
void unpack_halves(const std::byte* from, std::size_t count, float* to, Convert convert) noexcept {
    for (std::size_t i = 0; i < count; ++i) {
        std::uint16_t half;
        std::memcpy(&half, from + i * sizeof half, sizeof half);
        to[i] = convert(half);
    }
}

}  // namespace detail

/// Whether `dequantize` knows a type: F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K, Q3_K, Q4_K, Q5_K and Q6_K.
constexpr bool can_dequantize(DType type) noexcept {
    switch (type) {
        case DType::f32:
        case DType::f16:
        case DType::bf16:
        case DType::q8_0:
        case DType::q4_0:
        case DType::q4_1:
        case DType::q5_0:
        case DType::q5_1:
        case DType::q2_k:
        case DType::q3_k:
        case DType::q4_k:
        case DType::q5_k:
        case DType::q6_k: return true;
        default: return false;
    }
}

/// The values of weights as they lie in a file: any bytes, at any address. A damaged scale may give infinities and NaNs.
/// Shape     from: count elements in blocks as `layout_of(type)` says; to: count
/// Requires  `can_dequantize(type)`; count is a multiple of the block's elements; `from` and `to` do not overlap
/// Throws    Error{contract} otherwise
/// Cost      no allocation; one multiplication for each element, and one addition if the type has minima
/// Source    llama.cpp: the functions dequantize_row_* of ggml-quants.c; the same bits
inline void dequantize(DType type, const std::byte* from, std::size_t count, float* to) {
    const DTypeLayout layout = layout_of(type);
    FLASHBACK_ASSERT(can_dequantize(type), "dequantize: found the type ", layout.name, ", expected a type of weights");
    FLASHBACK_ASSERT(count % layout.block_elements == 0, "dequantize: found ", count, " elements of ", layout.name,
                     ", expected a multiple of ", layout.block_elements);
    if (count == 0) return;  // memcpy must not see the null pointers that may come with nothing
    switch (type) {
        case DType::f32: std::memcpy(to, from, count * sizeof(float)); break;
        case DType::f16: detail::unpack_halves(from, count, to, half_to_float); break;
        case DType::bf16: detail::unpack_halves(from, count, to, bf16_to_float); break;
        case DType::q8_0: detail::unpack_blocks<BlockQ8_0>(from, count, to); break;
        case DType::q4_0: detail::unpack_blocks<BlockQ4_0>(from, count, to); break;
        case DType::q4_1: detail::unpack_blocks<BlockQ4_1>(from, count, to); break;
        case DType::q5_0: detail::unpack_blocks<BlockQ5_0>(from, count, to); break;
        case DType::q5_1: detail::unpack_blocks<BlockQ5_1>(from, count, to); break;
        case DType::q2_k: detail::unpack_blocks<BlockQ2_K>(from, count, to); break;
        case DType::q3_k: detail::unpack_blocks<BlockQ3_K>(from, count, to); break;
        case DType::q4_k: detail::unpack_blocks<BlockQ4_K>(from, count, to); break;
        case DType::q5_k: detail::unpack_blocks<BlockQ5_K>(from, count, to); break;
        case DType::q6_k: detail::unpack_blocks<BlockQ6_K>(from, count, to); break;
        default: break;  // refused above
    }
}

}  // namespace flashback::inline FLASHBACK_ISA
