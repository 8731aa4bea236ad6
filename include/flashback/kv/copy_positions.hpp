/// \file Keys and values from one cache to another.
#pragma once

#include "flashback/kv/detail/tile_rows.hpp"
#include "flashback/kv/kv_cache.hpp"

#include <cstddef>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// Some positions of a cache.
struct PositionRange {
    std::size_t begin;  ///< the first position
    std::size_t count;  ///< how many there are
};

/// Calls `visit(layer, head, i, key, value)` with a copy of the key and the value, as floats, of each position of a range.
/// Shape     key, value (head_dim)
/// Requires  all these positions were written
template <KVCache Cache, class Visit>
void each_position(const Cache& cache, const PositionRange& range, const Visit& visit) {
    const KVShape shape = cache.shape();
    std::vector<float> key(shape.head_dim);
    std::vector<float> value(shape.head_dim);
    for (std::size_t layer = 0; layer < shape.layers; ++layer) {
        for (std::size_t head = 0; head < shape.kv_heads; ++head) {
            for (std::size_t i = 0; i < range.count; ++i) {
                const std::size_t position = range.begin + i;
                detail::read_from_tile(cache.tile(layer, head, position / tile_positions), shape, position % tile_positions,
                                       key.data(), value.data());
                visit(layer, head, i, key.data(), value.data());
            }
        }
    }
}

/// Writes some positions of a cache into another, from position `at` on; the caller commits them. If both have the same element, no
/// bit changes.
/// Requires  both have the same layers, heads and head_dim
/// Cost      a copy of the positions
template <KVCache From, KVCache To>
void copy_positions(const From& from, const PositionRange& range, To& to, std::size_t at) {
    each_position(from, range, [&](std::size_t layer, std::size_t head, std::size_t i, const float* key, const float* value) {
        to.write(layer, head, at + i, key, value);
    });
}

}  // namespace flashback::inline FLASHBACK_ISA
