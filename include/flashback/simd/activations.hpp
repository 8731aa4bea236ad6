/// \file Rows of activations, in the form that a type of weights is multiplied with.
///
/// What an element becomes depends on its row alone (rules R1 and R4) and is the same for every number of rows. Weights of F32
/// and F16 take it as it is; those of BF16 round it to bfloat16; quantised weights take 8-bit integers with one scale for 32 of
/// them.
#pragma once

#include "flashback/simd/detail/bf16_lanes.hpp"
#include "flashback/simd/detail/byte_lanes.hpp"
#include "flashback/simd/detail/half_lanes.hpp"
#include "flashback/simd/detail/reduce.hpp"
#include "flashback/simd/detail/small_sums.hpp"
#include "flashback/tensor/aligned_buffer.hpp"
#include "flashback/tensor/dtype.hpp"

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>

namespace flashback::inline FLASHBACK_ISA::simd {

/// The form of activations in a product.
enum class Operand : std::uint8_t { f32, bf16, int8 };

/// Elements that share a scale.
inline constexpr std::size_t activation_block = 32;

/// The scale and the sums of 32 activations of 8 bits.
struct ActivationBlock {
    float scale;                                   ///< of all 32
    std::int32_t minus_sum;                        ///< of all 32
    std::array<QuadSum, 2> minus_sums;             ///< of the first and the last 16
    FLASHBACK_NO_UNIQUE_ADDRESS SmallQuads small;  ///< all 32, for weights of up to 6 bits
};

/// Rows of activations, read by products.
struct Activations {
    const float* x = nullptr;                 ///< (rows, x_stride)
    const ActivationPair* pairs = nullptr;    ///< (rows, pair_stride)
    const ActivationQuad* quads = nullptr;    ///< (rows, quad_stride)
    const ActivationBlock* blocks = nullptr;  ///< (rows, block_stride)
    /// From one row to the next, in elements of each.
    std::size_t x_stride = 0, pair_stride = 0, quad_stride = 0, block_stride = 0;  ///< from one row to the next

    Activations() = default;
    /// Shape     x (rows, x_stride)
    Activations(const float* rows_of_x, std::size_t stride) : x(rows_of_x), x_stride(stride) {}

    /// The activations from row r on.
    FLASHBACK_SIMD_INLINE Activations row(std::size_t r) const noexcept {
        Activations a = *this;
        a.x += r * x_stride;
        a.pairs += r * pair_stride;
        a.quads += r * quad_stride;
        a.blocks += r * block_stride;
        return a;
    }
};

namespace detail {

/// Shape     x, to: 32 elements
inline void quantise_block(const float* x, ActivationQuad* to, ActivationBlock& block) noexcept {
    constexpr float infinity = std::numeric_limits<float>::infinity();
    const Lanes low = Lanes::load(x);
    const Lanes high = Lanes::load(x + panel_outputs);
    const Lanes none = Lanes::all(0.0f);
    const Lanes most = Lanes::all(infinity);
    const auto magnitude = [&](const Lanes& v) {
        const Lanes positive = max(v, none - v);
        return where_less(positive, most, positive, most);  // for NaN, too, this gives infinity
    };
    const float greatest = tree_max(max(magnitude(low), magnitude(high)));
    // Below 2^-100 the inverse could overflow; such a block counts as zeros. If one element is infinite, the scale is NaN, and
    // so is all that it scales.
    const bool some = greatest > 0x1p-100f;
    block.scale = some ? (greatest < infinity ? greatest / 127.0f : infinity - infinity) : 0.0f;
    const Lanes inverse = Lanes::all(some ? 127.0f / greatest : 0.0f);
    // Adding 1.5 · 2^23 rounds to the nearest integer (ties to even) and leaves it in the lowest bits.
    const Lanes magic = Lanes::all(0x1.8p23f);
    const Lanes shifted[2] = {low * inverse + magic, high * inverse + magic};
#if defined(FLASHBACK_SIMD_DOT_BYTES) && FLASHBACK_SIMD_FLOATS == 16
    block.minus_sum = 0;
    for (std::size_t half = 0; half < 2; ++half) {
        const __m512i bits = _mm512_castps_si512(shifted[half].part[0]);
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to + half * (panel_outputs / line_inputs)), _mm512_cvtepi32_epi8(bits));
        block.minus_sums[half] = -_mm512_reduce_add_epi32(_mm512_srai_epi32(_mm512_slli_epi32(bits, 24), 24));
        block.minus_sum += block.minus_sums[half];
    }
#else
    float whole[activation_block];
    shifted[0].store(whole);
    shifted[1].store(whole + panel_outputs);
    std::int32_t sums[2][2] = {};
    for (std::size_t i = 0; i < activation_block; ++i) {
        const auto q = static_cast<std::int8_t>(std::bit_cast<std::uint32_t>(whole[i]) & 0xffu);
        to[i / line_inputs].set(i % line_inputs, q);
        block.small.set(i, q);
        sums[i / panel_outputs][i % line_inputs / 2] -= q;
    }
    block.minus_sum = sums[0][0] + sums[0][1] + sums[1][0] + sums[1][1];
    for (std::size_t half = 0; half < 2; ++half) block.minus_sums[half] = quad_sum(sums[half][0], sums[half][1]);
#endif
}

