/// \file The simplest storage of keys and values: one block of f32 for the whole window.
#pragma once

#include "flashback/core/aligned_buffer.hpp"
#include "flashback/core/error.hpp"
#include "flashback/kv/kv_cache.hpp"

#include <algorithm>
#include <cstddef>

namespace flashback::inline FLASHBACK_ISA {

/// Keys and values in one block of f32.
/// Shape     (layers, kv_heads, tiles, keys and values of a tile)
/// Cost      layers · kv_heads · head_dim · 8 bytes a position, rounded up to 64 positions; the pages of positions that
///           were never written are not touched
class ContiguousKVCache {
public:
    /// Throws    std::bad_alloc
    explicit ContiguousKVCache(const KVShape& shape)
        : shape_(shape),
          tiles_((shape.positions + tile_positions - 1) / tile_positions),
          values_(shape.layers * shape.kv_heads * tiles_ * tile_floats()) {}

    const KVShape& shape() const noexcept { return shape_; }
    std::size_t size() const noexcept { return size_; }
    std::size_t bytes() const noexcept { return values_.size() * sizeof(float); }

    /// Requires  layer, head and position lie in the shape
    void write(std::size_t layer, std::size_t head, std::size_t position, const float* key, const float* value) noexcept {
        float* tile = values_.data() + offset(layer, head, position / tile_positions);
        const std::size_t t = position % tile_positions;
        float* keys = tile + t / key_group * shape_.head_dim * key_group + t % key_group;
        for (std::size_t i = 0; i < shape_.head_dim; ++i) keys[i * key_group] = key[i];
        std::copy_n(value, shape_.head_dim, tile + tile_positions * shape_.head_dim + t * shape_.head_dim);
    }

    /// Requires  size() <= n <= shape().positions, and all positions below n were written in every layer and head
    void commit(std::size_t n) noexcept { size_ = n; }

    /// Throws    Error{contract} if n is beyond size()
    void truncate(std::size_t n) {
        FLASHBACK_ASSERT(n <= size_, "a KV cache of ", size_, " positions cannot be cut to ", n);
        size_ = n;
    }

    KVTile tile(std::size_t layer, std::size_t head, std::size_t t) const noexcept {
        const float* keys = values_.data() + offset(layer, head, t);
        return {keys, keys + tile_positions * shape_.head_dim};
    }

    /// A copy of the positions held.
    /// Throws    std::bad_alloc
    /// Cost      copies the tiles that are in use
    ContiguousKVCache fork() const {
        ContiguousKVCache copy{shape_};
        const std::size_t used = (size_ + tile_positions - 1) / tile_positions * tile_floats();
        for (std::size_t layer = 0; layer < shape_.layers; ++layer) {
            for (std::size_t head = 0; head < shape_.kv_heads; ++head) {
                std::copy_n(values_.data() + offset(layer, head, 0), used, copy.values_.data() + offset(layer, head, 0));
            }
        }
        copy.size_ = size_;
        return copy;
    }

private:
    std::size_t tile_floats() const noexcept { return 2 * tile_positions * shape_.head_dim; }
    std::size_t offset(std::size_t layer, std::size_t head, std::size_t t) const noexcept {
        return ((layer * shape_.kv_heads + head) * tiles_ + t) * tile_floats();
    }

    KVShape shape_;
    std::size_t tiles_;
    AlignedBuffer<float> values_;
    std::size_t size_ = 0;
};

static_assert(KVCache<ContiguousKVCache>);

}  // namespace flashback::inline FLASHBACK_ISA
