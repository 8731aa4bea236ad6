/// \file Weights as GGUF stores them, made of floats.
#pragma once

#include "flashback/core/blocks.hpp"
#include "flashback/core/dtype.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace flashback::inline FLASHBACK_ISA {

namespace detail {

inline BlockQ8_0 quantize_q8_0(const float* x) noexcept {
    float most = 0;
    for (std::size_t i = 0; i < 32; ++i) most = std::max(most, std::fabs(x[i]));
    const float d = most / 127.0f;
    const float inverse = d != 0.0f ? 1.0f / d : 0.0f;
    BlockQ8_0 block{float_to_half(d), {}};
    for (std::size_t i = 0; i < 32; ++i)
        block.q[i] = static_cast<std::int8_t>(std::clamp(std::round(x[i] * inverse), -127.0f, 127.0f));
    return block;
}

/// The weight of greatest magnitude becomes -8, the end that has one step more.
inline BlockQ4_0 quantize_q4_0(const float* x) noexcept {
    float most = 0;
    for (std::size_t i = 0; i < 32; ++i) {
        if (std::fabs(x[i]) > std::fabs(most)) most = x[i];
    }
    const float d = most / -8.0f;
    const float inverse = d != 0.0f ? 1.0f / d : 0.0f;
    const auto step = [&](float value) {
        return static_cast<unsigned>(std::clamp(value * inverse + 8.5f, 0.0f, 15.0f));
    };
    BlockQ4_0 block{float_to_half(d), {}};
    for (std::size_t i = 0; i < 16; ++i) block.q[i] = static_cast<std::uint8_t>(step(x[i]) | step(x[i + 16]) << 4);
    return block;
}

template <std::size_t Elements, class Make>
inline void store_blocks(const float* from, std::size_t count, const Make& make, std::byte* to) noexcept {
    for (std::size_t first = 0; first < count; first += Elements) {
        const auto block = make(from + first);
        std::memcpy(to + first / Elements * sizeof block, &block, sizeof block);
    }
}

}  // namespace detail

/// Rounds `count` floats to a type as llama.cpp's reference does; whether the type is F32, F16, BF16, Q8_0 or Q4_0, the ones that
/// can be made.
/// Shape     from (count)   to: what GGUF stores of them
/// Requires  count is a multiple of the block of the type; for the quantised ones all are finite
inline bool quantize(DType type, const float* from, std::size_t count, std::byte* to) noexcept {
    switch (type) {
        case DType::f32: std::memcpy(to, from, count * sizeof(float)); return true;
        case DType::f16: detail::store_blocks<1>(from, count, [](const float* x) { return float_to_half(*x); }, to); return true;
        case DType::bf16: detail::store_blocks<1>(from, count, [](const float* x) { return float_to_bf16(*x); }, to); return true;
        case DType::q8_0: detail::store_blocks<32>(from, count, detail::quantize_q8_0, to); return true;
        case DType::q4_0: detail::store_blocks<32>(from, count, detail::quantize_q4_0, to); return true;
        default: return false;
    }
}

/// Whether `quantize` makes a type.
inline bool can_quantize(DType type) noexcept { return quantize(type, nullptr, 0, nullptr); }

}  // namespace flashback::inline FLASHBACK_ISA
