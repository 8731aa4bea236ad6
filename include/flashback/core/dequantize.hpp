/// \file The values of weights as GGUF stores them.
#pragma once

#include "flashback/core/blocks.hpp"
#include "flashback/core/dtype.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace flashback::inline FLASHBACK_ISA {

namespace detail {

// Weight i of a block. The order of the multiplications is llama.cpp's, so the values are its values to the bit.
constexpr float weight_of(const BlockQ4_0& b, std::size_t i) noexcept {
    return half_to_float(b.d) * static_cast<float>((b.q[i % 16] >> (i / 16 * 4) & 15) - 8);
}
constexpr float weight_of(const BlockQ4_1& b, std::size_t i) noexcept {
    const float product = half_to_float(b.d) * static_cast<float>(b.q[i % 16] >> (i / 16 * 4) & 15);
    return product + half_to_float(b.m);
}
constexpr int five_bits(const std::uint8_t (&q)[16], const std::uint8_t (&high)[4], std::size_t i) noexcept {
    return (q[i % 16] >> (i / 16 * 4) & 15) | (high[i / 8] >> (i % 8) & 1) << 4;
}
constexpr float weight_of(const BlockQ5_0& b, std::size_t i) noexcept {
    return half_to_float(b.d) * static_cast<float>(five_bits(b.q, b.high, i) - 16);
}
constexpr float weight_of(const BlockQ5_1& b, std::size_t i) noexcept {
    const float product = half_to_float(b.d) * static_cast<float>(five_bits(b.q, b.high, i));
    return product + half_to_float(b.m);
}
constexpr float weight_of(const BlockQ8_0& b, std::size_t i) noexcept {
    return half_to_float(b.d) * static_cast<float>(b.q[i]);
}
constexpr int two_bits(const std::uint8_t (&q)[64], std::size_t i) noexcept {
    return q[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
}
constexpr float weight_of(const BlockQ2_K& b, std::size_t i) noexcept {
    const int both = b.scales[i / 16];
    const float scale = half_to_float(b.d) * static_cast<float>(both & 15);
    const float minimum = half_to_float(b.dmin) * static_cast<float>(both >> 4);
    return scale * static_cast<float>(two_bits(b.q, i)) - minimum;
}
constexpr float weight_of(const BlockQ3_K& b, std::size_t i) noexcept {
    const int q = two_bits(b.q, i) + ((b.high[i % 32] >> (i / 32) & 1) << 2) - 4;
    return half_to_float(b.d) * static_cast<float>(k3_scale(b.scales, i / 16)) * static_cast<float>(q);
}
constexpr float weight_of(const BlockQ4_K& b, std::size_t i) noexcept {
    const ScaleAndMinimum s = k4_scale(b.scales, i / 32);
    const float scale = half_to_float(b.d) * static_cast<float>(s.scale);
    const float minimum = half_to_float(b.dmin) * static_cast<float>(s.minimum);
    return scale * static_cast<float>(b.q[i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15) - minimum;
}
constexpr float weight_of(const BlockQ5_K& b, std::size_t i) noexcept {
    const ScaleAndMinimum s = k4_scale(b.scales, i / 32);
    const float scale = half_to_float(b.d) * static_cast<float>(s.scale);
    const float minimum = half_to_float(b.dmin) * static_cast<float>(s.minimum);
    const int q = (b.q[i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15) | (b.high[i % 32] >> (i / 32) & 1) << 4;
    return scale * static_cast<float>(q) - minimum;
}
constexpr float weight_of(const BlockQ6_K& b, std::size_t i) noexcept {
    const std::size_t quarter = i % 128 / 32;
    const int low = b.low[i / 128 * 64 + quarter % 2 * 32 + i % 32] >> (quarter / 2 * 4) & 15;
    const int high = b.high[i / 128 * 32 + i % 32] >> (quarter * 2) & 3;
    return half_to_float(b.d) * static_cast<float>(b.scales[i / 16]) * static_cast<float>((low | high << 4) - 32);
}

template <class Block>
inline void dequantize_blocks(const std::byte* from, std::size_t count, std::size_t block_elements, float* to) noexcept {
    for (std::size_t first = 0; first < count; first += block_elements) {
        Block block;
        std::memcpy(&block, from + first / block_elements * sizeof block, sizeof block);
        for (std::size_t i = 0; i < block_elements; ++i) to[first + i] = weight_of(block, i);
    }
}

template <class Element, class Convert>
inline void convert_elements(const std::byte* from, std::size_t count, const Convert& convert, float* to) noexcept {
    for (std::size_t i = 0; i < count; ++i) {
        Element element;
        std::memcpy(&element, from + i * sizeof element, sizeof element);
        to[i] = convert(element);
    }
}

}  // namespace detail

/// The values of `count` weights of a type; whether it is a type of weights.
/// Shape     from: what GGUF stores of them   to (count)
/// Requires  count is a multiple of the block of the type
inline bool dequantize(DType type, const std::byte* from, std::size_t count, float* to) noexcept {
    switch (type) {
        case DType::f32: std::memcpy(to, from, count * sizeof(float)); return true;
        case DType::f16: detail::convert_elements<std::uint16_t>(from, count, half_to_float, to); return true;
        case DType::bf16: detail::convert_elements<std::uint16_t>(from, count, bf16_to_float, to); return true;
        case DType::q4_0: detail::dequantize_blocks<BlockQ4_0>(from, count, 32, to); return true;
        case DType::q4_1: detail::dequantize_blocks<BlockQ4_1>(from, count, 32, to); return true;
        case DType::q5_0: detail::dequantize_blocks<BlockQ5_0>(from, count, 32, to); return true;
        case DType::q5_1: detail::dequantize_blocks<BlockQ5_1>(from, count, 32, to); return true;
        case DType::q8_0: detail::dequantize_blocks<BlockQ8_0>(from, count, 32, to); return true;
        case DType::q2_k: detail::dequantize_blocks<BlockQ2_K>(from, count, 256, to); return true;
        case DType::q3_k: detail::dequantize_blocks<BlockQ3_K>(from, count, 256, to); return true;
        case DType::q4_k: detail::dequantize_blocks<BlockQ4_K>(from, count, 256, to); return true;
        case DType::q5_k: detail::dequantize_blocks<BlockQ5_K>(from, count, 256, to); return true;
        case DType::q6_k: detail::dequantize_blocks<BlockQ6_K>(from, count, 256, to); return true;
        default: return false;
    }
}

/// Whether `dequantize` knows a type.
inline bool can_dequantize(DType type) noexcept { return dequantize(type, nullptr, 0, nullptr); }

}  // namespace flashback::inline FLASHBACK_ISA
