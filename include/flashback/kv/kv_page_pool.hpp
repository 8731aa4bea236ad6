/// \file Pages of keys and values, which caches share.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/kv/detail/tile_rows.hpp"
#include "flashback/kv/kv_cache.hpp"
#include "flashback/tensor/aligned_buffer.hpp"
#include "flashback/tensor/huge_pages.hpp"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <limits>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// The settings of a pool.
struct KVPagePoolOptions {
    std::size_t budget = std::numeric_limits<std::size_t>::max();  ///< the most bytes of its pages, taken or not
    std::size_t reserved = 0;  ///< bytes of pages that are made at once; with the whole budget, nothing grows later
};

/// The keys and values of 64 consecutive positions, in every layer and head.
struct KVPage {
    AlignedBuffer<std::byte> memory;    ///< (layers, kv_heads): tiles
    std::atomic<std::size_t> users{0};  ///< how many caches and stores hold it; one that is shared is never written to
};

/// Memory for paged caches of one shape, in any number of threads. What is given back is kept for the next one that asks.
class KVPagePool {
public:
    /// Throws    Error{contract} for an element that caches cannot have, or if more is reserved than the budget; std::bad_alloc, also if a
    ///           page is more bytes than an object can have
    explicit KVPagePool(const KVShape& shape, KVPagePoolOptions options = {})
        : shape_(shape), page_bytes_(checked_page_bytes(shape)), options_(options) {
        FLASHBACK_ASSERT(options.reserved <= options.budget, "a pool reserves ", options.reserved, " bytes, but its budget is ",
                         options.budget);
        const std::lock_guard lock{mutex_};
        for (std::size_t i = options.reserved / page_bytes_; i > 0; --i) free_.push_back(make());
    }

    /// What its pages are for; the positions do not count.
    const KVShape& shape() const noexcept { return shape_; }
    /// How much memory a page takes.
    std::size_t page_bytes() const noexcept { return page_bytes_; }
    /// Bytes of all pages that were made.
    std::size_t bytes() const noexcept {
        const std::lock_guard lock{mutex_};
        return pages_.size() * page_bytes_;
    }
    /// Bytes of the pages that caches hold, each counted once.
    std::size_t used_bytes() const noexcept {
        const std::lock_guard lock{mutex_};
        return (pages_.size() - free_.size()) * page_bytes_;
    }

    /// Takes pages, each for one user; all or none.
    /// Throws    Error{window} if they do not fit into the budget; std::bad_alloc
    void take(std::size_t count, std::vector<KVPage*>& out) {
        if (count == 0) return;
        out.reserve(out.size() + count);
        const std::lock_guard lock{mutex_};
        if (count > free_.size()) {
            const std::size_t most = options_.budget / page_bytes_;
            const std::size_t wanted = count - free_.size();
            if (most < pages_.size() || wanted > most - pages_.size()) {
                FLASHBACK_THROW(ErrorCode::window, "a pool of keys and values has ", free_.size(), " of ", pages_.size(),
                                " pages left, and a budget of ", options_.budget, " bytes: ", count, " pages of ", page_bytes_,
                                " bytes do not fit");
            }
            for (std::size_t i = 0; i < wanted; ++i) free_.push_back(make());
        }
        for (std::size_t i = 0; i < count; ++i) {
            free_.back()->users.store(1, std::memory_order_relaxed);
            out.push_back(free_.back());
            free_.pop_back();
        }
    }

    /// Ends one use of a page; it is free when nobody uses it any more.
    void release(KVPage& page) noexcept {
        if (page.users.fetch_sub(1, std::memory_order_acq_rel) > 1) return;
        const std::lock_guard lock{mutex_};
        free_.push_back(&page);  // there is room: `make` reserved it
    }

private:
    static std::size_t checked_page_bytes(const KVShape& shape) {
        detail::check_element(shape);
        return std::max<std::size_t>(detail::bytes_of_tiles(shape, 1), 1);
    }

    KVPage* make() {
        auto page = std::make_unique<KVPage>();
        page->memory = in_huge_pages(AlignedBuffer<std::byte>{page_bytes_});
        free_.reserve(pages_.size() + 1);
        pages_.push_back(std::move(page));
        return pages_.back().get();
    }

    KVShape shape_;
    std::size_t page_bytes_;
    KVPagePoolOptions options_;
    mutable std::mutex mutex_;
    std::vector<std::unique_ptr<KVPage>> pages_;
    std::vector<KVPage*> free_;
};

}  // namespace flashback::inline FLASHBACK_ISA
