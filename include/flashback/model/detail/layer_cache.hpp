/// \file Keys and values of the layer that is being evaluated.
#pragma once

#include "flashback/kv/contiguous_kv_cache.hpp"
#include "flashback/kv/kv_cache.hpp"

#include <cstddef>
#include <utility>

namespace flashback::inline FLASHBACK_ISA::detail {

/// Keys and values of one layer, whichever is asked for: for texts that are evaluated once, as a whole.
class LayerCache {
public:
    explicit LayerCache(const KVShape& shape) : cache_({1, shape.kv_heads, shape.head_dim, shape.positions, shape.element}) {}

    const KVShape& shape() const noexcept { return cache_.shape(); }
    std::size_t size() const noexcept { return cache_.size(); }
    void reserve(std::size_t /*n*/) const noexcept {}
    void write(std::size_t /*layer*/, std::size_t head, std::size_t position, const float* key, const float* value) noexcept {
        cache_.write(0, head, position, key, value);
    }
    void commit(std::size_t n) noexcept { cache_.commit(n); }
    void truncate(std::size_t n) { cache_.truncate(n); }
    KVTile tile(std::size_t /*layer*/, std::size_t head, std::size_t t) const noexcept { return cache_.tile(0, head, t); }
    LayerCache fork() const { return LayerCache{cache_.fork()}; }
    LayerCache sibling() const { return LayerCache{cache_.sibling()}; }

private:
    explicit LayerCache(ContiguousKVCache cache) : cache_(std::move(cache)) {}

    ContiguousKVCache cache_;
};

static_assert(KVCache<LayerCache>);

}  // namespace flashback::inline FLASHBACK_ISA::detail
