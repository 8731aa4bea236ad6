/// \file The inner loops of a product: one tile of rows and panels with its accumulators in registers.
#pragma once

#include "flashback/simd/lanes.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace flashback::inline FLASHBACK_ISA::simd::detail {

// The accumulators of a tile are independent chains: at least latency times throughput of an fma (4 · 2), at most what fits
// into the registers beside one row of weights and the activation. Panels of a single row: enough lines under way to keep the
// memory busy.
#if FLASHBACK_SIMD_FLOATS == 16
inline constexpr std::size_t tile_rows = 8;
inline constexpr std::size_t tile_panels = 3;
inline constexpr std::size_t row_panels = 8;
#elif FLASHBACK_SIMD_FLOATS == 4 && defined(__aarch64__)
inline constexpr std::size_t tile_rows = 6;
inline constexpr std::size_t tile_panels = 1;
inline constexpr std::size_t row_panels = 4;
#elif FLASHBACK_SIMD_FLOATS == 8
inline constexpr std::size_t tile_rows = 6;
inline constexpr std::size_t tile_panels = 1;
inline constexpr std::size_t row_panels = 4;
#else
inline constexpr std::size_t tile_rows = 3;
inline constexpr std::size_t tile_panels = 1;
inline constexpr std::size_t row_panels = 2;
#endif

// Where rows are few, the weights come from memory: short blocks of k, each asking for the next one while it computes. Where
// they are many, weights wait for the next rows in the cache: long blocks, so that the accumulators are seldom stored.
inline constexpr std::size_t few_rows = 32;
inline constexpr std::size_t short_block = 64;
inline constexpr std::size_t long_block = 256;
inline constexpr std::size_t row_block = 32;  // of the 8 panels of a single row

FLASHBACK_SIMD_INLINE void prefetch(const float* from, std::size_t floats_ahead) noexcept {
    // An address and no pointer: behind the last panel there may be nothing.
    __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<std::uintptr_t>(from) + floats_ahead * sizeof(float)));
}

/// A block of k of one tile: `Rows` rows of x with `Panels` panels. The size of the tile and of the block changes the speed
/// and no bit of the result: an output has one accumulator, which is stored and reloaded between two blocks (rule R2).
/// Shape     weights (Panels, k_stride, 16), of which k_count are read   x (Rows, x_stride)   y (Rows, y_stride)
template <std::size_t Rows, std::size_t Panels, bool Prefetch>
inline void matmul_tile(const float* weights, std::size_t k_stride, std::size_t k_count, std::size_t floats_ahead,
                        const float* x, std::size_t x_stride, float* y, std::size_t y_stride, bool first_block) noexcept {
    Lanes sum[Rows][Panels];
#pragma GCC unroll 16
    for (std::size_t r = 0; r < Rows; ++r) {
#pragma GCC unroll 16
        for (std::size_t p = 0; p < Panels; ++p)
            sum[r][p] = first_block ? Lanes::all(0.0f) : Lanes::load(y + r * y_stride + p * panel_outputs);
    }
    const std::size_t panel_stride = k_stride * panel_outputs;
    for (std::size_t step = 0; step < k_count; ++step) {
#if defined(FLASHBACK_TEST_BREAK_R2)
        // The exactness test must notice an order that depends on the tile.
        const std::size_t k = Rows == 1 ? step : k_count - 1 - step;
#else
        const std::size_t k = step;
#endif
        Lanes w[Panels];
#pragma GCC unroll 16
        for (std::size_t p = 0; p < Panels; ++p) {
            const float* line = weights + p * panel_stride + k * panel_outputs;
            w[p] = Lanes::load(line);
            if constexpr (Prefetch) prefetch(line, floats_ahead);
        }
#pragma GCC unroll 16
        for (std::size_t r = 0; r < Rows; ++r) {
            const Lanes value = Lanes::all(x[r * x_stride + k]);
#pragma GCC unroll 16
            for (std::size_t p = 0; p < Panels; ++p) sum[r][p] = fma(w[p], value, sum[r][p]);
        }
    }
#pragma GCC unroll 16
    for (std::size_t r = 0; r < Rows; ++r) {
#pragma GCC unroll 16
        for (std::size_t p = 0; p < Panels; ++p) sum[r][p].store(y + r * y_stride + p * panel_outputs);
    }
}

/// One block of k of `Panels` panels with all rows, in tiles that are as equal as they can be.
template <std::size_t Panels, bool Prefetch>
inline void matmul_block(const float* weights, std::size_t k_stride, std::size_t k_count, std::size_t floats_ahead,
                         const float* x, std::size_t rows, std::size_t x_stride, float* y, std::size_t y_stride,
                         bool first_block) noexcept {
    // The sizes that occur: with many rows only the greatest, since rows are shared out evenly.
    constexpr std::size_t least = Prefetch ? 1 : tile_rows - tile_rows * tile_rows / (few_rows + 1) - 1;
    const std::size_t tiles = (rows + tile_rows - 1) / tile_rows;
    for (std::size_t t = 0; t < tiles; ++t) {
        const std::size_t r = rows * t / tiles;
        const std::size_t count = rows * (t + 1) / tiles - r;
        const auto one = [&]<std::size_t Rows>() {
            if (count != Rows) return;
            // All tiles read the same weights: it is enough that the first asks for the next ones.
            if (Prefetch && t == 0) {
                matmul_tile<Rows, Panels, Prefetch>(weights, k_stride, k_count, floats_ahead, x + r * x_stride, x_stride,
                                                    y + r * y_stride, y_stride, first_block);
            } else {
                matmul_tile<Rows, Panels, false>(weights, k_stride, k_count, 0, x + r * x_stride, x_stride, y + r * y_stride,
                                                 y_stride, first_block);
            }
        };
        [&]<std::size_t... I>(std::index_sequence<I...>) { (one.template operator()<least + I>(), ...); }
        (std::make_index_sequence<tile_rows - least + 1>{});
    }
}

/// `Panels` panels with all rows, block of k by block of k.
template <std::size_t Panels, bool Prefetch>
inline void matmul_panels(const float* weights, std::size_t k_count, const float* x, std::size_t rows, std::size_t x_stride,
                          float* y, std::size_t y_stride) noexcept {
    constexpr std::size_t block = Prefetch ? short_block : long_block;
    for (std::size_t k = 0; k < k_count || k == 0; k += block) {
        const std::size_t count = std::min(block, k_count - k);
        // The next block, or the first one of the next panels.
        const std::size_t ahead = k + block < k_count ? block : block + (Panels - 1) * k_count;
        matmul_block<Panels, Prefetch>(weights + k * panel_outputs, k_count, count, ahead * panel_outputs, x + k, rows,
                                       x_stride, y, y_stride, k == 0);
    }
}

/// One row with `Panels` panels.
template <std::size_t Panels>
inline void matmul_row(const float* weights, std::size_t k_count, const float* x, float* y) noexcept {
    for (std::size_t k = 0; k < k_count || k == 0; k += row_block) {
        const std::size_t count = std::min(row_block, k_count - k);
        const std::size_t ahead = k + row_block < k_count ? row_block : row_block + (Panels - 1) * k_count;
        matmul_tile<1, Panels, true>(weights + k * panel_outputs, k_count, count, ahead * panel_outputs, x + k, 0, y, 0,
                                     k == 0);
    }
}

}  // namespace flashback::inline FLASHBACK_ISA::simd::detail
