/// \file The keys and values of a session: those of plain text, of text that sees blocks, and those blocks; and the newest query.
#pragma once

#include "flashback/core/language_model.hpp"
#include "flashback/kv/copy_positions.hpp"
#include "flashback/kv/kv_block.hpp"
#include "flashback/kv/kv_cache.hpp"
#include "flashback/model/piece_place.hpp"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

/// Gives back, at the end of a scope, what was reserved in caches and is not held.
template <class Cache>
struct ReleaseUnused {
    explicit ReleaseUnused(Cache& its) noexcept : cache(its) {}
    ReleaseUnused(const ReleaseUnused&) = delete;
    ReleaseUnused& operator=(const ReleaseUnused&) = delete;
    ~ReleaseUnused() { cache.truncate(cache.size()); }

    Cache& cache;
};

/// Positions are those of one sequence. While it sees blocks, new ones go to a second cache, the tail, so that both can be read span by
/// span: what stood there before, the blocks, the tail.
template <class Cache>
class SessionCache {
public:
    using Handle = std::shared_ptr<const BasicKVBlock<Cache>>;

    /// A position has so many floats of queries, in all layers.
    SessionCache(Cache cache, std::size_t block_gap, std::size_t query_floats)
        : block_gap_(block_gap), cache_(std::move(cache)), queries_(query_floats) {}

    const KVShape& shape() const noexcept { return cache_.shape(); }
    /// The cache that holds the plain text.
    const Cache& text() const noexcept { return cache_; }
    std::size_t plain_size() const noexcept { return std::min(plain_, cache_.size()); }
    std::span<const Handle> blocks() const noexcept { return blocks_; }

    /// As BasicSession::see, for blocks that fit.
    void see(std::vector<Handle> blocks) {
        if (!tail_ && !blocks.empty()) tail_.emplace(cache_.sibling());
        seen_.reserve(blocks.size() + 1);
        if (tail_ && tail_->size() > 0) {
            const std::size_t front = cache_.size();
            const std::size_t all = front + tail_->size();
            const ReleaseUnused release{cache_};
            cache_.reserve(all);
            copy_positions(*tail_, {0, tail_->size()}, cache_, front);
            plain_ = std::min(plain_, front);
            cache_.commit(all);
            tail_->truncate(0);
        }
        blocks_ = std::move(blocks);
        has_query_ = false;
    }

    /// Requires  length is at most the number of positions
    void truncate(std::size_t length) {
        has_query_ = has_query_ && length == front() + written().size();
        if (length > cache_.size()) {
            tail_->truncate(length - cache_.size());
            return;
        }
        if (tail_) tail_->truncate(0);
        cache_.truncate(length);
        blocks_.clear();
        if (length <= plain_) plain_ = nowhere;
    }

    /// Forgets positions, and moves those that follow to their place; `turn(key)` turns a key back by as many positions. What has moved
    /// is no plain text any more.
    /// Requires  no blocks are seen
    /// Throws    what the cache throws; then nothing has changed
    template <class Turn>
    void evict(const PositionRange& range, const Turn& turn) {
        const std::size_t left = cache_.size() - range.count;
        const auto move_to = [&](Cache& moved) {
            each_position(cache_, {range.begin + range.count, left - range.begin},
                          [&](std::size_t layer, std::size_t head, std::size_t i, float* key, const float* value) {
                              turn(key);
                              moved.write(layer, head, range.begin + i, key, value);
                          });
        };
        if constexpr (requires { requires Cache::writes_in_place; }) {
            move_to(cache_);  // each position is read before another is written there
            cache_.truncate(left);
        } else {
            Cache moved = cache_.fork();
            moved.truncate(range.begin);
            moved.reserve(left);
            move_to(moved);
            moved.commit(left);
            cache_ = std::move(moved);
        }
        plain_ = std::min(plain_, range.begin);
        has_query_ = false;
    }

    /// Makes the positions up to n writable.
    /// Throws    what the cache throws; then nothing has changed
    void reserve(std::size_t n) { written().reserve(n - front()); }
    /// Gives back what was reserved behind the positions that are held.
    void release_unused() { written().truncate(written().size()); }
    /// Requires  the positions up to n were evaluated
    void commit(std::size_t n) {
        if (n == front() + written().size()) return;
        written().commit(n - front());
        has_query_ = true;
    }

    /// Where up to `rows` tokens that are evaluated now stand from a position on: only one of them if the next sees more of a block.
    PiecePlace<Cache> place(std::size_t position, std::size_t rows) {
        has_query_ = false;
        return at(position, rows);
    }

    /// Where the position stands that was evaluated last, with its queries; nothing if they are not known.
    std::optional<PiecePlace<Cache>> newest() {
        if (!has_query_) return std::nullopt;
        return at(front() + written().size() - 1, 1);
    }

    /// Throws    std::bad_alloc
    SessionCache fork() const {
        SessionCache branch{cache_.fork(), block_gap_, queries_.size()};
        branch.queries_ = queries_;
        branch.has_query_ = has_query_;
        if (!blocks_.empty()) {
            branch.tail_ = tail_->fork();
            branch.blocks_ = blocks_;
            branch.seen_.reserve(blocks_.size() + 1);
        }
        branch.plain_ = plain_;
        return branch;
    }

private:
    static constexpr std::size_t nowhere = std::numeric_limits<std::size_t>::max();

    /// Where up to `rows` tokens stand from a position on.
    PiecePlace<Cache> at(std::size_t position, std::size_t rows) {
        seen_.clear();
        if (front() > 0) seen_.push_back({&cache_, front()});
        bool same = true;
        for (const Handle& block : blocks_) {
            const std::size_t seen = positions_seen(position, block->first_position, block_gap_);
            if (seen > 0) seen_.push_back({&block->cache, std::min(block->tokens.size(), seen)});
            same = same && seen >= block->tokens.size();
        }
        return {&written(), same ? rows : 1, position - front(), position, seen_, queries_.data()};
    }

    /// Positions in front of those of the cache that is written.
    std::size_t front() const noexcept { return blocks_.empty() ? 0 : cache_.size(); }
    Cache& written() noexcept { return blocks_.empty() ? cache_ : *tail_; }

    std::size_t block_gap_;
    Cache cache_;                             // of the tokens that do not see the present blocks
    std::optional<Cache> tail_;               // of those that do
    std::size_t plain_ = nowhere;             // where the first token is that saw blocks or was moved, of those in `cache_`
    std::vector<Handle> blocks_;              // empty: no token sees any
    std::vector<SeenPositions<Cache>> seen_;  // room for what an evaluation sees
    std::vector<float> queries_;              // of the newest position: a few KB, for who asks what it read
    bool has_query_ = false;                  // whether they are those of the last position that is held
};

}  // namespace flashback::inline FLASHBACK_ISA::detail
