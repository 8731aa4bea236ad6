/// \file The form of keys and values that caches store and attention reads.
#pragma once

#include "flashback/core/config.hpp"

#include <cstddef>

namespace flashback::inline FLASHBACK_ISA {

/// Positions of a tile, counted from position 0. They are a part of how attention sums (rule R7): whatever the page size of a
/// cache or the length of a call, sums are taken tile by tile.
inline constexpr std::size_t tile_positions = 64;

/// How many keys lie side by side, so that the lanes of a vector run across keys and no score needs a horizontal sum.
inline constexpr std::size_t key_group = 16;

/// The keys and values of 64 consecutive positions of one head, in the element type of their cache: f32, f16, bf16 or i8. In i8, 64
/// steps in f32 follow the keys, and 64 the values: a key or a value is its numbers times the step of its position.
/// Shape     keys (4, head_dim, 16): groups of 16 positions, dimension-major   values (64, head_dim)
struct KVTile {
    const std::byte* keys;    ///< 64 of them, as above
    const std::byte* values;  ///< 64 of them, as above
};

}  // namespace flashback::inline FLASHBACK_ISA
