/// \file The products of training with factors that are rounded to bf16: by tiles, by `vdpbf16ps`, or by what has its bits.
#pragma once

#include "flashback/simd/detail/bf16_lanes.hpp"
#include "flashback/simd/detail/matmul_tile.hpp"
#include "flashback/simd/gemm.hpp"
#include "flashback/simd/transpose.hpp"
#include "flashback/tensor/aligned_buffer.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>

namespace flashback::inline FLASHBACK_ISA::simd {

/// Inputs that are summed together before they are added to C. It is a part of how gemm_bf16 sums.
inline constexpr std::size_t gemm_bf16_block = 512;

/// Where gemm_bf16 keeps its rounded factors. One thread at a time may use it.
/// Cost      about half a MiB
class GemmBF16Scratch {
public:
    /// Throws    std::bad_alloc
    GemmBF16Scratch()
        : rows_(rows_at_once * pair_stride), panels_(panels_at_once * panel_bytes), sums_(rows_at_once * sum_stride) {}

    /// How much memory it takes.
    std::size_t bytes() const noexcept {
        return rows_.size() * sizeof(ActivationPair) + panels_.size() + sums_.size() * sizeof(float);
    }

    /// Rows and panels that are rounded at once: so much stays in the second-level cache.
    static constexpr std::size_t rows_at_once = 192;
    static constexpr std::size_t panels_at_once = 8;  ///< as for rows
    /// From one row to the next, in pairs: rows at a distance of a power of two would evict each other.
    static constexpr std::size_t pair_stride = gemm_bf16_block / 2 + 16;
    static constexpr std::size_t panel_bytes = (gemm_bf16_block / 2 + 1) * line_bytes;  ///< from one panel to the next
    static constexpr std::size_t sum_stride = (panels_at_once + 1) * panel_outputs;     ///< from one row of sums to the next

