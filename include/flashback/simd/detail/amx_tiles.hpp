/// \file The eight tile registers of AMX, with the instructions, and as a software twin that has the same bits.
///
/// A tile has up to sixteen lines of 64 bytes. `multiply` adds the product of activations (rows of 32 bf16) and weights (lines
/// of sixteen pairs of bf16) to sums (rows of sixteen floats). `multiply_bytes` does so with signed bytes (rows of up to 64,
/// lines of sixteen times four) and sums of 32 bits, which are exact. Both kinds of tiles have the same members, so each kernel
/// is one template.
#pragma once

#include "flashback/simd/detail/lanes.hpp"
#include "flashback/simd/tiles.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(FLASHBACK_SIMD_AMX)
namespace flashback::inline FLASHBACK_ISA::simd::detail {

inline constexpr std::size_t tile_rows = 16;
inline constexpr std::size_t tile_row_bytes = 64;
inline constexpr std::size_t tile_bytes = tile_rows * tile_row_bytes;

// Which register holds what: two tiles of rows times two panels.
constexpr std::size_t sum_tile(std::size_t row, std::size_t panel) noexcept { return 2 * row + panel; }
constexpr std::size_t activation_tile(std::size_t row) noexcept { return 4 + row; }
constexpr std::size_t weight_tile(std::size_t panel) noexcept { return 6 + panel; }
/// How many rows the register `tile` has if the two tiles of rows have `rows[0]` and `rows[1]`, with `bytes` of activations each.
constexpr std::size_t rows_of_tile(std::size_t tile, const std::size_t (&rows)[2], std::size_t bytes) noexcept {
    if (tile >= weight_tile(0)) return bytes / 4;
    return rows[tile >= activation_tile(0) ? tile - activation_tile(0) : tile / 2];
}
/// How many bytes a row of it has.
constexpr std::size_t bytes_of_tile(std::size_t tile, std::size_t bytes) noexcept {
    return tile >= activation_tile(0) && tile < weight_tile(0) ? bytes : tile_row_bytes;
}

#if !defined(FLASHBACK_AMX_EMULATE)
/// The registers of this thread. They are large, and the system saves them at each switch of threads while they are in use: so
/// they are given back at the end of a product or of attention, and the host's threads never see them.
///
/// Bare instructions, because the intrinsics of g++ 12 take a literal where a template has a constant.
class AmxTiles {
public:
    AmxTiles() = default;
    AmxTiles(const AmxTiles&) = delete;
    AmxTiles& operator=(const AmxTiles&) = delete;
    ~AmxTiles() { asm volatile("tilerelease" ::: "memory"); }

