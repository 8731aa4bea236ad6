/// \file The simplest storage of keys and values: one block for the whole window.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/kv/kv_cache.hpp"
#include "flashback/simd/cache_element.hpp"
#include "flashback/tensor/aligned_buffer.hpp"
#include "flashback/tensor/huge_pages.hpp"

#include <algorithm>
#include <cstddef>
#include <new>

namespace flashback::inline FLASHBACK_ISA {

/// Keys and values in one block.
/// Shape     (layers, kv_heads, tiles, keys and values of a tile)
/// Cost      layers · kv_heads · head_dim · 8 bytes for each position (4 for f16 and bf16), rounded up to 64 positions;
///           positions that were never written take no memory pages
class ContiguousKVCache {
public:
    /// Throws    Error{contract} for an element other than f32, f16 or bf16; std::bad_alloc, also if that is more bytes than an
    ///           object can have
    explicit ContiguousKVCache(const KVShape& shape)
        : shape_(shape),
          element_bytes_(layout_of(shape.element).block_bytes),
          tiles_((shape.positions + tile_positions - 1) / tile_positions) {
        FLASHBACK_ASSERT(takes(shape.element), "a KV cache of ", layout_of(shape.element).name, ", expected F32, F16 or BF16");
        memory_ = in_huge_pages(AlignedBuffer<std::byte>{bytes_of(shape)});
    }

    /// Whether a cache can have elements of a type.
    static constexpr bool takes(DType element) noexcept {
        return simd::with_element(element, [](auto) {});
    }

    const KVShape& shape() const noexcept { return shape_; }
    std::size_t size() const noexcept { return size_; }
    std::size_t bytes() const noexcept { return memory_.size(); }

    /// Requires  layer, head and position lie in the shape
    void write(std::size_t layer, std::size_t head, std::size_t position, const float* key, const float* value) noexcept {
        std::byte* tile = memory_.data() + offset(layer, head, position / tile_positions);
        const std::size_t t = position % tile_positions;
        simd::with_element(shape_.element, [&](auto element) {
            using Element = decltype(element);
            auto* keys = reinterpret_cast<Element*>(tile) + t / key_group * shape_.head_dim * key_group + t % key_group;
            simd::round_strided(key, shape_.head_dim, keys, key_group);
            simd::round_row(value, shape_.head_dim, reinterpret_cast<Element*>(tile) + (tile_positions + t) * shape_.head_dim);
        });
    }

    /// Requires  size() <= n <= shape().positions, and all positions below n were written in every layer and head
    void commit(std::size_t n) noexcept { size_ = n; }

    /// Throws    Error{contract} if n is beyond size()
    void truncate(std::size_t n) {
        FLASHBACK_ASSERT(n <= size_, "a KV cache of ", size_, " positions cannot be cut to ", n);
        size_ = n;
    }

    KVTile tile(std::size_t layer, std::size_t head, std::size_t t) const noexcept {
        const std::byte* keys = memory_.data() + offset(layer, head, t);
        return {keys, keys + tile_bytes() / 2};
    }

    /// A copy of the positions held.
    /// Throws    std::bad_alloc
    /// Cost      copies the tiles that are in use
    ContiguousKVCache fork() const {
        ContiguousKVCache copy{shape_};
        const std::size_t used = (size_ + tile_positions - 1) / tile_positions * tile_bytes();
        for (std::size_t layer = 0; layer < shape_.layers; ++layer) {
            for (std::size_t head = 0; head < shape_.kv_heads; ++head) {
                std::copy_n(memory_.data() + offset(layer, head, 0), used, copy.memory_.data() + offset(layer, head, 0));
            }
        }
        copy.size_ = size_;
        return copy;
    }

private:
    /// The factors come from a file, so their product may need more than 64 bits.
    std::size_t bytes_of(const KVShape& shape) const {
        std::size_t bytes = 2 * tile_positions * element_bytes_;
        for (const std::size_t factor : {shape.layers, shape.kv_heads, shape.head_dim, tiles_})
            if (__builtin_mul_overflow(bytes, factor, &bytes)) throw std::bad_array_new_length{};
        return bytes;
    }
    std::size_t tile_bytes() const noexcept { return 2 * tile_positions * shape_.head_dim * element_bytes_; }
    std::size_t offset(std::size_t layer, std::size_t head, std::size_t t) const noexcept {
        return ((layer * shape_.kv_heads + head) * tiles_ + t) * tile_bytes();
    }

    KVShape shape_;
    std::size_t element_bytes_;
    std::size_t tiles_;
    AlignedBuffer<std::byte> memory_;
    std::size_t size_ = 0;
};

static_assert(KVCache<ContiguousKVCache>);

}  // namespace flashback::inline FLASHBACK_ISA
