/// \file Blocks that were evaluated once, for every session that asks for them again.
#pragma once

#include "flashback/core/fingerprint.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/fwd.hpp"
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

/// What a store keeps of keys and values.
enum class BlockElement : unsigned char {
    as_evaluated,  ///< every bit
    f16,           ///< 2 bytes for each element
    int8           ///< 1 byte for each element, and a scale for each key and each value of a head
};

/// The settings of a store.
struct BlockStoreOptions {
    std::size_t budget = std::size_t{256} << 20;        ///< bytes of the blocks that are kept
    BlockElement element = BlockElement::as_evaluated;  ///< if it rounds, blocks are rounded before their first use, too
};

/// What the keys and values of a block are a function of.
struct BlockKey {
    std::uint64_t fingerprint;   ///< of the session
    TokenSpan seen;              ///< the tokens of a text that the block sees
    std::size_t first_position;  ///< of its first token
    TokenSpan tokens;            ///< its own
};

/// What a store holds, and what became of what it was asked for.
struct BlockStoreCounts {
    std::size_t hits = 0;
    std::size_t misses = 0;
    std::size_t evictions = 0;
    std::size_t blocks = 0;
    std::size_t bytes = 0;
};

/// Keeps blocks within a budget of bytes; if there is no room, the one that was asked for longest ago goes, unless it is pinned.
/// Sessions that are given the same store share its blocks, in any number of threads, each as long as it needs them. A block is
/// found only under everything that its keys and values are a function of, so no text depends on what a store happens to hold.
template <class Cache>
class BasicBlockStore {
public:
    using Block = BasicKVBlock<Cache>;
    using Handle = std::shared_ptr<const Block>;

    explicit BasicBlockStore(BlockStoreOptions options = {}) : options_(options) {}

    const BlockStoreOptions& options() const noexcept { return options_; }

    /// The block of a key; null if the store does not hold it.
    /// Cost      a hash of the tokens; if the store rounds, and nobody uses the block now, a copy of its keys and values
    Handle find(const BlockKey& key) {
        Handle block;
        std::shared_ptr<const Packed> packed;
        {
            const std::lock_guard lock{mutex_};
            const auto found = lookup(key);
            if (found == entries_.end()) {
                ++counts_.misses;
                return nullptr;
            }
            ++counts_.hits;
            entries_.splice(entries_.begin(), entries_, found);
            block = found->block ? found->block : found->used.lock();
            packed = found->packed;
        }
        if (block) return block;
        block = unpack(*packed);
        const std::lock_guard lock{mutex_};
        return shared(key, std::move(block));
    }

    /// Keeps a block, and gives the one to use: rounded, if the store rounds; that of another thread, if it came first. A block
    /// for which there is no room beside the pinned ones is used, but not kept.
    /// Throws    std::bad_alloc; then nothing has changed
    Handle keep(Handle made) {
        std::shared_ptr<const Packed> packed;
        if (options_.element != BlockElement::as_evaluated) {
            packed = std::make_shared<const Packed>(pack(*made));
            made = unpack(*packed);
        }
        const BlockKey key = key_of(*made);
        const std::size_t bytes = packed ? packed->rows.size() : bytes_of(made->cache.shape());
        const std::lock_guard lock{mutex_};
        if (lookup(key) != entries_.end()) return shared(key, std::move(made));
        if (!has_room(bytes)) return made;
        Entries added;
        added.push_front({packed ? nullptr : made, packed, made, bytes, 0});
        index_.emplace(hash_of(key), added.begin());  // from here on nothing throws
        make_room(bytes);
        entries_.splice(entries_.begin(), added);
        counts_.bytes += bytes;
        ++counts_.blocks;
        return made;
    }

    /// Keeps a block until it is unpinned as often as it was pinned. Tells whether the store holds it.
    bool pin(const BlockKey& key) { return add_pins(key, 1); }
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

    BlockStoreCounts counts() const {
        const std::lock_guard lock{mutex_};
        return counts_;
    }

    /// What a block takes of the budget.
    static std::size_t bytes_of(KVShape shape, BlockElement element = BlockElement::as_evaluated) noexcept {
        const std::size_t rows = 2 * shape.layers * shape.kv_heads;
        if (element != BlockElement::as_evaluated)
            return rows * shape.positions * detail::packed_row_bytes(element == BlockElement::int8, shape.head_dim);
        const std::size_t whole = (shape.positions + tile_positions - 1) / tile_positions * tile_positions;
        return rows * whole * shape.head_dim * layout_of(shape.element).block_bytes;
    }

    static BlockKey key_of(const Block& block) noexcept {
        return {block.fingerprint, block.seen, block.first_position, block.tokens};
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

    bool rounds_to_int8() const noexcept { return options_.element == BlockElement::int8; }

    Packed pack(const Block& block) const {
        return {block.cache.shape(),  block.tokens,      block.seen,
                block.first_position, block.fingerprint, detail::pack_rows(block.cache, block.tokens.size(), rounds_to_int8())};
    }
    Handle unpack(const Packed& packed) const {
        return std::make_shared<const Block>(Block{detail::unpack_rows<Cache>(packed.rows, packed.shape, rounds_to_int8()),
                                                   packed.tokens, packed.seen, packed.first_position, packed.fingerprint});
    }

    static std::uint64_t hash_of(const BlockKey& key) noexcept {
        Fingerprint all;
        all.add(key.fingerprint);
        all.add(std::uint64_t{key.first_position});
        all.add(std::as_bytes(key.seen));
        all.add(std::as_bytes(key.tokens));
        return all.value();
    }
    typename Entries::iterator lookup(const BlockKey& key) {
        const auto [first, last] = index_.equal_range(hash_of(key));
        const auto same = std::find_if(first, last, [&](const auto& indexed) {
            const BlockKey other = indexed.second->key();
            return other.fingerprint == key.fingerprint && other.first_position == key.first_position &&
                   std::ranges::equal(other.seen, key.seen) && std::ranges::equal(other.tokens, key.tokens);
        });
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

    bool has_room(std::size_t bytes) const noexcept {
        std::size_t pinned = 0;
        for (const Entry& entry : entries_) pinned += entry.pins > 0 ? entry.bytes : 0;
        return bytes <= options_.budget - pinned;
    }
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
        const auto [first, last] = index_.equal_range(hash_of(entry->key()));
        index_.erase(std::find_if(first, last, [&](const auto& indexed) { return indexed.second == entry; }));
        counts_.bytes -= entry->bytes;
        --counts_.blocks;
        entries_.erase(entry);
    }

    bool add_pins(const BlockKey& key, int pins) {
        const std::lock_guard lock{mutex_};
        const auto entry = lookup(key);
        if (entry == entries_.end() || (pins < 0 && entry->pins == 0)) return false;
        pins > 0 ? ++entry->pins : --entry->pins;
        return true;
    }

    BlockStoreOptions options_;
    mutable std::mutex mutex_;
    Entries entries_;  // the one that was asked for last is in front
    std::unordered_multimap<std::uint64_t, typename Entries::iterator> index_;
    BlockStoreCounts counts_;
};

}  // namespace flashback::inline FLASHBACK_ISA
