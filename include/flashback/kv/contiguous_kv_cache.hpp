/// \file The simplest storage of keys and values: one block for the whole window.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/kv/detail/tile_rows.hpp"
#include "flashback/kv/kv_cache.hpp"
#include "flashback/simd/cache_element.hpp"
#include "flashback/tensor/aligned_buffer.hpp"
#include "flashback/tensor/huge_pages.hpp"

#include <algorithm>
#include <cstddef>

namespace flashback::inline FLASHBACK_ISA {

/// Keys and values in one block.
/// Shape     (layers, kv_heads, tiles, keys and values of a tile)
/// Cost      layers · kv_heads · head_dim · 8 bytes for each position (4 for f16 and bf16; kv_bytes), rounded up to 64 positions;
///           positions that were never written take no memory pages
class ContiguousKVCache {
public:
    /// Throws    Error{contract} for an element other than f32, f16, bf16 or i8; std::bad_alloc, also if that is more bytes than an
    ///           object can have
    explicit ContiguousKVCache(const KVShape& shape) : shape_(shape), tiles_(detail::tiles_of(shape.positions)) {
        detail::check_element(shape);
        memory_ = in_huge_pages(AlignedBuffer<std::byte>{detail::bytes_of_tiles(shape, tiles_)});
    }

    /// Positions that are held may be written again; forks have memory of their own.
    static constexpr bool writes_in_place = true;

    /// Whether a cache can have elements of a type.
    static constexpr bool takes(DType element) noexcept {
        return simd::with_element(element, [](auto) {});
    }

    /// The lengths that it was made with.
    const KVShape& shape() const noexcept { return shape_; }
    /// How many positions it holds.
    std::size_t size() const noexcept { return size_; }
    /// How much memory it takes.
    std::size_t bytes() const noexcept { return memory_.size(); }

    /// All positions of the shape are writable from the start.
    void reserve(std::size_t /*n*/) const noexcept {}

    /// Requires  layer, head and position lie in the shape
    void write(std::size_t layer, std::size_t head, std::size_t position, const float* key, const float* value) noexcept {
        detail::write_to_tile(memory_.data() + offset(layer, head, position / tile_positions), shape_,
                              position % tile_positions, key, value);
    }

    /// Requires  size() <= n <= shape().positions, and all positions below n were written in every layer and head
    void commit(std::size_t n) noexcept { size_ = n; }

    /// Throws    Error{contract} if n is beyond size()
    void truncate(std::size_t n) {
        FLASHBACK_ASSERT(n <= size_, "a KV cache of ", size_, " positions cannot be cut to ", n);
        size_ = n;
    }

    /// The memory of a tile.
    std::byte* raw_tile(std::size_t layer, std::size_t head, std::size_t t) noexcept {
        return memory_.data() + offset(layer, head, t);
    }
    /// Where the keys and values of tile t lie: of the positions [64 t, 64 t + 64).
    KVTile tile(std::size_t layer, std::size_t head, std::size_t t) const noexcept {
        return detail::view_tile(memory_.data() + offset(layer, head, t), shape_);
    }

    /// A copy of the positions held.
    /// Throws    std::bad_alloc
    /// Cost      copies the tiles that are in use
    ContiguousKVCache fork() const {
        ContiguousKVCache copy{shape_};
        const std::size_t used = detail::tiles_of(size_) * detail::tile_bytes(shape_);
        for (std::size_t layer = 0; layer < shape_.layers; ++layer) {
            for (std::size_t head = 0; head < shape_.kv_heads; ++head) {
                std::copy_n(memory_.data() + offset(layer, head, 0), used, copy.memory_.data() + offset(layer, head, 0));
            }
        }
        copy.size_ = size_;
        return copy;
    }

    /// An empty cache of the same shape.
    /// Throws    std::bad_alloc
    ContiguousKVCache sibling() const { return ContiguousKVCache{shape_}; }

private:
    std::size_t offset(std::size_t layer, std::size_t head, std::size_t t) const noexcept {
        return ((layer * shape_.kv_heads + head) * tiles_ + t) * detail::tile_bytes(shape_);
    }

    KVShape shape_;
    std::size_t tiles_;
    AlignedBuffer<std::byte> memory_;
    std::size_t size_ = 0;
};

static_assert(KVCache<ContiguousKVCache>);

}  // namespace flashback::inline FLASHBACK_ISA
