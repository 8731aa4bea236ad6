/// \file The product of quantised weights in tiles: sixteen rows times sixteen outputs times 32 inputs in one instruction.
///
/// Tiles take nothing but the sums of integers, which are exact. Scales come in the order of `matmul_in_vectors`, so the bits are
/// the same. (The other road, weights of Q8_0 widened to bf16, would have an arithmetic of its own. It was never measured.)
///
/// Scaling is what takes the time. For every 32 inputs of sixteen outputs of a row there are three instructions beside the loads:
/// the integers become floats, the scales are multiplied, and both are added. (By vpdpbusd it is eleven.) So weights lose their
/// offset when they are unpacked for all rows, and no sum needs it. The tiles of the next inputs are on their way while the sums
/// of the last ones are scaled.
#pragma once

#include "flashback/simd/detail/amx_matmul.hpp"
#include "flashback/simd/detail/packed_formats.hpp"
#include "flashback/simd/detail/prefetch.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(FLASHBACK_SIMD_AMX)
namespace flashback::inline FLASHBACK_ISA::simd::detail {

// Fewer rows stay with vpdpbusd. Eight of them already take weights as fast as memory gives them (measured on Zen 5, Q8_0, 1
// thread: 29 GB/s), and what is unpacked serves too few.
inline constexpr std::size_t least_rows_in_tiles = 16;
// Blocks of 32 inputs whose weights are unpacked at once: two panels of them, the sums, and the activations of two tiles of rows
// fit into the first-level cache.
inline constexpr std::size_t unpacked_blocks = 16;

/// x - y, in every byte.
FLASHBACK_SIMD_INLINE IntLanes minus_bytes(const IntLanes& x, unsigned y) noexcept {
    const IntLanes all = IntLanes::all(static_cast<std::int32_t>(y * 0x01010101u));
    return IntLanes::each([&](std::size_t i) FLASHBACK_SIMD_LAMBDA {
#if FLASHBACK_SIMD_FLOATS == 16
        return _mm512_sub_epi8(x.part[i], all.part[i]);
#elif defined(__AVX2__)
        return _mm256_sub_epi8(x.part[i], all.part[i]);
#else
        return _mm_sub_epi8(x.part[i], all.part[i]);
#endif
    });
}

/// Where the bytes of activations are, and how far the next row and the next block are.
struct ActivationBytes {
    const std::byte* first;
    std::size_t row_stride, block_stride;

    explicit ActivationBytes(const Activations& a) noexcept
#if defined(FLASHBACK_SIMD_DOT_BYTES)
        : first(reinterpret_cast<const std::byte*>(a.quads)),
          row_stride(a.quad_stride * sizeof(ActivationQuad)),
          block_stride(activation_block) {
        static_assert(sizeof(ActivationQuad) == line_inputs);
    }
#else
        : first(reinterpret_cast<const std::byte*>(&a.blocks->small)),
          row_stride(a.block_stride * sizeof(ActivationBlock)),
          block_stride(sizeof(ActivationBlock)) {
        static_assert(sizeof(SmallQuads) == activation_block);
    }
#endif
};

/// The work of one call. A tile of rows has four sums of integers: of two blocks of 32 inputs, each with two panels; or with the two
/// halves of one panel, if they have scales of their own.
template <class Format, class Tiles>
class BytesMatmul {
public:
    /// Requires  at least one row and one block of inputs
    BytesMatmul(const MatmulPanels& w, const Activations& a, std::size_t rows, float* y, std::size_t y_stride) noexcept
        : w_(w),
          a_(a),
          bytes_(a),
          rows_(rows),
          row_tiles_((rows + tile_rows - 1) / tile_rows),
          height_((rows + row_tiles_ - 1) / row_tiles_),
          y_(y),
          y_stride_(y_stride) {}

    void run() noexcept {
        const std::size_t heights[2] = {height_, height_};
        tiles_.configure(heights, half_inputs);
        // Few rows read each panel from its first byte to its last; many rows stay in the second-level cache, block by block.
        if (rows_ <= tile_few_rows) {
            for (std::size_t p = w_.first; p < w_.last; p += most_panels) {
                for (std::size_t first = 0; first < blocks_; first += unpacked_blocks) panels_at(p, first);
            }
        } else {
            for (std::size_t first = 0; first < blocks_; first += unpacked_blocks) {
                for (std::size_t p = w_.first; p < w_.last; p += most_panels) panels_at(p, first);
            }
        }
    }

private:
    static constexpr std::size_t most_panels = 2 / Format::halves;
    static constexpr std::size_t half_inputs = activation_block / Format::halves;
    static constexpr std::size_t unpacked_bytes = activation_block * panel_outputs;

