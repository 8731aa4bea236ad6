/// \file The inner loops of a product: one tile of rows and panels with its accumulators in registers.
#pragma once

#include "flashback/simd/detail/amx_int8_matmul.hpp"
#include "flashback/simd/detail/amx_matmul.hpp"
#include "flashback/simd/detail/packed_formats.hpp"
#include "flashback/simd/detail/packed_k_formats.hpp"
#include "flashback/simd/detail/prefetch.hpp"

#include <algorithm>
#include <cstddef>
#include <type_traits>
#include <utility>

namespace flashback::inline FLASHBACK_ISA::simd::detail {

/// How a product is cut. The accumulators of a tile are independent chains. There are at least as many as latency times
/// throughput of an instruction (4 · 2). At most they fill the registers, beside a line of weights of each panel and an
/// activation.
struct TileShape {
    std::size_t rows, panels;
    std::size_t row_panels;   ///< for a single row
    std::size_t row_ahead;    ///< bytes: how far ahead a single row asks for weights; 0 leaves it to the processor
    std::size_t short_block;  ///< inputs, if there are few rows and weights come from memory: each block asks for the next one
    std::size_t long_block;   ///< inputs, if there are many rows and weights wait in the cache for the next rows
};

template <class Format>
consteval TileShape tile_shape() noexcept {
    if constexpr (Format::operand == Operand::int8) {
        // A single row reads panels one after the other: one stream of bytes (panel_layout.hpp), which the processor fetches
        // ahead by itself if there is little to do for a byte (measured on Zen 5: Q8_0 reads 98 % of what memory gives without
        // asking and 91 % with it; Q4_0 86 and 92 %).
#if defined(FLASHBACK_SIMD_DOT_BYTES)
        constexpr std::size_t row_ahead = Format::lines == 1 ? 0 : 8192;
#else
        constexpr std::size_t row_ahead = 8192;
#endif
        if constexpr (batch_floats == 16) return {4, 2, 1, row_ahead, 128, 512};
        // Sums of 16 bits leave registers free.
        constexpr std::size_t rows = std::is_same_v<typename Format::Line, WeightLine> ? 3 : 4;
        if constexpr (batch_floats == 8) return {rows, 1, 1, row_ahead, 128, 512};
        return {2, 1, 1, 0, 128, 512};
    } else {
        if constexpr (batch_floats == 16) return {6, 4, 8, 0, 64, 256};
        // The two lines of bfloat16, of odd and even inputs, take the registers of a row (measured at 144 rows: 0.78 of
        // this speed with six).
        if constexpr (batch_floats == 8) return {Format::operand == Operand::bf16 ? 5u : 6u, 1, 4, 0, 64, 256};
#if defined(__aarch64__)
        if constexpr (batch_floats == 4) return {6, 1, 4, 0, 64, 256};
#endif
        return {3, 1, 2, 0, 64, 256};
    }
}

template <class Format>
consteval std::size_t panels_together() noexcept {
    return in_tiles<Format> ? 2 : tile_shape<Format>().panels;
}

// Up to this many rows share one reading of the weights from memory, in short blocks.
inline constexpr std::size_t few_rows = 32;

/// Where the panels of a tile and their outputs are. A panel may be listed twice; then the same work is done twice.
template <std::size_t Panels>
struct TilePanels {
    const std::byte* weights[Panels];
    float* y[Panels];
};

/// A block of k: `count` inputs, from `first` on. Also the stride of the rows of y, and how far ahead the
/// weights of the next block are.
struct TileBlock {
    std::size_t first, count, y_stride;
    std::size_t bytes_ahead = 0;
};

/// One block of k of one tile: `Rows` rows with `Panels` panels, for weights that are multiplied as floats. The sizes of tile
/// and block change the speed and no bit of the result: an output has one accumulator, which is stored and loaded again between
/// two blocks (rule R2).
template <class Format, std::size_t Rows, std::size_t Panels, bool Prefetch>
    requires(Format::operand != Operand::int8)
inline void matmul_tile(const TilePanels<Panels>& panels, const TileBlock& block, const Activations& a,
                        std::size_t row) noexcept {
    const std::size_t first = block.first;
    const std::size_t y_stride = block.y_stride;
    Lanes sum[Rows][Panels];
#pragma GCC unroll 16
    for (std::size_t r = 0; r < Rows; ++r) {
#pragma GCC unroll 16
        for (std::size_t p = 0; p < Panels; ++p)
            sum[r][p] = first == 0 ? Lanes::all(0.0f) : Lanes::load(panels.y[p] + (row + r) * y_stride);
    }
    const auto* x = Format::operands(a) + row * Format::stride(a) + first / Format::step_inputs;
    const std::size_t steps = (block.count + Format::step_inputs - 1) / Format::step_inputs;
    const std::byte* weights[Panels];
    for (std::size_t p = 0; p < Panels; ++p) weights[p] = panels.weights[p] + first / Format::step_inputs * Format::step_bytes;
    for (std::size_t step = 0; step < steps; ++step) {
#if defined(FLASHBACK_TEST_BREAK_R2)
        // The exactness test must notice an order of sums that depends on the tile.
        const std::size_t s = Rows == 1 ? step : steps - 1 - step;
#else
        const std::size_t s = step;
#endif
        typename Format::Line w[Panels];
#pragma GCC unroll 16
        for (std::size_t p = 0; p < Panels; ++p) {
            w[p] = Format::line(weights[p] + s * Format::step_bytes);
            if constexpr (Prefetch) prefetch(weights[p] + s * Format::step_bytes, block.bytes_ahead);
        }
#pragma GCC unroll 16
        for (std::size_t r = 0; r < Rows; ++r) {
            const auto value = x[r * Format::stride(a) + s];
#pragma GCC unroll 16
            for (std::size_t p = 0; p < Panels; ++p) sum[r][p] = Format::add(sum[r][p], w[p], value);
        }
    }
#pragma GCC unroll 16
    for (std::size_t r = 0; r < Rows; ++r) {
#pragma GCC unroll 16
        for (std::size_t p = 0; p < Panels; ++p) sum[r][p].store(panels.y[p] + (row + r) * y_stride);
    }
}

/// Asks for the lines of scales in front of a block. That of a super-block lies in front of its first pair: it is asked for if
/// what comes `bytes_ahead` of this block may begin one.
template <class Format>
FLASHBACK_SIMD_INLINE void ask_for_scales(const std::byte* panel, std::size_t b, bool may_begin,
                                          std::size_t bytes_ahead) noexcept {
    if (b % 2 == 0) prefetch(panel + Format::pair_at(b), bytes_ahead);
    if constexpr (Format::super_inputs > 0) {
        if (may_begin) prefetch(panel + Format::pair_at(b) - line_bytes, bytes_ahead);
    }
}

/// The same for quantised weights: for every 32 inputs an exact sum of integers, then one multiply-add with both scales.
template <class Format, std::size_t Rows, std::size_t Panels, bool Prefetch>
    requires(Format::operand == Operand::int8)
inline void matmul_tile(const TilePanels<Panels>& panels, const TileBlock& part, const Activations& a,
                        std::size_t row) noexcept {
    const std::size_t first = part.first;
    const std::size_t y_stride = part.y_stride;
    constexpr std::size_t quads = activation_block / line_inputs;
    const ActivationQuad* x = a.quads + row * a.quad_stride;
    const ActivationBlock* scale = a.blocks + row * a.block_stride;
    Lanes y[Rows][Panels];
#pragma GCC unroll 16
    for (std::size_t r = 0; r < Rows; ++r) {
#pragma GCC unroll 16
        for (std::size_t p = 0; p < Panels; ++p)
            y[r][p] = first == 0 ? Lanes::all(0.0f) : Lanes::load(panels.y[p] + (row + r) * y_stride);
    }
    const std::size_t block_count = part.count / activation_block;
    for (std::size_t step = 0; step < block_count; ++step) {
#if defined(FLASHBACK_TEST_BREAK_R2)
        const std::size_t b = first / activation_block + (Rows == 1 ? step : block_count - 1 - step);
#else
        const std::size_t b = first / activation_block + step;
#endif
        constexpr std::size_t row_ahead = Rows == 1 ? tile_shape<Format>().row_ahead : 0;
        constexpr bool asks = Prefetch || row_ahead != 0;
        const std::size_t bytes_ahead = Prefetch ? part.bytes_ahead : row_ahead;
        if constexpr (asks) {
            constexpr std::size_t super_blocks = std::max<std::size_t>(Format::super_blocks, 1);
#pragma GCC unroll 16
            for (std::size_t p = 0; p < Panels; ++p)
                ask_for_scales<Format>(panels.weights[p], b, Prefetch ? step == 0 : b % super_blocks == 0, bytes_ahead);
        }
        typename Format::Sum sum[Rows][Panels][Format::halves];
#pragma GCC unroll 16
        for (std::size_t r = 0; r < Rows; ++r) {
#pragma GCC unroll 2
            for (std::size_t h = 0; h < Format::halves; ++h) {
                const typename Format::Sum start = Format::start(scale[r * a.block_stride + b], h);
#pragma GCC unroll 16
                for (std::size_t p = 0; p < Panels; ++p) sum[r][p][h] = start;
            }
        }
#pragma GCC unroll 16
        for (std::size_t s = 0; s < Format::steps; ++s) {
#pragma GCC unroll 2
            for (std::size_t i = 0; i < Format::lines; ++i) {
                typename Format::Line w[Panels];
#pragma GCC unroll 16
                for (std::size_t p = 0; p < Panels; ++p) {
                    const std::byte* block = panels.weights[p] + Format::lines_at(b);
                    w[p] = Format::Line::of(Format::line(block, s, i));
                    if constexpr (asks) {
                        if (i == 0) prefetch(block + s * line_bytes, bytes_ahead);
                        // Q6_K has two lines more than steps.
                        if constexpr (constexpr std::size_t all = Format::lines_bytes / line_bytes; all > Format::steps) {
                            if (i == 1 && Format::steps + s < all)
                                prefetch(block + (Format::steps + s) * line_bytes, bytes_ahead);
                        }
                    }
                }
#pragma GCC unroll 16
                for (std::size_t r = 0; r < Rows; ++r) {
                    const auto& four =
                        Format::four(x + r * a.quad_stride + b * quads, scale[r * a.block_stride + b], Format::quad(s, i));
#pragma GCC unroll 16
                    for (std::size_t p = 0; p < Panels; ++p)
                        sum[r][p][i % Format::halves] = add_dots(sum[r][p][i % Format::halves], w[p], four);
                }
            }
        }
#pragma GCC unroll 16
        for (std::size_t p = 0; p < Panels; ++p) {
            const typename Format::Scales w = Format::scales(panels.weights[p], b);
#pragma GCC unroll 16
            for (std::size_t r = 0; r < Rows; ++r) y[r][p] = Format::add(w, sum[r][p], scale[r * a.block_stride + b], y[r][p]);
        }
    }
#pragma GCC unroll 16
    for (std::size_t r = 0; r < Rows; ++r) {
#pragma GCC unroll 16
        for (std::size_t p = 0; p < Panels; ++p) y[r][p].store(panels.y[p] + (row + r) * y_stride);
    }
}

/// One block of k of some panels with all rows, in tiles that are as equal as possible. The first tile asks for the next block.
template <class Format, std::size_t Panels, bool Prefetch>
inline void matmul_block(const TilePanels<Panels>& panels, const TileBlock& block, const Activations& a,
                         std::size_t rows) noexcept {
    constexpr std::size_t most = tile_shape<Format>().rows;
    const std::size_t tiles = (rows + most - 1) / most;
    for (std::size_t t = 0; t < tiles; ++t) {
        const std::size_t row = rows * t / tiles;
        const std::size_t height = rows * (t + 1) / tiles - row;
        const auto one = [&]<std::size_t Rows>() {
            if (height != Rows) return;
            if (Prefetch && t == 0) {
                matmul_tile<Format, Rows, Panels, Prefetch>(panels, block, a, row);
            } else {
                matmul_tile<Format, Rows, Panels, false>(panels, block, a, row);
            }
        };
        [&]<std::size_t... I>(std::index_sequence<I...>) { (one.template operator()<I + 1>(), ...); }
        (std::make_index_sequence<most>{});
    }
}

/// Where the weights of a panel from an input on begin.
template <class Format>
constexpr std::size_t input_at(std::size_t input) noexcept {
    if constexpr (Format::operand == Operand::int8) {
        return Format::lines_at(input / activation_block);
    } else {
        return input / Format::step_inputs * Format::step_bytes;
    }
}

/// Some panels with all rows, one block of k after the other.
template <class Format, std::size_t Panels, bool Few>
inline void matmul_panels(const TilePanels<Panels>& panels, std::size_t inputs, std::size_t panel_bytes, const Activations& a,
                          std::size_t rows, std::size_t y_stride) noexcept {
    constexpr std::size_t block = Few ? tile_shape<Format>().short_block : tile_shape<Format>().long_block;
    // Long blocks of floats and the next ones do not fit into the first-level cache together.
    constexpr bool asks = Few || Format::operand == Operand::int8;
    for (std::size_t k = 0; k < inputs || k == 0; k += block) {
        const std::size_t count = std::min(block, inputs - k);
        // Asks for the next block, or for the first one of the next panels.
        const std::size_t next = k + block < inputs ? input_at<Format>(k + block) : Panels * panel_bytes + input_at<Format>(0);
        const std::size_t ahead = next - input_at<Format>(k);
        matmul_block<Format, Panels, asks>(panels, {k, count, y_stride, ahead}, a, rows);
    }
}

/// Some panels with all rows, in registers of vectors.
template <class Format>
    requires(!in_tiles<Format>)
void matmul_in_vectors(const MatmulPanels& w, const Activations& a, std::size_t rows, float* y, std::size_t y_stride) noexcept {
    const auto each = [&]<std::size_t Panels>(const auto& call) {
        for (std::size_t p = w.first; p < w.last; p += Panels) {
            TilePanels<Panels> panels;
            for (std::size_t i = 0; i < Panels; ++i) {
                const std::size_t at = std::min(p + i, w.last - 1);
                panels.weights[i] = w.weights + at * w.panel_bytes;
                panels.y[i] = y + at * panel_outputs;
            }
            call(panels);
        }
    };
    constexpr TileShape shape = tile_shape<Format>();
    if (rows == 1) {
        each.template operator()<shape.row_panels>([&](const auto& panels) {
            matmul_tile<Format, 1, shape.row_panels, false>(panels, {0, w.inputs, y_stride}, a, 0);
        });
    } else if (rows <= few_rows) {
        each.template operator()<shape.panels>([&](const auto& panels) {
            matmul_panels<Format, shape.panels, true>(panels, w.inputs, w.panel_bytes, a, rows, y_stride);
        });
    } else {
        each.template operator()<shape.panels>([&](const auto& panels) {
            matmul_panels<Format, shape.panels, false>(panels, w.inputs, w.panel_bytes, a, rows, y_stride);
        });
    }
}

/// Some panels with all rows.
template <class Format>
    requires(!in_tiles<Format>)
void matmul(const MatmulPanels& w, const Activations& a, std::size_t rows, float* y, std::size_t y_stride) noexcept {
#if defined(FLASHBACK_SIMD_AMX)
    if constexpr (Format::operand == Operand::int8) {
        if (matmul_bytes<Format>(w, a, rows, y, y_stride)) return;
    }
#endif
    matmul_in_vectors<Format>(w, a, rows, y, y_stride);
}

#define FLASHBACK_DETAIL_MATMUL(kind, Format) \
    kind template void matmul<Format>(const MatmulPanels&, const Activations&, std::size_t, float*, std::size_t) noexcept;
/// Every product; `kind` is `extern` or nothing.
#define FLASHBACK_DETAIL_MATMULS(kind)        \
    FLASHBACK_DETAIL_MATMUL(kind, F32Format)  \
    FLASHBACK_DETAIL_MATMUL(kind, F16Format)  \
    FLASHBACK_DETAIL_MATMUL(kind, BF16Format) \
    FLASHBACK_DETAIL_MATMUL(kind, Q8_0Format) \
    FLASHBACK_DETAIL_MATMUL(kind, Q4_0Format) \
    FLASHBACK_DETAIL_MATMUL(kind, Q4_KFormat) \
    FLASHBACK_DETAIL_MATMUL(kind, Q6_KFormat)
#if defined(FLASHBACK_COMPILED_ONCE)
FLASHBACK_DETAIL_MATMULS(extern)
#endif

}  // namespace flashback::inline FLASHBACK_ISA::simd::detail
