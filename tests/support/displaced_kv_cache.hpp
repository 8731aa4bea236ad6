/// \file A KV cache with its tiles in another order and off the cache lines.
#pragma once

#include "flashback/kv/kv_cache.hpp"
#include "flashback/tensor/aligned_buffer.hpp"

#include <algorithm>
#include <cstddef>
#include <limits>

namespace flashback_test {

/// What a paged cache may do to attention: tiles lie in descending order, `Floats` floats off a cache line, between NaNs.
template <std::size_t Floats>
class DisplacedKVCache {
public:
    explicit DisplacedKVCache(const flashback::KVShape& shape)
        : shape_(shape),
          tiles_((shape.positions + flashback::tile_positions - 1) / flashback::tile_positions),
          values_(shape.layers * shape.kv_heads * tiles_ * stride() + Floats) {
        std::fill_n(values_.data(), values_.size(), std::numeric_limits<float>::quiet_NaN());
    }

    const flashback::KVShape& shape() const noexcept { return shape_; }
    std::size_t size() const noexcept { return size_; }
    void reserve(std::size_t /*n*/) const noexcept {}
    void write(std::size_t layer, std::size_t head, std::size_t position, const float* key, const float* value) noexcept {
        constexpr std::size_t group = flashback::key_group;
        float* tile = values_.data() + offset(layer, head, position / flashback::tile_positions);
        const std::size_t t = position % flashback::tile_positions;
        for (std::size_t i = 0; i < shape_.head_dim; ++i) tile[(t / group * shape_.head_dim + i) * group + t % group] = key[i];
        std::copy_n(value, shape_.head_dim, tile + keys() + gap + t * shape_.head_dim);
    }
    void commit(std::size_t n) noexcept { size_ = n; }
    void truncate(std::size_t n) noexcept { size_ = n; }
    flashback::KVTile tile(std::size_t layer, std::size_t head, std::size_t t) const noexcept {
        const float* first = values_.data() + offset(layer, head, t);
        return {reinterpret_cast<const std::byte*>(first), reinterpret_cast<const std::byte*>(first + keys() + gap)};
    }
    DisplacedKVCache sibling() const { return DisplacedKVCache{shape_}; }
    DisplacedKVCache fork() const {
        DisplacedKVCache copy{shape_};
        std::copy_n(values_.data(), values_.size(), copy.values_.data());
        copy.size_ = size_;
        return copy;
    }

private:
    static constexpr std::size_t gap = 3;  // between keys and values
    std::size_t keys() const noexcept { return flashback::tile_positions * shape_.head_dim; }
    std::size_t stride() const noexcept { return 2 * keys() + gap; }
    std::size_t offset(std::size_t layer, std::size_t head, std::size_t t) const noexcept {
        return ((layer * shape_.kv_heads + head) * tiles_ + (tiles_ - 1 - t)) * stride() + Floats;
    }

    flashback::KVShape shape_;
    std::size_t tiles_;
    flashback::AlignedBuffer<float> values_;
    std::size_t size_ = 0;
};

static_assert(flashback::KVCache<DisplacedKVCache<1>>);

}  // namespace flashback_test
