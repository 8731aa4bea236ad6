/// \file Blocks that were evaluated once, for every session that asks for them again.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/fwd.hpp"
#include "flashback/kv/block_file.hpp"
#include "flashback/kv/detail/packed_rows.hpp"
#include "flashback/kv/kv_block.hpp"
#include "flashback/kv/kv_cache.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// The settings of a store.
struct BlockStoreOptions {
    std::size_t budget = std::size_t{256} << 20;        ///< bytes of the blocks that are kept
    BlockElement element = BlockElement::as_evaluated;  ///< if it rounds, blocks are rounded before their first use, too
};

/// What a store holds, and what became of what it was asked for.
struct BlockStoreCounts {
    std::size_t hits = 0;       ///< found in memory
    std::size_t reads = 0;      ///< found in the file
    std::size_t misses = 0;     ///< found nowhere
    std::size_t evictions = 0;  ///< dropped to make room
    std::size_t blocks = 0;     ///< held now
    std::size_t bytes = 0;      ///< of the blocks that are held now
};

/// Keeps blocks within a budget of bytes; if there is no room, the one that was asked for longest ago goes, unless it is pinned.
/// Sessions that are given the same store share its blocks, in any number of threads, each as long as it needs them. A block is
/// found only under everything that its keys and values are a function of, so no text depends on what a store happens to hold.
template <class Cache>
class BasicBlockStore {
public:
    /// What it keeps.
    using Block = BasicKVBlock<Cache>;
    /// Shares a block, also after the store has dropped it.
    using Handle = std::shared_ptr<const Block>;

    /// A store that looks in `file`, too, if there is one, before it says that it does not hold a block.
    /// Throws    Error{contract} if the blocks of the file are not kept as those of the store
    explicit BasicBlockStore(BlockStoreOptions options = {}, std::shared_ptr<const BlockFile> file = {})
        : options_(options), file_(std::move(file)) {
        if (file_ && file_->header().element != options_.element) {
            FLASHBACK_THROW(ErrorCode::contract, "the file of blocks '", file_->name(), "' has blocks ",
                            name_of(file_->header().element), ", but the store keeps them ", name_of(options_.element));
        }
    }

    /// The budget, and how blocks are kept.
    const BlockStoreOptions& options() const noexcept { return options_; }
    /// The file behind the store, or null.
    const BlockFile* file() const noexcept { return file_.get(); }

    /// The block of a key; null if neither the store nor its file holds it. What is found in the file is kept as what is evaluated.
    /// Throws    Error{format} if the block of the file is damaged; std::bad_alloc
    /// Cost      a hash of the tokens; if the store rounds or has a file, and nobody uses the block now, a copy of its keys and values
    Handle find(const BlockKey& key) {
        Handle block;
        std::shared_ptr<const Packed> packed;
        {
            const std::lock_guard lock{mutex_};
            const auto found = lookup(key);
            if (found == entries_.end()) {
                if (!file_) ++counts_.misses;
            } else {
                ++counts_.hits;
                entries_.splice(entries_.begin(), entries_, found);
                block = found->block ? found->block : found->used.lock();
                packed = found->packed;
            }
        }
        if (block) return block;
        if (!packed) return file_ ? read(key) : nullptr;
        block = unpack(*packed);
        const std::lock_guard lock{mutex_};
        return shared(key, std::move(block));
    }

    /// Keeps a block, and gives the one to use: rounded, if the store rounds; that of another thread, if it came first. A block
    /// for which there is no room beside the pinned ones is used, but not kept.
    /// Throws    std::bad_alloc; then nothing has changed
    Handle keep(Handle made) {
        std::shared_ptr<const Packed> packed;
        if (rounds()) {
            packed = std::make_shared<const Packed>(pack(*made));
            made = unpack(*packed);
        }
        const std::lock_guard lock{mutex_};
        return add(std::move(made), std::move(packed));
    }

    /// Keeps a block until it is unpinned as often as it was pinned. Tells whether the store holds it.
    bool pin(const BlockKey& key) { return add_pins(key, 1); }
    /// Takes back one `pin`.
    bool unpin(const BlockKey& key) { return add_pins(key, -1); }

    /// Forgets all blocks that are not pinned.
    void clear() {
        const std::lock_guard lock{mutex_};
        for (auto entry = entries_.begin(); entry != entries_.end();) {
            const auto next = std::next(entry);
            if (entry->pins == 0) erase(entry);
            entry = next;
        }
    }

    /// What was asked for so far, and what is held now.
    BlockStoreCounts counts() const {
        const std::lock_guard lock{mutex_};
        return counts_;
    }

    /// What a block takes of the budget.
    static std::size_t bytes_of(KVShape shape, BlockElement element = BlockElement::as_evaluated) noexcept {
        std::size_t positions = shape.positions;
        if (element == BlockElement::as_evaluated)
            positions = (positions + tile_positions - 1) / tile_positions * tile_positions;
        return positions * detail::packed_position_bytes(element, shape);
    }

private:
    /// A block without its cache, and the rows of that.
    struct Packed {
        KVShape shape;
        TokenBuffer tokens, seen;
        std::size_t first_position;
        std::uint64_t fingerprint;
        std::vector<std::byte> rows;
    };
    struct Entry {
        Handle block;  // null if it is packed
        std::shared_ptr<const Packed> packed;
        std::weak_ptr<const Block> used;
        std::size_t bytes;
        std::size_t pins;