    /// Gives the registers their sizes, and zeros.
    /// Requires  1 to 16 rows each; `bytes`, those of a row of activations, is a multiple of 4 up to 64
    void configure(const std::size_t (&rows)[2], std::size_t bytes = tile_row_bytes) noexcept {
        struct {
            std::uint8_t palette, start_row, reserved[14];
            std::uint16_t row_bytes[16];
            std::uint8_t rows[16];
        } configuration{};
        static_assert(sizeof configuration == 64);
        configuration.palette = 1;
        for (std::size_t t = 0; t < 8; ++t) {
            configuration.row_bytes[t] = static_cast<std::uint16_t>(bytes_of_tile(t, bytes));
            configuration.rows[t] = static_cast<std::uint8_t>(rows_of_tile(t, rows, bytes));
        }
        asm volatile("ldtilecfg %0" ::"m"(configuration) : "memory");
    }
    template <std::size_t Tile>
    FLASHBACK_SIMD_INLINE void zero() noexcept {
        asm volatile("tilezero %%tmm%c0" ::"i"(Tile));
    }
    /// Shape     from: the rows of the tile, `stride` bytes apart
    template <std::size_t Tile>
    FLASHBACK_SIMD_INLINE void load(const void* from, std::size_t stride) noexcept {
        asm volatile("{tileloadd (%0,%1,1), %%tmm%c2|tileloadd %%tmm%c2, [%0+%1*1]}" ::"r"(from), "r"(stride), "i"(Tile)
                     : "memory");
    }
    template <std::size_t Tile>
    FLASHBACK_SIMD_INLINE void store(void* to, std::size_t stride) const noexcept {
        asm volatile("{tilestored %%tmm%c2, (%0,%1,1)|tilestored [%0+%1*1], %%tmm%c2}" ::"r"(to), "r"(stride), "i"(Tile)
                     : "memory");
    }
    template <std::size_t Sum, std::size_t Activation, std::size_t Weight>
    FLASHBACK_SIMD_INLINE void multiply() noexcept {
        asm volatile("{tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0|tdpbf16ps %%tmm%c0, %%tmm%c1, %%tmm%c2}" ::"i"(Sum),
                     "i"(Activation), "i"(Weight));
    }
    template <std::size_t Sum, std::size_t Activation, std::size_t Weight>
    FLASHBACK_SIMD_INLINE void multiply_bytes() noexcept {
        asm volatile("{tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0|tdpbssd %%tmm%c0, %%tmm%c1, %%tmm%c2}" ::"i"(Sum), "i"(Activation),
                     "i"(Weight));
    }
};
#endif

/// The same in software: what was measured on the processor (102,400 outputs for each of five distributions, no bit differed).
class AmxTwin {
public:
    void configure(const std::size_t (&rows)[2], std::size_t bytes = tile_row_bytes) noexcept {
        for (std::size_t t = 0; t < 8; ++t) {
            rows_[t] = rows_of_tile(t, rows, bytes);
            bytes_[t] = bytes_of_tile(t, bytes);
        }
        std::memset(tile_, 0, sizeof tile_);
    }
    template <std::size_t Tile>
    void zero() noexcept {
        std::memset(tile_[Tile], 0, tile_bytes);
    }
    template <std::size_t Tile>
    void load(const void* from, std::size_t stride) noexcept {
        for (std::size_t r = 0; r < rows_[Tile]; ++r)
            std::memcpy(tile_[Tile][r], static_cast<const std::byte*>(from) + r * stride, bytes_[Tile]);
    }
    template <std::size_t Tile>
    void store(void* to, std::size_t stride) const noexcept {
        for (std::size_t r = 0; r < rows_[Tile]; ++r)
            std::memcpy(static_cast<std::byte*>(to) + r * stride, tile_[Tile][r], bytes_[Tile]);
    }
    template <std::size_t Sum, std::size_t Activation, std::size_t Weight>
    void multiply() noexcept {
        // The instruction does not ask MXCSR: it rounds to nearest, and subnormal numbers are zeros.
        constexpr unsigned nearest_without_subnormals = 0x9fc0;
        const unsigned control = _mm_getcsr();
        _mm_setcsr(nearest_without_subnormals);
        add_products(tile_[Sum], tile_[Activation], tile_[Weight], rows_[Sum]);
        _mm_setcsr(control);
    }
    template <std::size_t Sum, std::size_t Activation, std::size_t Weight>
    void multiply_bytes() noexcept {
        add_products_of_bytes(tile_[Sum], tile_[Activation], tile_[Weight], rows_[Sum], rows_[Weight]);
    }

private:
    using Tile = std::byte[tile_rows][tile_row_bytes];

    // In a function of its own, so that the compiler moves no arithmetic out of the changed mode.
    [[gnu::noinline]] static void add_products(Tile& sum, const Tile& a, const Tile& w, std::size_t rows) noexcept {
        Lanes even_weights[tile_rows];
        Lanes odd_weights[tile_rows];
        for (std::size_t k = 0; k < tile_rows; ++k) {
            float both[2][panel_outputs];
            for (std::size_t j = 0; j < panel_outputs; ++j) split(w[k] + 4 * j, both[0][j], both[1][j]);
            even_weights[k] = Lanes::load(both[0]);
            odd_weights[k] = Lanes::load(both[1]);
        }
        for (std::size_t r = 0; r < rows; ++r) {
            Lanes even = Lanes::all(0.0f);
            Lanes odd = Lanes::all(0.0f);
            for (std::size_t k = 0; k < tile_rows; ++k) {
                float x, y;
                split(a[r] + 4 * k, x, y);
                even = fma(Lanes::all(x), even_weights[k], even);
                odd = fma(Lanes::all(y), odd_weights[k], odd);
            }
            float c[panel_outputs];
            std::memcpy(c, sum[r], sizeof c);
            (Lanes::load(c) + (even + odd)).store(c);
            std::memcpy(sum[r], c, sizeof c);
        }
    }
    static void add_products_of_bytes(Tile& sum, const Tile& a, const Tile& w, std::size_t rows, std::size_t quads) noexcept {
        const auto whole = [](std::byte x) { return std::int32_t{static_cast<std::int8_t>(x)}; };
        for (std::size_t r = 0; r < rows; ++r) {
            std::int32_t c[panel_outputs];
            std::memcpy(c, sum[r], sizeof c);
            for (std::size_t k = 0; k < 4 * quads; ++k) {
                const std::int32_t x = whole(a[r][k]);
                for (std::size_t j = 0; j < panel_outputs; ++j) c[j] += x * whole(w[k / 4][4 * j + k % 4]);
            }
            std::memcpy(sum[r], c, sizeof c);
        }
    }
    FLASHBACK_SIMD_INLINE static void split(const std::byte* pair, float& even, float& odd) noexcept {
        std::uint32_t both;
        std::memcpy(&both, pair, sizeof both);
        even = std::bit_cast<float>(both << 16);
        odd = std::bit_cast<float>(both & 0xffff0000u);
    }

    std::size_t rows_[8] = {};
    std::size_t bytes_[8] = {};
    alignas(64) Tile tile_[8];
};

}  // namespace flashback::inline FLASHBACK_ISA::simd::detail
#endif