    /// A block of the left factor.
    /// Shape     (rows_at_once, pair_stride)
    ActivationPair* rows() noexcept { return rows_.data(); }
    /// A block of the right factor.
    /// Shape     (panels_at_once, panel_bytes)
    std::byte* panels() noexcept { return panels_.data(); }
    /// Their product.
    /// Shape     (rows_at_once, sum_stride)
    float* sums() noexcept { return sums_.data(); }

private:
    AlignedBuffer<ActivationPair> rows_;
    AlignedBuffer<std::byte> panels_;
    AlignedBuffer<float> sums_;
};

namespace detail {

/// Rounds a block of the left factor.
/// Shape     to (rows, pair_stride), of which `depth` numbers are written, and zeros to the end of the last group
inline void round_gemm_rows(const GemmRows& a, std::size_t row, std::size_t rows, std::size_t k, std::size_t depth,
                            ActivationPair* to) noexcept {
    constexpr std::size_t stride = GemmBF16Scratch::pair_stride;
    if (!a.transposed) {
        for (std::size_t r = 0; r < rows; ++r) round_pairs(a.data + (row + r) * a.stride + k, depth, to + r * stride);
        return;
    }
    constexpr std::size_t some = 32;
    float turned[panel_outputs][some];
    for (std::size_t r = 0; r < rows; r += panel_outputs) {
        const std::size_t height = std::min(panel_outputs, rows - r);
        for (std::size_t i = 0; i < depth; i += some) {
            const std::size_t count = std::min(some, depth - i);
            transpose(a.data + (k + i) * a.stride + row + r, a.stride, count, height, turned[0], some);
            for (std::size_t h = 0; h < height; ++h) round_pairs(turned[h], count, to + (r + h) * stride + i / 2);
        }
    }
}

/// Sixteen pairs of a panel.
/// Shape     even, odd (16)   to (16, 2)
FLASHBACK_SIMD_INLINE void round_gemm_line(const float* even, const float* odd, std::byte* to) noexcept {
#if FLASHBACK_SIMD_FLOATS == 16 && defined(__AVX512BF16__)
    const auto wide = [](const float* from) FLASHBACK_SIMD_LAMBDA {
        const __m256bh rounded = _mm512_cvtneps_pbh(_mm512_loadu_ps(from));
        __m256i bits;
        std::memcpy(&bits, &rounded, sizeof bits);
        return _mm512_cvtepu16_epi32(bits);
    };
    _mm512_storeu_si512(to, _mm512_or_si512(wide(even), _mm512_slli_epi32(wide(odd), 16)));
#else
    for (std::size_t j = 0; j < panel_outputs; ++j) {
        const std::uint16_t pair[2] = {float_to_bf16(even[j]), float_to_bf16(odd[j])};
        std::memcpy(to + j * sizeof pair, pair, sizeof pair);
    }
#endif
}

/// Rounds a block of a panel of the right factor.
/// Shape     from (depth, step), of which 16 are read   to (depth / 2 rounded up to whole groups, 16, 2)
inline void round_gemm_panel(const float* from, std::size_t step, std::size_t depth, std::byte* to) noexcept {
    static constexpr float zeros[panel_outputs] = {};
    for (std::size_t k = 0; k < depth; k += 2, to += line_bytes)
        round_gemm_line(from + k * step, k + 1 < depth ? from + (k + 1) * step : zeros, to);
    for (std::size_t k = depth + depth % 2; k % bf16_group != 0; k += 2, to += line_bytes) std::memset(to, 0, line_bytes);
}

}  // namespace detail

/// C = A B or C += A B, with the elements of A and B rounded to bf16, and sums in f32. Every 512 elements are summed from zero,
/// as the tag of the instruction set multiplies bf16, and then added to C. The bits are those of testing::plain::gemm_bf16,
/// however the rows and panels are divided among calls.
/// Shape     as for gemm
/// Requires  C shares no memory with A and B; no other thread uses the scratch
/// Cost      rows · depth · 16 panels multiply-adds; A is rounded once, B once for 192 rows
/// Source    Kalamkar et al. 2019, A study of BFLOAT16 for deep learning training
inline void gemm_bf16(const GemmRows& a, const GemmPanels& b, const GemmResult& c, const GemmShape& shape, GemmStart start,
                      GemmBF16Scratch& scratch) noexcept {
    using Scratch = GemmBF16Scratch;
    Activations left;
    left.pairs = scratch.rows();
    left.pair_stride = Scratch::pair_stride;
    for (std::size_t k = 0; k < shape.depth || k == 0; k += gemm_bf16_block) {
        const std::size_t depth = std::min(gemm_bf16_block, shape.depth - k);
        const bool add = k > 0 || start == GemmStart::accumulate;
        for (std::size_t row = 0; row < shape.rows; row += Scratch::rows_at_once) {
            const std::size_t rows = std::min(Scratch::rows_at_once, shape.rows - row);
            detail::round_gemm_rows(a, row, rows, k, depth, scratch.rows());
            for (std::size_t panel = 0; panel < shape.panels; panel += Scratch::panels_at_once) {
                const std::size_t panels = std::min(Scratch::panels_at_once, shape.panels - panel);
                for (std::size_t p = 0; p < panels; ++p) {
                    detail::round_gemm_panel(b.data + (panel + p) * b.panel + k * b.step, b.step, depth,
                                             scratch.panels() + p * Scratch::panel_bytes);
                }
                detail::matmul<detail::BF16Format>({scratch.panels(), Scratch::panel_bytes, depth, 0, panels}, left, rows,
                                                   scratch.sums(), Scratch::sum_stride);
                for (std::size_t r = 0; r < rows; ++r) {
                    for (std::size_t p = 0; p < panels; ++p) {
                        float* const to = c.data + (panel + p) * c.panel + (row + r) * c.row;
                        const Lanes sum = Lanes::load(scratch.sums() + r * Scratch::sum_stride + p * panel_outputs);
                        (add ? Lanes::load(to) + sum : sum).store(to);
                    }
                }
            }
        }
    }
}

}  // namespace flashback::inline FLASHBACK_ISA::simd
