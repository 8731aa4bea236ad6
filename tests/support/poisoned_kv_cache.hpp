/// \file A KV cache in which everything that a session does not hold is NaN.
#pragma once

#include "flashback/kv/contiguous_kv_cache.hpp"
#include "flashback/kv/paged_kv_cache.hpp"

#include <cstddef>
#include <limits>
#include <utility>
#include <vector>

namespace flashback_test {

/// A cache whose writable positions are NaN before they are written, up to the end of the last tile.
template <class Cache>
class Poisoned {
public:
    explicit Poisoned(const flashback::KVShape& shape) : shape_(shape), cache_(whole_tiles(shape)) {}

    const flashback::KVShape& shape() const noexcept { return shape_; }
    std::size_t size() const noexcept { return cache_.size(); }
    void reserve(std::size_t n) {
        if (n <= size()) return;
        const std::size_t end = (n + flashback::tile_positions - 1) / flashback::tile_positions * flashback::tile_positions;
        cache_.reserve(end);
        const std::vector<float> nan(shape_.head_dim, std::numeric_limits<float>::quiet_NaN());
        for (std::size_t layer = 0; layer < shape_.layers; ++layer) {
            for (std::size_t head = 0; head < shape_.kv_heads; ++head) {
                for (std::size_t p = size(); p < end; ++p) cache_.write(layer, head, p, nan.data(), nan.data());
            }
        }
    }
    void write(std::size_t layer, std::size_t head, std::size_t position, const float* key, const float* value) noexcept {
        cache_.write(layer, head, position, key, value);
    }
    void commit(std::size_t n) noexcept { cache_.commit(n); }
    void truncate(std::size_t n) { cache_.truncate(n); }
    flashback::KVTile tile(std::size_t layer, std::size_t head, std::size_t t) const noexcept {
        return cache_.tile(layer, head, t);
    }
    std::byte* raw_tile(std::size_t layer, std::size_t head, std::size_t t) noexcept { return cache_.raw_tile(layer, head, t); }
    Poisoned fork() const { return Poisoned{shape_, cache_.fork()}; }
    Poisoned sibling() const { return Poisoned{shape_, cache_.sibling()}; }

    const Cache& cache() const noexcept { return cache_; }

private:
    Poisoned(const flashback::KVShape& shape, Cache cache) : shape_(shape), cache_(std::move(cache)) {}

    static flashback::KVShape whole_tiles(flashback::KVShape shape) {
        shape.positions =
            (shape.positions + flashback::tile_positions - 1) / flashback::tile_positions * flashback::tile_positions;
        return shape;
    }

    flashback::KVShape shape_;
    Cache cache_;
};

using PoisonedKVCache = Poisoned<flashback::ContiguousKVCache>;
static_assert(flashback::KVCache<PoisonedKVCache> && flashback::KVCache<Poisoned<flashback::PagedKVCache>>);

}  // namespace flashback_test
