/// \file The product of bf16 in tiles: sixteen rows times sixteen outputs times 32 inputs in one instruction.
///
/// Every output has one accumulator, k ascending in steps of 32 inputs (rule R2), whatever the number of rows (R1): a single
/// row is a tile of one row. Weights are zero from the last input to the end of the step (R3).
#pragma once

#include "flashback/simd/detail/amx_tiles.hpp"
#include "flashback/simd/detail/packed_formats.hpp"

#include <algorithm>
#include <cstddef>
#include <type_traits>
#include <utility>

#if defined(FLASHBACK_SIMD_AMX)
namespace flashback::inline FLASHBACK_ISA::simd::detail {

// Up to this many rows share one reading of the weights, from the first input to the last.
inline constexpr std::size_t tile_few_rows = 32;
// Inputs of a block if there are more: its activations stay in the second-level cache, the weights of two panels in the first.
inline constexpr std::size_t tile_block = 512;
// Panels whose weights of a block stay in the second-level cache while rows of several heights pass them.
inline constexpr std::size_t tile_panels = 8;

/// Two tiles of rows and two panels for some steps of 32 inputs.
struct TileWork {
    const std::byte* weights[2];
    const ActivationPair* a;  ///< of the first row
    float* y;                 ///< of the first row and panel
    std::size_t a_stride, y_stride, steps;
    bool begun;  ///< whether y holds the sums of earlier inputs
};

/// Calls `call` with 0, 1, ..., Count - 1 as constants.
template <std::size_t Count, class Call>
FLASHBACK_SIMD_INLINE void each_constant(const Call& call) noexcept {
    [&]<std::size_t... I>(std::index_sequence<I...>) FLASHBACK_SIMD_LAMBDA {
        (call(std::integral_constant<std::size_t, I>{}), ...);
    }
    (std::make_index_sequence<Count>{});
}

/// The same with every pair of a row tile and a panel.
template <std::size_t RowTiles, std::size_t Panels, class Call>
FLASHBACK_SIMD_INLINE void each_sum(const Call& call) noexcept {
    each_constant<RowTiles * Panels>([&](auto i) FLASHBACK_SIMD_LAMBDA {
        call(std::integral_constant<std::size_t, i / Panels>{}, std::integral_constant<std::size_t, i % Panels>{});
    });
}

template <class Tiles, std::size_t RowTiles, std::size_t Panels>
inline void multiply_tiles(Tiles& tiles, const TileWork& work) noexcept {
    const std::size_t a_bytes = work.a_stride * sizeof(ActivationPair);
    const std::size_t y_bytes = work.y_stride * sizeof(float);
    each_sum<RowTiles, Panels>([&](auto r, auto p) FLASHBACK_SIMD_LAMBDA {
        constexpr std::size_t sum = sum_tile(r, p);
        if (work.begun) {
            tiles.template load<sum>(work.y + r * tile_rows * work.y_stride + p * panel_outputs, y_bytes);
        } else {
            tiles.template zero<sum>();
        }
    });
    for (std::size_t step = 0; step < work.steps; ++step) {
#if defined(FLASHBACK_TEST_BREAK_R2)
        // The tests must notice an order of sums that depends on the tile.
        const std::size_t s = RowTiles == 1 ? step : work.steps - 1 - step;
#else
        const std::size_t s = step;
#endif
        each_constant<Panels>([&](auto p) FLASHBACK_SIMD_LAMBDA {
            tiles.template load<weight_tile(p)>(work.weights[p] + s * tile_bytes, tile_row_bytes);
        });
        each_constant<RowTiles>([&](auto r) FLASHBACK_SIMD_LAMBDA {
            tiles.template load<activation_tile(r)>(work.a + r * tile_rows * work.a_stride + s * bf16_group / 2, a_bytes);
        });
        each_sum<RowTiles, Panels>([&](auto r, auto p) FLASHBACK_SIMD_LAMBDA {
            tiles.template multiply<sum_tile(r, p), activation_tile(r), weight_tile(p)>();
        });
    }
    each_sum<RowTiles, Panels>([&](auto r, auto p) FLASHBACK_SIMD_LAMBDA {
        tiles.template store<sum_tile(r, p)>(work.y + r * tile_rows * work.y_stride + p * panel_outputs, y_bytes);
    });
}

/// Some panels with all rows.
template <class Tiles>
void matmul_with(const MatmulPanels& w, const Activations& a, std::size_t rows, float* y, std::size_t y_stride) noexcept {
    constexpr std::size_t two = 2 * tile_rows;
    const std::size_t all_steps = (w.inputs + bf16_group - 1) / bf16_group;
    const std::size_t block = rows <= tile_few_rows ? std::max<std::size_t>(all_steps, 1) : tile_block / bf16_group;
    std::size_t heights[2] = {0, 0};
    Tiles tiles;

    // Rows that fill whole tiles come first, then those that are left, in tiles of their own height.
    const auto rows_with_panels = [&](std::size_t first, std::size_t last, std::size_t step) {
        for (std::size_t row = 0, end = 0; row < rows; row = end) {
            end = rows - row >= two ? rows - (rows - row) % two : rows;
            const std::size_t height = std::min(end - row, two);
            const std::size_t upper = std::min(height, tile_rows);
            const std::size_t lower = height > tile_rows ? height - tile_rows : upper;
            if (heights[0] != upper || heights[1] != lower) {
                heights[0] = upper;
                heights[1] = lower;
                tiles.configure(heights);
            }
            for (std::size_t p = first; p < last; p += 2) {
                const std::byte* const weights = w.weights + p * w.panel_bytes + step * tile_bytes;
                const bool pair = p + 1 < last;
                TileWork work{{weights, pair ? weights + w.panel_bytes : weights},
                              nullptr,
                              nullptr,
                              a.pair_stride,
                              y_stride,
                              std::min(block, all_steps - step),
                              step > 0};
                for (std::size_t r = row; r < end; r += two) {
                    work.a = a.pairs + r * a.pair_stride + step * bf16_group / 2;
                    work.y = y + r * y_stride + p * panel_outputs;
                    if (height > tile_rows) {
                        pair ? multiply_tiles<Tiles, 2, 2>(tiles, work) : multiply_tiles<Tiles, 2, 1>(tiles, work);
                    } else {
                        pair ? multiply_tiles<Tiles, 1, 2>(tiles, work) : multiply_tiles<Tiles, 1, 1>(tiles, work);
                    }
                }
            }
        }
    };
    for (std::size_t step = 0; step < all_steps || step == 0; step += block) {
        for (std::size_t p = w.first; p < w.last; p += tile_panels)
            rows_with_panels(p, std::min(p + tile_panels, w.last), step);
    }
}

/// With the processor's tiles if it may have them, otherwise with their twin: the bits are the same.
template <class Format>
    requires in_tiles<Format>
void matmul(const MatmulPanels& w, const Activations& a, std::size_t rows, float* y, std::size_t y_stride) noexcept {
#if !defined(FLASHBACK_AMX_EMULATE)
    if (tiles().use == TileUse::tiles) return matmul_with<AmxTiles>(w, a, rows, y, y_stride);
#endif
    matmul_with<AmxTwin>(w, a, rows, y, y_stride);
}

}  // namespace flashback::inline FLASHBACK_ISA::simd::detail
#endif
