/// \file Products with a packed matrix, as plain loops.
#pragma once

#include "flashback/simd/fma.hpp"
#include "flashback/tensor/blocks.hpp"
#include "flashback/tensor/dequantize.hpp"
#include "flashback/tensor/dtype.hpp"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::testing::plain {

/// One output for weights of F32 and F16: one chain of multiply-adds, k ascending (rule R2).
/// Shape     w, x (n)
inline float dot(const float* w, const float* x, std::size_t n) noexcept {
    float sum = 0;
    for (std::size_t k = 0; k < n; ++k) sum = simd::fma(w[k], x[k], sum);
    return sum;
}

/// x, or zero if it is subnormal and `vdpbf16ps` or a tile is used: these instructions know no subnormal numbers.
inline float flushed(float x) noexcept {
#if (defined(__AVX512BF16__) && defined(__AVX512VNNI__)) || defined(FLASHBACK_SIMD_AMX)
    return std::fabs(x) < std::numeric_limits<float>::min() ? std::copysign(0.0f, x) : x;
#else
    return x;
#endif
}

#if defined(FLASHBACK_SIMD_AMX)
/// a b + c, and zero if that, rounded as if there were no least exponent, is below the least normal number.
inline float flushed_fma(float a, float b, float c) noexcept {
    const float sum = simd::fma(a, b, c);
    if (sum == 0 || std::fabs(sum) > std::numeric_limits<float>::min()) return sum;
    const float large = simd::fma(a * 0x1p64f, b, c * 0x1p64f);
    return std::fabs(large) < std::numeric_limits<float>::min() * 0x1p64f ? std::copysign(0.0f, sum) : sum;
}

/// Adds up to 32 products to a sum, as one instruction of tiles does: one chain of multiply-adds over those at even places and
/// one over those at odd places, both from zero; then their sum is added to what was there. What is missing of the 32 is zero.
/// The second factors are rounded to bfloat16, and no subnormal number goes in or comes out.
/// Shape     w, x (n), n <= 32
inline float add_tile_step(const float* w, const float* x, std::size_t n, float sum) noexcept {
    float chain[2] = {};
    for (std::size_t k = 0; k < 32; ++k) {
        const float a = k < n ? flushed(w[k]) : 0.0f;
        const float b = k < n ? bf16_to_float(float_to_bf16(flushed(x[k]))) : 0.0f;
        chain[k % 2] = flushed_fma(a, b, chain[k % 2]);
    }
    return flushed(flushed(sum) + flushed(chain[0] + chain[1]));
}

/// One output for weights of BF16, as tiles have it: 32 inputs after 32 inputs.
/// Shape     w, x (n)
inline float dot_bf16(const float* w, const float* x, std::size_t n) noexcept {
    float sum = 0;
    for (std::size_t k = 0; k < n; k += 32) sum = add_tile_step(w + k, x + k, n - k < 32 ? n - k : 32, sum);
    return sum;
}
#else
/// One output for weights of BF16. Activations are rounded to bfloat16, and of each pair of products the odd one is added
/// first.
/// Shape     w, x (n)
inline float dot_bf16(const float* w, const float* x, std::size_t n) noexcept {
    const auto add = [&](std::size_t k, float sum) {
        return flushed(simd::fma(flushed(w[k]), flushed(bf16_to_float(float_to_bf16(x[k]))), sum));
    };
    float sum = 0;
    for (std::size_t k = 0; k + 1 < n; k += 2) {
        sum = add(k + 1, sum);
        sum =
            simd::rounded(add(k, sum));  // kept apart: g++ 12.2 at -O3 without FMA loses products when it vectorises this loop
    }
    if (n % 2 != 0) sum = add(n - 1, sum);
    return sum;
}
#endif

/// 32 activations as integers from -127 to 127 with one scale. If all are below 2^-100 they become zeros; if one is not finite
/// the scale is NaN.
struct QuantisedBlock {
    float scale;  ///< what the integers are multiplied by
    int q[32];    ///< the integers
};

/// Shape     x (32)
inline QuantisedBlock quantise(const float* x) noexcept {
    QuantisedBlock block{};
    float most = 0;
    for (int i = 0; i < 32; ++i) most = std::isfinite(x[i]) ? std::fmax(most, std::fabs(x[i])) : INFINITY;
    if (!(most > 0x1p-100f)) return block;
    if (std::isinf(most)) return block.scale = std::numeric_limits<float>::quiet_NaN(), block;
    block.scale = most / 127.0f;
    const float inverse = 127.0f / most;
    for (int i = 0; i < 32; ++i) block.q[i] = static_cast<int>(std::nearbyint(simd::rounded(x[i] * inverse)));
    return block;
}

