/// \file The inner loops of gemm: one tile of rows and panels with its accumulators in registers.
#pragma once

#include "flashback/simd/detail/lanes.hpp"
#include "flashback/simd/detail/matmul_tile.hpp"

#include <algorithm>
#include <cstddef>
#include <utility>

namespace flashback::inline FLASHBACK_ISA::simd::detail {

/// What gemm multiplies; gemm.hpp explains it.
struct GemmOperands {
    const float* a;
    std::size_t a_stride;
    const float* b;
    std::size_t b_panel, b_step;
    float* c;
    std::size_t c_panel, c_row;
};

/// One block of k of one tile. Sums that were begun earlier are loaded and continued: an output is one chain.
template <bool Transposed, std::size_t Rows, std::size_t Panels>
inline void gemm_tile(const GemmOperands& g, std::size_t row, std::size_t panel, std::size_t first, std::size_t count,
                      bool begun) noexcept {
    float* const c = g.c + row * g.c_row + panel * g.c_panel;
    Lanes sum[Rows][Panels];
#pragma GCC unroll 16
    for (std::size_t r = 0; r < Rows; ++r) {
#pragma GCC unroll 16
        for (std::size_t p = 0; p < Panels; ++p)
            sum[r][p] = begun ? Lanes::load(c + r * g.c_row + p * g.c_panel) : Lanes::all(0.0f);
    }
    const float* a = Transposed ? g.a + first * g.a_stride + row : g.a + row * g.a_stride + first;
    const float* b[Panels];
    for (std::size_t p = 0; p < Panels; ++p) b[p] = g.b + (panel + p) * g.b_panel + first * g.b_step;
    for (std::size_t s = 0; s < count; ++s) {
        Lanes w[Panels];
#pragma GCC unroll 16
        for (std::size_t p = 0; p < Panels; ++p) w[p] = Lanes::load(b[p] + s * g.b_step);
#pragma GCC unroll 16
        for (std::size_t r = 0; r < Rows; ++r) {
            const Lanes value = Lanes::all(Transposed ? a[s * g.a_stride + r] : a[r * g.a_stride + s]);
#pragma GCC unroll 16
            for (std::size_t p = 0; p < Panels; ++p) sum[r][p] = fma(w[p], value, sum[r][p]);
        }
    }
#pragma GCC unroll 16
    for (std::size_t r = 0; r < Rows; ++r) {
#pragma GCC unroll 16
        for (std::size_t p = 0; p < Panels; ++p) sum[r][p].store(c + r * g.c_row + p * g.c_panel);
    }
}

/// The most rows of a tile. One panel alone needs more, or its few chains would wait for each other (measured: 1.1 to 1.2 times as
/// fast with 12 rows as with 6).
template <std::size_t Panels>
consteval std::size_t gemm_rows() noexcept {
    constexpr std::size_t rows = tile_shape<F32Format>().rows;
    return batch_floats == 16 && Panels == 1 ? 2 * rows : rows;
}

/// Some panels with all rows, one block of k after the other, in tiles that are as equal as possible.
template <bool Transposed, std::size_t Panels>
inline void gemm_panels(const GemmOperands& g, std::size_t rows, std::size_t panel, std::size_t depth,
                        bool accumulate) noexcept {
    constexpr std::size_t most = gemm_rows<Panels>();
    constexpr std::size_t block = tile_shape<F32Format>().long_block;
    const std::size_t tiles = (rows + most - 1) / most;
    for (std::size_t k = 0; k < depth || k == 0; k += block) {
        const std::size_t count = std::min(block, depth - k);
        for (std::size_t t = 0; t < tiles; ++t) {
            const std::size_t row = rows * t / tiles;
            const std::size_t height = rows * (t + 1) / tiles - row;
            [&]<std::size_t... I>(std::index_sequence<I...>) {
                ((height == I + 1 ? gemm_tile<Transposed, I + 1, Panels>(g, row, panel, k, count, accumulate || k > 0)
                                  : void()),
                 ...);
            }
            (std::make_index_sequence<most>{});
        }
    }
}

template <bool Transposed>
void gemm(const GemmOperands& g, std::size_t rows, std::size_t panels, std::size_t depth, bool accumulate) noexcept {
    constexpr std::size_t most = tile_shape<F32Format>().panels;
    for (std::size_t p = 0; p < panels; p += most) {
        const std::size_t left = std::min(most, panels - p);
        [&]<std::size_t... I>(std::index_sequence<I...>) {
            ((left == I + 1 ? gemm_panels<Transposed, I + 1>(g, rows, p, depth, accumulate) : void()), ...);
        }
        (std::make_index_sequence<most>{});
    }
}

#define FLASHBACK_DETAIL_GEMMS(kind)                                                                           \
    kind template void gemm<false>(const GemmOperands&, std::size_t, std::size_t, std::size_t, bool) noexcept; \
    kind template void gemm<true>(const GemmOperands&, std::size_t, std::size_t, std::size_t, bool) noexcept;
#if defined(FLASHBACK_COMPILED_ONCE)
FLASHBACK_DETAIL_GEMMS(extern)
#endif

}  // namespace flashback::inline FLASHBACK_ISA::simd::detail