        BlockKey key() const noexcept {
            return block ? key_of(*block) : BlockKey{packed->fingerprint, packed->seen, packed->first_position, packed->tokens};
        }
    };
    using Entries = std::list<Entry>;

    bool rounds() const noexcept { return options_.element != BlockElement::as_evaluated; }

    Packed pack(const Block& block) const {
        return {block.cache.shape(),  block.tokens,      block.seen,
                block.first_position, block.fingerprint, detail::pack_rows(block.cache, options_.element)};
    }
    Handle unpack(const Packed& packed) const {
        return std::make_shared<const Block>(Block{detail::unpack_rows<Cache>(packed.rows, packed.shape, options_.element),
                                                   packed.tokens, packed.seen, packed.first_position, packed.fingerprint});
    }

    Handle read(const BlockKey& key) {
        const auto rows = file_->find(key);
        if (!rows) {
            const std::lock_guard lock{mutex_};
            ++counts_.misses;
            return nullptr;
        }
        Packed packed{file_->header().shape,
                      {key.tokens.begin(), key.tokens.end()},
                      {key.seen.begin(), key.seen.end()},
                      key.first_position,
                      key.fingerprint,
                      {rows->begin(), rows->end()}};
        packed.shape.positions = key.tokens.size();
        Handle made = unpack(packed);
        auto kept = rounds() ? std::make_shared<const Packed>(std::move(packed)) : nullptr;
        const std::lock_guard lock{mutex_};
        ++counts_.reads;
        return add(std::move(made), std::move(kept));
    }

    /// Makes an entry of a block, unless there is one; `packed` is null if the store keeps it as it is.
    Handle add(Handle made, std::shared_ptr<const Packed> packed) {
        const BlockKey key = key_of(*made);
        const std::size_t bytes = bytes_of(made->cache.shape(), options_.element);
        if (lookup(key) != entries_.end()) return shared(key, std::move(made));
        if (!has_room(bytes)) return made;
        Entries added;
        added.push_front({packed ? nullptr : made, packed, made, bytes, 0});
        index_.emplace(detail::hash_of(key), added.begin());  // from here on nothing throws
        make_room(bytes);
        entries_.splice(entries_.begin(), added);
        counts_.bytes += bytes;
        ++counts_.blocks;
        return made;
    }

    typename Entries::iterator lookup(const BlockKey& key) {
        const auto [first, last] = index_.equal_range(detail::hash_of(key));
        const auto same = std::find_if(first, last, [&](const auto& indexed) { return indexed.second->key() == key; });
        return same == last ? entries_.end() : same->second;
    }

    /// The block of an entry that all its users share; `made` if it is the first, or if the entry is gone.
    Handle shared(const BlockKey& key, Handle made) {
        const auto entry = lookup(key);
        if (entry == entries_.end()) return made;
        if (entry->block) return entry->block;
        if (Handle used = entry->used.lock()) return used;
        entry->used = made;
        return made;
    }

    bool has_room(std::size_t bytes) const noexcept { return bytes <= options_.budget - pinned_bytes_; }
    void make_room(std::size_t bytes) noexcept {
        for (auto entry = entries_.end(); counts_.bytes > options_.budget - bytes;) {
            --entry;
            if (entry->pins > 0) continue;
            const auto oldest = entry++;
            erase(oldest);
            ++counts_.evictions;
        }
    }

    void erase(typename Entries::iterator entry) noexcept {
        const auto [first, last] = index_.equal_range(detail::hash_of(entry->key()));
        index_.erase(std::find_if(first, last, [&](const auto& indexed) { return indexed.second == entry; }));
        counts_.bytes -= entry->bytes;
        --counts_.blocks;
        entries_.erase(entry);
    }

    bool add_pins(const BlockKey& key, int pins) {
        const std::lock_guard lock{mutex_};
        const auto entry = lookup(key);
        if (entry == entries_.end() || (pins < 0 && entry->pins == 0)) return false;
        const bool was_pinned = entry->pins > 0;
        pins > 0 ? ++entry->pins : --entry->pins;
        if (!was_pinned) pinned_bytes_ += entry->bytes;
        if (entry->pins == 0) pinned_bytes_ -= entry->bytes;
        return true;
    }

    BlockStoreOptions options_;
    std::shared_ptr<const BlockFile> file_;
    mutable std::mutex mutex_;
    Entries entries_;  // the one that was asked for last is in front
    std::unordered_multimap<std::uint64_t, typename Entries::iterator> index_;
    BlockStoreCounts counts_;
    std::size_t pinned_bytes_ = 0;
};

}  // namespace flashback::inline FLASHBACK_ISA
