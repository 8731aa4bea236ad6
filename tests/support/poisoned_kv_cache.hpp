/// \file A KV cache in which everything that a session does not hold is NaN.
#pragma once

#include "flashback/kv/contiguous_kv_cache.hpp"

#include <cstddef>
#include <limits>
#include <vector>

namespace flashback_test {

/// A ContiguousKVCache whose positions beyond size() are NaN, up to the end of the last tile.
class PoisonedKVCache {
public:
    explicit PoisonedKVCache(const flashback::KVShape& shape) : shape_(shape), cache_(whole_tiles(shape)) { poison(0); }

    const flashback::KVShape& shape() const noexcept { return shape_; }
    std::size_t size() const noexcept { return cache_.size(); }
    void write(std::size_t layer, std::size_t head, std::size_t position, const float* key, const float* value) noexcept {
        cache_.write(layer, head, position, key, value);
    }
    void commit(std::size_t n) noexcept { cache_.commit(n); }
    void truncate(std::size_t n) {
        cache_.truncate(n);
        poison(n);
    }
    flashback::KVTile tile(std::size_t layer, std::size_t head, std::size_t t) const noexcept {
        return cache_.tile(layer, head, t);
    }
    PoisonedKVCache fork() const {
        PoisonedKVCache copy{shape_};
        copy.cache_ = cache_.fork();
        copy.poison(size());
        return copy;
    }

private:
    static flashback::KVShape whole_tiles(flashback::KVShape shape) {
        shape.positions =
            (shape.positions + flashback::tile_positions - 1) / flashback::tile_positions * flashback::tile_positions;
        return shape;
    }

    void poison(std::size_t first) {
        const std::vector<float> nan(shape_.head_dim, std::numeric_limits<float>::quiet_NaN());
        for (std::size_t layer = 0; layer < shape_.layers; ++layer) {
            for (std::size_t head = 0; head < shape_.kv_heads; ++head) {
                for (std::size_t p = first; p < cache_.shape().positions; ++p)
                    cache_.write(layer, head, p, nan.data(), nan.data());
            }
        }
    }

    flashback::KVShape shape_;
    flashback::ContiguousKVCache cache_;
};

static_assert(flashback::KVCache<PoisonedKVCache>);

}  // namespace flashback_test