/// How many blocks there are from one row to the next, if a row has `blocks` of them with `bytes` bytes each. A tile takes a
/// block of sixteen rows: these are lines of the cache that evict each other if the distance of rows is a power of two. So
/// there it is an odd number of lines.
constexpr std::size_t blocks_between_rows(std::size_t blocks, [[maybe_unused]] std::size_t bytes) noexcept {
#if defined(FLASHBACK_SIMD_AMX)
    constexpr std::size_t line = 64;
    const std::size_t together = line / std::gcd(line, bytes);
    blocks = ((blocks + together - 1) / together | 1) * together;
#endif
    return blocks;
}

}  // namespace detail

/// Memory for rows of activations in every form but f32. Rows of f32 stay where they are.
class ActivationBuffer {
public:
    ActivationBuffer() = default;
    /// Throws    std::bad_alloc
    ActivationBuffer(std::size_t rows, std::size_t width)
        : pairs_a_row_(elements_a_row<ActivationPair>(width, activation_block / 2)),
          quads_a_row_(elements_a_row<ActivationQuad>(width, activation_block / line_inputs)),
          blocks_a_row_(elements_a_row<ActivationBlock>(width, 1)),
          pairs_(rows * pairs_a_row_),
          quads_(rows * quads_a_row_),
          blocks_(rows * blocks_a_row_) {}

    /// How much memory it takes.
    std::size_t bytes() const noexcept {
        return pairs_.size() * sizeof(ActivationPair) + quads_.size() * sizeof(ActivationQuad) +
               blocks_.size() * sizeof(ActivationBlock);
    }

    /// Converts the elements [first, first + count) of row r.
    /// Shape     x (width): the whole row
    /// Requires  first is a multiple of 32; for int8 so is count
    void convert(Operand operand, std::size_t r, const float* x, std::size_t first, std::size_t count) noexcept {
        if (operand == Operand::bf16) {
            round_pairs(x + first, count, pairs_.data() + r * pairs_a_row_ + first / 2);
        } else if (operand == Operand::int8) {
            ActivationQuad* to = quads_.data() + r * quads_a_row_;
            for (std::size_t i = first; i < first + count; i += activation_block)
                detail::quantise_block(x + i, to + i / line_inputs, blocks_[r * blocks_a_row_ + i / activation_block]);
        }
    }

    /// Shape     x (rows, x_stride): what was converted
    Activations view(const float* x, std::size_t x_stride) const noexcept {
        Activations a{x, x_stride};
        a.pairs = pairs_.data();
        a.quads = quads_.data();
        a.blocks = blocks_.data();
        a.pair_stride = pairs_a_row_;
        a.quad_stride = quads_a_row_;
        a.block_stride = blocks_a_row_;
        return a;
    }

private:
    template <class Element>
    static std::size_t elements_a_row(std::size_t width, std::size_t of_block) noexcept {
        const std::size_t blocks = (width + activation_block - 1) / activation_block;
        return detail::blocks_between_rows(blocks, of_block * sizeof(Element)) * of_block;
    }

    std::size_t pairs_a_row_ = 0;
    std::size_t quads_a_row_ = 0;
    std::size_t blocks_a_row_ = 0;
    AlignedBuffer<ActivationPair> pairs_;
    AlignedBuffer<ActivationQuad> quads_;
    AlignedBuffer<ActivationBlock> blocks_;
};

}  // namespace flashback::inline FLASHBACK_ISA::simd