/// The sum of w[k] q[k] over 32 weights that are whole numbers.
template <class Weight>
int dot_of_integers(const QuantisedBlock& x, std::size_t first, std::size_t last, const Weight& weight) noexcept {
    int sum = 0;
    for (std::size_t k = first; k < last; ++k) sum += weight(k) * x.q[k];
    return sum;
}

/// Adds block `i` of 32 weights: an exact sum of integers, then one multiply-add with both scales (rule R2). If 256 weights
/// share a block of the file, `i` counts the parts of 32.
inline float add_block(const BlockQ8_0& w, std::size_t /*i*/, const QuantisedBlock& x, float sum) noexcept {
    const int dot = dot_of_integers(x, 0, 32, [&](std::size_t k) { return w.q[k]; });
    return simd::fma(static_cast<float>(dot), simd::rounded(half_to_float(w.d) * x.scale), sum);
}
inline float add_block(const BlockQ4_0& w, std::size_t /*i*/, const QuantisedBlock& x, float sum) noexcept {
    const int dot = dot_of_integers(x, 0, 32, [&](std::size_t k) { return (w.q[k % 16] >> (k / 16 * 4) & 15) - 8; });
    return simd::fma(static_cast<float>(dot), simd::rounded(half_to_float(w.d) * x.scale), sum);
}
/// The minimum counts once for all 32.
inline float add_block(const BlockQ4_K& w, std::size_t i, const QuantisedBlock& x, float sum) noexcept {
    const auto small = k4_scale(w.scales, i);
    const int dot = dot_of_integers(x, 0, 32, [&](std::size_t k) { return w.q[i / 2 * 32 + k] >> (i % 2 * 4) & 15; });
    const int total = dot_of_integers(x, 0, 32, [](std::size_t) { return 1; });
    sum = simd::fma(static_cast<float>(dot * small.scale), simd::rounded(half_to_float(w.d) * x.scale), sum);
    return simd::fma(static_cast<float>(-total * small.min), simd::rounded(half_to_float(w.dmin) * x.scale), sum);
}
/// The two scales, one for each 16 weights, are whole numbers as well.
inline float add_block(const BlockQ6_K& w, std::size_t i, const QuantisedBlock& x, float sum) noexcept {
    const auto weight = [&](std::size_t k) {
        const std::size_t quarter = i % 4;
        const int low = w.low[i / 4 * 64 + quarter % 2 * 32 + k] >> (quarter / 2 * 4) & 15;
        return (low | (w.high[i / 4 * 32 + k] >> (quarter * 2) & 3) << 4) - 32;
    };
    const int dot =
        dot_of_integers(x, 0, 16, weight) * w.scales[2 * i] + dot_of_integers(x, 16, 32, weight) * w.scales[2 * i + 1];
    return simd::fma(static_cast<float>(dot), simd::rounded(half_to_float(w.d) * x.scale), sum);
}

/// One output for quantised weights.
/// Shape     w: n weights in blocks   x (n)
template <class Block>
float dot_blocks(const std::byte* w, const float* x, std::size_t n) noexcept {
    constexpr std::size_t parts = Block::elements / 32;
    float sum = 0;
    for (std::size_t b = 0; b < n / 32; ++b) {
        Block block;
        std::memcpy(&block, w + b / parts * sizeof block, sizeof block);
        sum = add_block(block, b % parts, quantise(x + b * 32), sum);
    }
    return sum;
}

/// One output for weights of any type that is multiplied as it is: this is what every product computes.
/// Shape     w: n weights as GGUF stores them   x (n)
inline float dot(DType type, const std::byte* w, const float* x, std::size_t n) {
    switch (type) {
        case DType::q8_0: return dot_blocks<BlockQ8_0>(w, x, n);
        case DType::q4_0: return dot_blocks<BlockQ4_0>(w, x, n);
        case DType::q4_k: return dot_blocks<BlockQ4_K>(w, x, n);
        case DType::q6_k: return dot_blocks<BlockQ6_K>(w, x, n);
        default: break;
    }
    std::vector<float> values(n);
    dequantize(type, w, n, values.data());
    return type == DType::bf16 ? dot_bf16(values.data(), x, n) : dot(values.data(), x, n);
}

}  // namespace flashback::inline FLASHBACK_ISA::testing::plain