    /// The panels and blocks at hand.
    struct Part {
        std::size_t panel, first, count;
        std::size_t bytes_ahead;  // from the weights of a block to those that come next
    };
    /// One or two blocks with a tile of rows. The last tile of rows begins early enough to have as many as the others; those that
    /// it shares with the tile before are left out when the sums are scaled.
    struct Item {
        std::size_t row, shared;
        std::size_t block, blocks;  // the first one among those that are unpacked, and how many
    };
    Item item(const Part& part, std::size_t i) const noexcept {
        const std::size_t pairs = (part.count + 1) / 2;
        const std::size_t row = i / pairs * height_;
        const std::size_t begin = std::min(row, rows_ - height_);
        const std::size_t block = i % pairs * 2;
        return {begin, row - begin, block, std::min<std::size_t>(2, part.count - block)};
    }

    void panels_at(std::size_t panel, std::size_t first) noexcept {
        const std::size_t panels = std::min(most_panels, w_.last - panel);
        const std::size_t count = std::min(unpacked_blocks, blocks_ - first);
        const std::size_t next =
            first + count < blocks_ ? Format::lines_at(first + count) : panels * w_.panel_bytes + Format::lines_at(0);
        const Part part{panel, first, count, next - Format::lines_at(first)};
        if constexpr (most_panels == 2) {
            if (panels == 1) return multiply_part<1>(part);
        }
        multiply_part<most_panels>(part);
    }

    const std::byte* panel_at(std::size_t p) const noexcept { return w_.weights + p * w_.panel_bytes; }

    template <std::size_t Panels>
    void multiply_part(const Part& part) noexcept {
        for (std::size_t p = 0; p < Panels; ++p) {
            for (std::size_t b = 0; b < part.count; ++b)
                unpack(panel_at(part.panel + p) + Format::lines_at(part.first + b), weights_[p][b]);
        }
        if (part.first == 0) {
            for (std::size_t r = 0; r < rows_; ++r)
                std::fill_n(y_ + r * y_stride_ + part.panel * panel_outputs, Panels * panel_outputs, 0.0f);
        }
        const std::size_t items = row_tiles_ * ((part.count + 1) / 2);
        Item last{};
        Item now = item(part, 0);
        each_sum<2, Panels * Format::halves>([&](auto block, auto column) FLASHBACK_SIMD_LAMBDA {
            if (block < now.blocks) sum_of<block, column>(part, now);
        });
        for (std::size_t i = 0; i <= items; ++i) {
            const Item next = i + 1 < items ? item(part, i + 1) : Item{};
            step<Panels>(part, i % 2, last, now, next);
            last = now;
            now = next;
        }
    }

    /// The bytes of a block as weights without offset, 4 inputs of sixteen outputs in a line, inputs ascending.
    FLASHBACK_SIMD_INLINE static void unpack(const std::byte* block, std::byte* to) noexcept {
#pragma GCC unroll 8
        for (std::size_t s = 0; s < Format::steps; ++s) {
#pragma GCC unroll 2
            for (std::size_t i = 0; i < Format::lines; ++i) {
                const IntLanes line = minus_bytes(Format::line(block, s, i), Format::offset);
                std::memcpy(to + Format::quad(s, i) * line_bytes, line.part, line_bytes);
            }
        }
    }

    /// A sum of integers of an item, in its register.
    template <std::size_t Block, std::size_t Column>
    FLASHBACK_SIMD_INLINE void sum_of(const Part& part, const Item& item) noexcept {
        constexpr bool halves = Format::halves == 2;
        constexpr std::size_t half = halves ? Column : 0;
        constexpr std::size_t panel = halves ? 0 : Column;
        // Two registers take turns, so that the next activations are loaded while the last ones are multiplied.
        constexpr std::size_t activations = activation_tile(halves ? half : Block);
        constexpr std::size_t sum = sum_tile(Block, Column);
        if constexpr (halves || Column == 0) {
            const std::size_t block = part.first + item.block + Block;
            tiles_.template load<activations>(
                bytes_.first + item.row * bytes_.row_stride + block * bytes_.block_stride + half * half_inputs,
                bytes_.row_stride);
        }
        tiles_.template load<weight_tile(Column)>(weights_[panel][item.block + Block] + half * half_inputs * panel_outputs,
                                                  line_bytes);
        tiles_.template zero<sum>();
        tiles_.template multiply_bytes<sum, activations, weight_tile(Column)>();
    }

