/// \file Element types of weights as GGUF numbers them, and the conversions that loading needs.
#pragma once

#include "flashback/core/config.hpp"

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace flashback::inline FLASHBACK_ISA {

/// The element type of a tensor; the values are GGUF's.
enum class DType : std::uint32_t {
    f32 = 0,
    f16 = 1,
    q4_0 = 2,
    q4_1 = 3,
    q5_0 = 6,
    q5_1 = 7,
    q8_0 = 8,
    q8_1 = 9,
    q2_k = 10,
    q3_k = 11,
    q4_k = 12,
    q5_k = 13,
    q6_k = 14,
    q8_k = 15,
    i8 = 24,
    i16 = 25,
    i32 = 26,
    i64 = 27,
    f64 = 28,
    bf16 = 30,
};

/// How the elements of a type lie in memory: in blocks of some elements and some bytes.
struct DTypeLayout {
    std::string_view name;       ///< as GGUF's tools write it
    std::size_t block_elements;  ///< numbers in a block
    std::size_t block_bytes;     ///< size of a block
};

/// The layout of a type; `block_elements` is 0 for a number that names no type.
constexpr DTypeLayout layout_of(DType type) noexcept {
    switch (type) {
        case DType::f32: return {"F32", 1, 4};
        case DType::f16: return {"F16", 1, 2};
        case DType::bf16: return {"BF16", 1, 2};
        case DType::f64: return {"F64", 1, 8};
        case DType::i8: return {"I8", 1, 1};
        case DType::i16: return {"I16", 1, 2};
        case DType::i32: return {"I32", 1, 4};
        case DType::i64: return {"I64", 1, 8};
        case DType::q4_0: return {"Q4_0", 32, 18};
        case DType::q4_1: return {"Q4_1", 32, 20};
        case DType::q5_0: return {"Q5_0", 32, 22};
        case DType::q5_1: return {"Q5_1", 32, 24};
        case DType::q8_0: return {"Q8_0", 32, 34};
        case DType::q8_1: return {"Q8_1", 32, 36};
        case DType::q2_k: return {"Q2_K", 256, 84};
        case DType::q3_k: return {"Q3_K", 256, 110};
        case DType::q4_k: return {"Q4_K", 256, 144};
        case DType::q5_k: return {"Q5_K", 256, 176};
        case DType::q6_k: return {"Q6_K", 256, 210};
        case DType::q8_k: return {"Q8_K", 256, 292};
    }
    return {"unknown", 0, 0};
}

/// The value of an IEEE 754 binary16 number; exact, NaN payloads included.
constexpr float half_to_float(std::uint16_t half) noexcept {
    const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000u) << 16;
    const std::uint32_t exponent = (half >> 10) & 0x1fu;
    const std::uint32_t fraction = half & 0x3ffu;
    if (exponent == 0x1f) return std::bit_cast<float>(sign | 0x7f800000u | fraction << 13);
    if (exponent != 0) return std::bit_cast<float>(sign | (exponent + 112) << 23 | fraction << 13);
    const float magnitude = static_cast<float>(fraction) * 0x1p-24f;  // subnormal: exact in f32
    return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(magnitude));
}

/// The binary16 number nearest to a value: ties to even, too large becomes infinity, subnormals are kept, a NaN stays a NaN
/// (quiet, with the upper bits of its payload). The same bits as the conversion instructions of x86 (F16C) and Arm.
constexpr std::uint16_t float_to_half(float value) noexcept {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t sign = bits >> 16 & 0x8000u;
    const std::uint32_t magnitude = bits & 0x7fffffffu;
    std::uint32_t half;
    if (magnitude > 0x7f800000u) {
        half = 0x7e00u | (magnitude >> 13 & 0x3ffu);
    } else if (magnitude >= 0x477ff000u) {  // 65520 is the middle between 65504 and the number that infinity stands for
        half = 0x7c00u;
    } else if (magnitude < 0x38800000u) {  // below 2^-14: adding 0.5 rounds at 2^-24, the step of the subnormals
        half = std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - std::bit_cast<std::uint32_t>(0.5f);
    } else {
        half = (magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u)) >> 13;
    }
    return static_cast<std::uint16_t>(sign | half);
}

/// The value of a bfloat16 number, the upper half of a float; exact, NaN payloads included.
constexpr float bf16_to_float(std::uint16_t bf16) noexcept {
    return std::bit_cast<float>(static_cast<std::uint32_t>(bf16) << 16);
}

/// The bfloat16 number nearest to a value: ties to even, too large becomes infinity, subnormals are kept, a NaN stays a NaN
/// (quiet, with the upper bits of its payload).
constexpr std::uint16_t float_to_bf16(float value) noexcept {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>(bits >> 16 | 0x40u);
    return static_cast<std::uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

}  // namespace flashback::inline FLASHBACK_ISA
