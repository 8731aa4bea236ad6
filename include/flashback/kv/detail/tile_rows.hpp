/// \file Keys and values in the tiles of a cache.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/kv/kv_cache.hpp"
#include "flashback/simd/cache_element.hpp"

#include <concepts>
#include <cstddef>
#include <cstring>
#include <new>
#include <span>

namespace flashback::inline FLASHBACK_ISA::detail {

inline std::size_t tiles_of(std::size_t positions) noexcept { return (positions + tile_positions - 1) / tile_positions; }

/// Refuses a shape whose elements no cache can have.
inline void check_element(const KVShape& shape) {
    FLASHBACK_ASSERT(simd::with_element(shape.element, [](auto) {}), "a KV cache of ", layout_of(shape.element).name,
                     ", expected F32, F16, BF16 or I8");
}

/// Bytes of the elements of all keys, or all values, of a tile. In i8 their steps follow.
inline std::size_t elements_of_tile(const KVShape& shape) noexcept {
    return tile_positions * shape.head_dim * layout_of(shape.element).block_bytes;
}
inline std::size_t steps_of_tile(DType element) noexcept { return element == DType::i8 ? tile_positions * sizeof(float) : 0; }

/// Bytes of a tile: its keys, then its values.
inline std::size_t tile_bytes(const KVShape& shape) noexcept {
    return 2 * (elements_of_tile(shape) + steps_of_tile(shape.element));
}

/// Bytes of so many tiles of every layer and head. The factors come from a file, so their product may need more than 64 bits.
/// Throws    std::bad_array_new_length if it does
inline std::size_t bytes_of_tiles(const KVShape& shape, std::size_t tiles) {
    std::size_t bytes = 2 * tile_positions * layout_of(shape.element).block_bytes;
    bool fits = !__builtin_mul_overflow(bytes, shape.head_dim, &bytes) &&
                !__builtin_add_overflow(bytes, 2 * steps_of_tile(shape.element), &bytes);
    for (const std::size_t factor : {shape.layers, shape.kv_heads, tiles})
        fits = fits && !__builtin_mul_overflow(bytes, factor, &bytes);
    if (!fits) throw std::bad_array_new_length{};
    return bytes;
}

inline KVTile view_tile(const std::byte* tile, const KVShape& shape) noexcept { return {tile, tile + tile_bytes(shape) / 2}; }

/// Rounds a key and a value to the element of the shape (rule R6), and writes them to position `t` of a tile.
inline void write_to_tile(std::byte* tile, const KVShape& shape, std::size_t t, const float* key, const float* value) noexcept {
    const std::size_t d = shape.head_dim;
    simd::with_element(shape.element, [&](auto element) {
        using Element = decltype(element);
        std::byte* const half = tile + tile_bytes(shape) / 2;
        Element* const keys = reinterpret_cast<Element*>(tile) + t / key_group * d * key_group + t % key_group;
        Element* const values = reinterpret_cast<Element*>(half) + t * d;
        if constexpr (std::same_as<Element, simd::Int8>) {
            const std::size_t elements = elements_of_tile(shape);
            const float key_step = reinterpret_cast<float*>(tile + elements)[t] = simd::int8_step(key, d);
            const float value_step = reinterpret_cast<float*>(half + elements)[t] = simd::int8_step(value, d);
            for (std::size_t i = 0; i < d; ++i) {
                keys[i * key_group] = simd::in_steps(key[i], key_step);
                values[i] = simd::in_steps(value[i], value_step);
            }
        } else {
            simd::round_strided(key, d, keys, key_group);
            simd::round_row(value, d, values);
        }
    });
}

/// Reads the key and the value at position `t` of a tile, as floats.
/// Shape     key, value (head_dim)
inline void read_from_tile(const KVTile& tile, const KVShape& shape, std::size_t t, float* key, float* value) noexcept {
    const std::size_t d = shape.head_dim;
    simd::with_element(shape.element, [&](auto element) {
        using Element = decltype(element);
        const auto* keys = reinterpret_cast<const Element*>(tile.keys) + t / key_group * d * key_group + t % key_group;
        const auto* values = reinterpret_cast<const Element*>(tile.values) + t * d;
        for (std::size_t i = 0; i < d; ++i) {
            key[i] = simd::to_float(keys[i * key_group]);
            value[i] = simd::to_float(values[i]);
        }
        if constexpr (std::same_as<Element, simd::Int8>) {
            const float key_step = reinterpret_cast<const float*>(tile.keys + elements_of_tile(shape))[t];
            const float value_step = reinterpret_cast<const float*>(tile.values + elements_of_tile(shape))[t];
            for (std::size_t i = 0; i < d; ++i) {
                key[i] *= key_step;  // exact
                value[i] *= value_step;
            }
        }
    });
}

/// Copies the first positions of a tile as they are; what stands behind them is left, or becomes 0.
/// Shape     to (tile_bytes)
inline void copy_tile(const KVTile& from, const KVShape& shape, std::size_t positions, std::byte* to, bool zeros) noexcept {
    const std::size_t elements = elements_of_tile(shape);
    const std::size_t half = tile_bytes(shape) / 2;
    const std::size_t row = elements / tile_positions;
    if (zeros) std::memset(to, 0, 2 * half);
    const std::size_t whole = positions / key_group * key_group * row;
    std::memcpy(to, from.keys, whole);
    if (const std::size_t rest = positions % key_group; rest > 0) {
        const std::size_t each = layout_of(shape.element).block_bytes;
        for (std::size_t at = whole; at < whole + key_group * row; at += key_group * each)
            std::memcpy(to + at, from.keys + at, rest * each);
    }
    std::memcpy(to + half, from.values, positions * row);
    if (shape.element == DType::i8) {
        std::memcpy(to + elements, from.keys + elements, positions * sizeof(float));
        std::memcpy(to + half + elements, from.values + elements, positions * sizeof(float));
    }
}

/// The bytes of a tile with 0 behind its first positions: where they lie if the tile is full and in one piece, else a copy in `scratch`.
/// Shape     scratch (tile_bytes)
inline std::span<const std::byte> whole_tile(const KVTile& from, const KVShape& shape, std::size_t positions,
                                             std::span<std::byte> scratch) noexcept {
    if (positions == tile_positions && from.values == from.keys + tile_bytes(shape) / 2) return {from.keys, tile_bytes(shape)};
    copy_tile(from, shape, positions, scratch.data(), true);
    return scratch;
}

}  // namespace flashback::inline FLASHBACK_ISA::detail
