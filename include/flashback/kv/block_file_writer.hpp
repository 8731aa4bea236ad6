/// \file Writes files of blocks, as a whole or not at all.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/format/atomic_file.hpp"
#include "flashback/kv/block_file.hpp"
#include "flashback/kv/detail/block_file_parts.hpp"
#include "flashback/kv/detail/packed_rows.hpp"
#include "flashback/kv/kv_block.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>

namespace flashback::inline FLASHBACK_ISA {

/// Writes a file of blocks, one after the other, so that all of them together need not fit into memory. The file appears when it is
/// finished, or not at all (AtomicFile).
///
///     BlockFileWriter writer{"passages.kv", BlockElement::int8};
///     session.evaluate(session.head());
///     for (const TokenBuffer& passage : passages)
///         if (!writer.holds(passage)) writer.add(*session.block(passage, session.size(), session.size()));
///     writer.finish();
class BlockFileWriter {
public:
    /// Creates the temporary file.
    /// Throws    as AtomicFile
    explicit BlockFileWriter(const std::filesystem::path& target, BlockElement element = BlockElement::as_evaluated);

    /// Whether a block of these tokens was added. (If another has its hash, it counts as added, and sessions will evaluate it.)
    bool holds(TokenSpan tokens) const;

    /// Appends a block, rounded to the element of the file. Tells whether it is new; else nothing is written.
    /// Throws    Error{contract} if its fingerprint, its head, its first position or the shape of its cache is not that of the first
    ///           block; Error{io} if the disk is full or fails
    template <class Cache>
    bool add(const BasicKVBlock<Cache>& block) {
        check(key_of(block), block.cache.shape());
        if (holds(block.tokens)) return false;
        write(block.tokens, detail::pack_rows(block.cache, header_.element));
        return true;
    }

    /// Number of blocks.
    std::size_t size() const noexcept { return index_.size(); }
    /// Bytes of the blocks so far, without the directory.
    std::uint64_t bytes() const noexcept { return place_ - detail::block_file_start; }

    /// Makes the file appear under its name.
    /// Throws    Error{contract} if it has no block; Error{io}, and then nothing has changed
    void finish();

private:
    struct Place {
        std::uint64_t begin;
        std::uint64_t tokens;
        std::uint64_t checksum;
    };

    void check(const BlockKey& key, KVShape shape);
    std::uint64_t hash_of(TokenSpan tokens) const noexcept;
    void write(TokenSpan tokens, std::span<const std::byte> rows);

    AtomicFile file_;
    BlockFileHeader header_;                // that of the first block
    std::map<std::uint64_t, Place> index_;  // by the hash of the key
    std::uint64_t place_ = detail::block_file_start;
};

}  // namespace flashback::inline FLASHBACK_ISA

#if !defined(FLASHBACK_COMPILED_ONCE)
#include "flashback/kv/detail/write_block_file.hpp"
#endif