    /// The sums of an item leave their registers one by one, those of the next one take their place, and meanwhile a part of the
    /// rows of the last one is scaled. So nothing waits for a product, or for what was stored only just now. Any of the three may
    /// have no blocks.
    template <std::size_t Panels>
    FLASHBACK_SIMD_INLINE void step(const Part& part, std::size_t slot, const Item& last, const Item& now,
                                    const Item& next) noexcept {
        const auto exchange = [&](auto block, auto column) FLASHBACK_SIMD_LAMBDA {
            if constexpr (column < Panels * Format::halves) {
                if (block < now.blocks)
                    tiles_.template store<sum_tile(block, column)>(sums_[slot][block][column], tile_row_bytes);
                if (block < next.blocks) sum_of<block, column>(part, next);
            }
        };
        if (last.blocks == 2) {
            scale<Panels, 2>(part, last, sums_[1 - slot], exchange);
        } else if (last.blocks == 1) {
            scale<Panels, 1>(part, last, sums_[1 - slot], exchange);
        } else {
            each_sum<2, 2>(exchange);
        }
    }

    using Sums = std::int32_t[2][2][tile_rows][panel_outputs];  // of two blocks and two columns

    /// Adds the sums of an item to the outputs, with both scales: blocks ascending (rule R2).
    template <std::size_t Panels, std::size_t Blocks, class Exchange>
    FLASHBACK_SIMD_INLINE void scale(const Part& part, const Item& item, const Sums& sums, const Exchange& exchange) noexcept {
        const std::size_t block = part.first + item.block;
        typename Format::Scales scales[Panels][Blocks];
#pragma GCC unroll 2
        for (std::size_t p = 0; p < Panels; ++p) {
#pragma GCC unroll 2
            for (std::size_t b = 0; b < Blocks; ++b) {
                const std::byte* const panel = panel_at(part.panel + p);
                scales[p][b] = Format::scales(panel, block + b);
                if (rows_ > tile_few_rows || item.row > 0) continue;
                prefetch_far(panel + Format::scales_at(block + b), part.bytes_ahead);
                for (std::size_t at = 0; at < Format::lines_bytes; at += line_bytes)
                    prefetch_far(panel + Format::lines_at(block + b) + at, part.bytes_ahead);
            }
        }
        const std::size_t a_stride = a_.block_stride;
        const std::size_t y_stride = y_stride_;
        const ActivationBlock* const a = a_.blocks + item.row * a_stride + block;
        float* const y = y_ + item.row * y_stride + part.panel * panel_outputs;
        const std::size_t rows = height_ - item.shared;
        each_sum<2, 2>([&](auto upper, auto lower) FLASHBACK_SIMD_LAMBDA {
            exchange(upper, lower);
            constexpr std::size_t quarter = 2 * upper + lower;
            const std::size_t end = item.shared + rows * (quarter + 1) / 4;
            for (std::size_t r = item.shared + rows * quarter / 4; r < end; ++r) {
#pragma GCC unroll 2
                for (std::size_t p = 0; p < Panels; ++p) {
                    float* const to = y + r * y_stride + p * panel_outputs;
                    Lanes sum = Lanes::load(to);
#pragma GCC unroll 2
                    for (std::size_t b = 0; b < Blocks; ++b) {
                        IntLanes whole[Format::halves];
                        for (std::size_t h = 0; h < Format::halves; ++h) whole[h] = IntLanes::load(sums[b][p + h][r]);
                        sum = Format::add(scales[p][b], whole, a[r * a_stride + b], sum);
                    }
                    sum.store(to);
                }
            }
        });
    }

    const MatmulPanels& w_;
    const Activations& a_;
    const ActivationBytes bytes_;
    const std::size_t rows_, row_tiles_, height_;
    float* const y_;
    const std::size_t y_stride_;
    const std::size_t blocks_ = w_.inputs / activation_block;
    Tiles tiles_;
    alignas(64) std::byte weights_[most_panels][unpacked_blocks][unpacked_bytes];
    alignas(64) Sums sums_[2];  // of two items
};

/// The product in tiles, if there are enough rows and the processor has them, or if their twin takes their place on purpose.
/// Gives false if nothing was done: vectors have the same bits.
template <class Format>
bool matmul_bytes(const MatmulPanels& w, const Activations& a, std::size_t rows, float* y, std::size_t y_stride) noexcept {
    if (rows < least_rows_in_tiles || w.inputs == 0) return false;
#if defined(FLASHBACK_AMX_EMULATE)
    BytesMatmul<Format, AmxTwin>{w, a, rows, y, y_stride}.run();
#else
    if (tiles().use != TileUse::tiles) return false;
    BytesMatmul<Format, AmxTiles>{w, a, rows, y, y_stride}.run();
#endif
    return true;
}

}  // namespace flashback::inline FLASHBACK_ISA::simd::detail
#endif
