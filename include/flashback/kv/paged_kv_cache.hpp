/// \file Storage of keys and values in pages that branches share.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/kv/detail/tile_rows.hpp"
#include "flashback/kv/kv_cache.hpp"
#include "flashback/kv/kv_page_pool.hpp"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// Keys and values in pages of 64 positions. A fork shares them; a page is copied when a branch is about to write to it while another
/// holds it, too. Pages come from a pool, which other caches may share.
/// Cost      layers · kv_heads · head_dim · 8 bytes for each position (4 for f16 and bf16; kv_bytes), rounded up to 64 positions, of the positions
///           held; a fork takes a pointer for each page, and later a page of its own if its last one is not full
class PagedKVCache {
public:
    /// Takes pages from a pool of its own, which has no budget.
    /// Throws    as the other constructor
    explicit PagedKVCache(const KVShape& shape) : PagedKVCache(shape, std::make_shared<KVPagePool>(shape)) {}

    /// Throws    Error{contract} for a null pool, or one for other layers, heads or elements; std::bad_alloc
    PagedKVCache(const KVShape& shape, std::shared_ptr<KVPagePool> pool) : shape_(shape), pool_(std::move(pool)) {
        FLASHBACK_ASSERT(pool_ != nullptr, "a paged KV cache needs a pool, found null");
        KVShape its = pool_->shape();
        its.positions = shape.positions;
        FLASHBACK_ASSERT(its == shape, "a pool of pages for ", its.layers, " layers, ", its.kv_heads, " heads of ",
                         its.head_dim, " and ", layout_of(its.element).name, " is not for a cache of ", shape.layers, ", ",
                         shape.kv_heads, " heads of ", shape.head_dim, " and ", layout_of(shape.element).name);
        pages_.reserve(detail::tiles_of(shape.positions) + 1);  // one for the moment in which a page is copied
    }

    PagedKVCache(PagedKVCache&& other) noexcept
        : shape_(other.shape_), pool_(other.pool_), pages_(std::move(other.pages_)), size_(std::exchange(other.size_, 0)) {
        other.pages_.clear();
    }
    PagedKVCache& operator=(PagedKVCache&& other) noexcept {
        if (this == &other) return *this;
        drop_pages(0);
        shape_ = other.shape_;
        pool_ = other.pool_;
        pages_.swap(other.pages_);
        size_ = std::exchange(other.size_, 0);
        return *this;
    }
    ~PagedKVCache() { drop_pages(0); }

    /// The lengths that it was made with.
    const KVShape& shape() const noexcept { return shape_; }
    /// How many positions it holds.
    std::size_t size() const noexcept { return size_; }
    /// Bytes of the pages that it holds, those that it shares included.
    std::size_t bytes() const noexcept { return pages_.size() * pool_->page_bytes(); }
    /// Where its pages come from.
    const std::shared_ptr<KVPagePool>& pool() const noexcept { return pool_; }

    /// Makes the positions from size() to `n` writable: takes pages, and copies the last one if a branch shares it.
    /// Requires  n <= shape().positions
    /// Throws    Error{window} if the pool has no more pages; std::bad_alloc; then nothing has changed
    void reserve(std::size_t n) {
        if (n <= size_) return;
        const std::size_t held = pages_.size();
        const std::size_t more = std::max(detail::tiles_of(n), held) - held;
        const std::size_t last = size_ / tile_positions;  // the page of the next position; later ones are nobody else's
        const bool copies = last < held && pages_[last]->users.load(std::memory_order_acquire) > 1;
        pool_->take(more + (copies ? 1 : 0), pages_);
        if (!copies) return;
        KVPage* const mine = pages_.back();
        pages_.pop_back();
        copy_held(*pages_[last], *mine);
        pool_->release(*std::exchange(pages_[last], mine));
    }

    /// Requires  layer and head lie in the shape, and the position is reserved and beyond size()
    void write(std::size_t layer, std::size_t head, std::size_t position, const float* key, const float* value) noexcept {
        detail::write_to_tile(pages_[position / tile_positions]->memory.data() + offset(layer, head), shape_,
                              position % tile_positions, key, value);
    }

    /// Requires  all positions from size() to n were written in every layer and head
    void commit(std::size_t n) noexcept { size_ = n; }

    /// Gives back the pages behind position n.
    /// Throws    Error{contract} if n is beyond size()
    void truncate(std::size_t n) {
        FLASHBACK_ASSERT(n <= size_, "a KV cache of ", size_, " positions cannot be cut to ", n);
        drop_pages(detail::tiles_of(n));
        size_ = n;
    }

    /// The memory of a tile.
    /// Requires  its positions are reserved and none of them is held
    std::byte* raw_tile(std::size_t layer, std::size_t head, std::size_t t) noexcept {
        return pages_[t]->memory.data() + offset(layer, head);
    }
    /// Requires  a position of the tile is held or reserved
    KVTile tile(std::size_t layer, std::size_t head, std::size_t t) const noexcept {
        return detail::view_tile(pages_[t]->memory.data() + offset(layer, head), shape_);
    }

    /// A cache that holds the same and goes its own way.
    /// Throws    std::bad_alloc
    /// Cost      a pointer for each page
    PagedKVCache fork() const {
        PagedKVCache copy{shape_, pool_};
        const std::size_t held = detail::tiles_of(size_);
        copy.pages_.assign(pages_.begin(), pages_.begin() + static_cast<std::ptrdiff_t>(held));
        for (KVPage* page : copy.pages_) page->users.fetch_add(1, std::memory_order_relaxed);
        copy.size_ = size_;
        return copy;
    }

    /// A page that it holds.
    KVPage& page(std::size_t i) const noexcept { return *pages_[i]; }

    /// Holds the first positions of a page, too, which its other users hold as well.
    /// Requires  the page comes from the same pool and has these positions; size() is a multiple of 64; nothing is reserved behind it; all fit
    ///           into the shape
    void share(KVPage& page, std::size_t positions) noexcept {
        page.users.fetch_add(1, std::memory_order_relaxed);
        pages_.push_back(&page);
        size_ += positions;
    }

    /// An empty cache of the same shape and pool.
    PagedKVCache sibling() const { return PagedKVCache{shape_, pool_}; }

private:
    std::size_t offset(std::size_t layer, std::size_t head) const noexcept {
        return (layer * shape_.kv_heads + head) * detail::tile_bytes(shape_);
    }

    /// Copies the positions of the last page that are held.
    void copy_held(const KVPage& from, KVPage& to) const noexcept {
        for (std::size_t at = 0; at < pool_->page_bytes(); at += detail::tile_bytes(shape_))
            detail::copy_tile(detail::view_tile(from.memory.data() + at, shape_), shape_, size_ % tile_positions,
                              to.memory.data() + at, false);
    }

    void drop_pages(std::size_t from) noexcept {
        for (; pages_.size() > from; pages_.pop_back()) pool_->release(*pages_.back());
    }

    KVShape shape_;
    std::shared_ptr<KVPagePool> pool_;
    std::vector<KVPage*> pages_;  // those of the positions held, and reserved
    std::size_t size_ = 0;
};

static_assert(KVCache<PagedKVCache>);

}  // namespace flashback::inline FLASHBACK_ISA
