/// \file Keys and values in the tiles of a cache.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/kv/kv_cache.hpp"
#include "flashback/simd/cache_element.hpp"

#include <cstddef>
#include <new>

namespace flashback::inline FLASHBACK_ISA::detail {

inline std::size_t tiles_of(std::size_t positions) noexcept { return (positions + tile_positions - 1) / tile_positions; }

/// Refuses a shape whose elements no cache can have.
inline void check_element(const KVShape& shape) {
    FLASHBACK_ASSERT(simd::with_element(shape.element, [](auto) {}), "a KV cache of ", layout_of(shape.element).name,
                     ", expected F32, F16 or BF16");
}

/// Bytes of a tile: its keys, then its values.
inline std::size_t tile_bytes(const KVShape& shape) noexcept {
    return 2 * tile_positions * shape.head_dim * layout_of(shape.element).block_bytes;
}

/// Bytes of so many tiles of every layer and head. The factors come from a file, so their product may need more than 64 bits.
/// Throws    std::bad_array_new_length if it does
inline std::size_t bytes_of_tiles(const KVShape& shape, std::size_t tiles) {
    std::size_t bytes = 2 * tile_positions * layout_of(shape.element).block_bytes;
    for (const std::size_t factor : {shape.layers, shape.kv_heads, shape.head_dim, tiles})
        if (__builtin_mul_overflow(bytes, factor, &bytes)) throw std::bad_array_new_length{};
    return bytes;
}

inline KVTile view_tile(const std::byte* tile, const KVShape& shape) noexcept { return {tile, tile + tile_bytes(shape) / 2}; }

/// Rounds a key and a value to the element of the shape (rule R6), and writes them to position `t` of a tile.
inline void write_to_tile(std::byte* tile, const KVShape& shape, std::size_t t, const float* key, const float* value) noexcept {
    const std::size_t d = shape.head_dim;
    simd::with_element(shape.element, [&](auto element) {
        using Element = decltype(element);
        simd::round_strided(key, d, reinterpret_cast<Element*>(tile) + t / key_group * d * key_group + t % key_group,
                            key_group);
        simd::round_row(value, d, reinterpret_cast<Element*>(tile) + (tile_positions + t) * d);
    });
}

}  // namespace flashback::inline FLASHBACK_ISA::detail
