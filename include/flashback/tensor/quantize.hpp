/// \file Turns floats into weights as they are stored.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/tensor/blocks.hpp"
#include "flashback/tensor/dtype.hpp"

#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace flashback::inline FLASHBACK_ISA {
namespace detail {

// A compiler may fuse a product with the sum that follows it. That rounds once instead of twice and turns ties into other
// integers. llama.cpp's reference rounds twice. So after the product, both quantisers below only compare: comparisons cannot be
// fused, and the bytes are the same under all options.

/// The integer nearest to a number, ties away from zero, from -127 to 127; 0 for a NaN.
constexpr std::int8_t rounded_to_q8(float x) noexcept {
    if (!(x > -127.0f)) return x <= -127.0f ? -127 : 0;
    if (x >= 127.0f) return 127;
    const int whole = static_cast<int>(x);
    const auto part = static_cast<float>(whole);
    return static_cast<std::int8_t>(whole + (x >= part + 0.5f ? 1 : 0) - (x <= part - 0.5f ? 1 : 0));
}

inline BlockQ8_0 packed_q8_0(const float* from) noexcept {
    float most = 0;
    for (std::size_t i = 0; i < BlockQ8_0::elements; ++i) {
        const float magnitude = std::fabs(from[i]);
        if (magnitude > most || std::isnan(magnitude)) most = magnitude;  // no number is greater than a NaN, so it stays
    }
    const float d = most / 127.0f;
    const float inverse = d != 0 ? 1.0f / d : 0.0f;
    BlockQ8_0 block;
    block.d = float_to_half(d);
    for (std::size_t i = 0; i < BlockQ8_0::elements; ++i) block.q[i] = rounded_to_q8(from[i] * inverse);
    return block;
}

/// The least float that gives a level of Q4_0: level = int(x + 8.5f), with the sum rounded to a float.
constexpr float q4_0_threshold(int level) noexcept {
    float least = static_cast<float>(level) - 8.5f;
    for (;;) {
        const auto bits = std::bit_cast<std::uint32_t>(least);
        const auto lower = std::bit_cast<float>(least > 0 ? bits - 1 : bits + 1);  // the float below
        if (lower + 8.5f < static_cast<float>(level)) return least;
        least = lower;
    }
}
inline constexpr std::array<float, 15> q4_0_thresholds = [] {
    std::array<float, 15> thresholds{};
    for (int level = 1; level <= 15; ++level) thresholds[static_cast<std::size_t>(level - 1)] = q4_0_threshold(level);
    return thresholds;
}();

inline BlockQ4_0 packed_q4_0(const float* from) noexcept {
    float most = 0;
    float extreme = 0;  // with its sign; it becomes level 0, which is one step further from the middle than level 15
    for (std::size_t i = 0; i < BlockQ4_0::elements; ++i) {
        const float magnitude = std::fabs(from[i]);
        if (magnitude > most || std::isnan(magnitude)) {
            most = magnitude;
            extreme = from[i];
        }
    }
    const float d = extreme / -8.0f;
    const float inverse = d != 0 ? 1.0f / d : 0.0f;
    std::array<std::uint8_t, BlockQ4_0::elements> levels{};  // 0 for a NaN
    for (std::size_t i = 0; i < levels.size(); ++i) {
        const float x = from[i] * inverse;
        for (const float threshold : q4_0_thresholds)
            levels[i] = static_cast<std::uint8_t>(levels[i] + (x >= threshold ? 1 : 0));
    }
    BlockQ4_0 block;
    block.d = float_to_half(d);
    for (std::size_t i = 0; i < 16; ++i) block.q[i] = static_cast<std::uint8_t>(levels[i] | levels[i + 16] << 4);
    return block;
}

/// Writes count / elements pieces, each made by `pack` from `elements` floats.
template <std::size_t elements, class Pack>
void pack_all(const float* from, std::size_t count, std::byte* to, Pack pack) noexcept {
    for (std::size_t i = 0; i < count; i += elements) {
        const auto packed = pack(from + i);
        std::memcpy(to, &packed, sizeof packed);
        to += sizeof packed;
    }
}

}  // namespace detail

/// Whether `quantize` knows a type: F32, F16, BF16, Q8_0 and Q4_0.
constexpr bool can_quantize(DType type) noexcept {
    return type == DType::f32 || type == DType::f16 || type == DType::bf16 || type == DType::q8_0 || type == DType::q4_0;
}

/// Floats as weights of a type, each value rounded to the nearest (F16, BF16: `float_to_half`, `float_to_bf16`).
///
/// Q8_0: d = the largest magnitude / 127, weight = x / d, ties away from zero. Q4_0: d = the value of largest magnitude / -8,
/// weight = min(15, int(x / d + 8.5)). The weights are computed with the scale before it becomes binary16. Any floats are
/// accepted. A block with a NaN, an infinity or a scale beyond binary16 gets a scale that is not finite, so that it shows.
/// Shape     from: count; to: count elements in blocks as `layout_of(type)` says, at any address
/// Requires  `can_quantize(type)`; count is a multiple of the block's elements; `from` and `to` do not overlap
/// Throws    Error{contract} otherwise
/// Cost      no allocation
/// Source    llama.cpp: quantize_row_q8_0_ref and quantize_row_q4_0_ref of ggml-quants.c; the same bytes
inline void quantize(DType type, const float* from, std::size_t count, std::byte* to) {
    const DTypeLayout layout = layout_of(type);
    FLASHBACK_ASSERT(can_quantize(type), "quantize: found the type ", layout.name, ", expected F32, F16, BF16, Q8_0 or Q4_0");
    FLASHBACK_ASSERT(count % layout.block_elements == 0, "quantize: found ", count, " elements for ", layout.name,
                     ", expected a multiple of ", layout.block_elements);
    if (count == 0) return;  // memcpy must not see the null pointers that may come with nothing
    switch (type) {
        case DType::f32: std::memcpy(to, from, count * sizeof(float)); break;
        case DType::f16: detail::pack_all<1>(from, count, to, [](const float* x) { return float_to_half(*x); }); break;
        case DType::bf16: detail::pack_all<1>(from, count, to, [](const float* x) { return float_to_bf16(*x); }); break;
        case DType::q8_0: detail::pack_all<BlockQ8_0::elements>(from, count, to, detail::packed_q8_0); break;
        case DType::q4_0: detail::pack_all<BlockQ4_0::elements>(from, count, to, detail::packed_q4_0); break;
        default: break;  // refused above
    }
}

}  // namespace flashback::inline FLASHBACK_ISA
