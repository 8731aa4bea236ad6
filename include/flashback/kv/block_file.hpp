/// \file Blocks in a file: passages whose keys and values were evaluated before anybody asked for them.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/format/mapped_file.hpp"
#include "flashback/fwd.hpp"
#include "flashback/kv/kv_block.hpp"
#include "flashback/kv/kv_cache.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <utility>

namespace flashback::inline FLASHBACK_ISA {

/// What all blocks of a file have in common.
struct BlockFileHeader {
    std::uint64_t fingerprint = 0;  ///< of the sessions that can see them
    KVShape shape = {};             ///< of the caches of these sessions; the positions do not count and are 0
    BlockElement element = BlockElement::as_evaluated;  ///< how keys and values are kept
    TokenBuffer seen = {};                              ///< the head
    std::size_t first_position = 0;                     ///< where a block's first token stands
};

/// A file of blocks, mapped into memory: what is never asked for is never read. It has one model, one head and one first position. It
/// is immutable, so several threads may look for blocks at once. BlockFileWriter writes it.
///
/// All numbers are little-endian, u64 unless it says otherwise:
///
/// | part      | what it holds                                                                                         |
/// |-----------|-------------------------------------------------------------------------------------------------------|
/// | start     | `FBBLOCKS`, version 1                                                                                 |
/// | blocks    | each: its tokens (i32), then for each layer, head of keys and position the key and the value          |
/// | directory | fingerprint, element, GGUF's number of the type of the cache, layers, heads, head_dim, first position, number of tokens of the head, these (i32), and for each block, in the order of the hashes: hash of its key, where it begins, its number of tokens, its checksum |
/// | end       | bytes of the directory, checksum of start and directory                                               |
///
/// A key or a value is head_dim numbers of the cache's type (element 0), of f16 (1), or a scale in f32 and head_dim whole numbers in
/// i8 (2). A checksum is a Fingerprint, which finds accidents, not forgeries; so nothing that the file says is believed without a
/// look at how long it is.
class BlockFile {
public:
    /// Opens a file; MappedFile says what must not happen to it meanwhile.
    /// Throws    Error{io} if it cannot be opened; Error{format} if it is damaged or no file of blocks; Error{unsupported} for another
    ///           version
    /// Cost      reads the directory: 32 bytes for each block
    static BlockFile open(const std::filesystem::path& path, FileAccess access = FileAccess::map) {
        MappedFile file{path, access};
        const auto bytes = file.bytes();
        return BlockFile{std::move(file), bytes, path.string()};
    }

    /// Reads a file that is already in memory and stays there; `name` is what errors call it.
    /// Throws    as `open`, without Error{io}
    static BlockFile view(std::span<const std::byte> bytes, std::string name) {
        return BlockFile{std::nullopt, bytes, std::move(name)};
    }

    /// The name that errors mention.
    const std::string& name() const noexcept { return name_; }
    /// What all its blocks have in common.
    const BlockFileHeader& header() const noexcept { return header_; }
    /// Number of blocks.
    std::size_t size() const noexcept { return index_.size() / entry_bytes; }

    /// The keys and values of a block as they lie in the file; nothing if the file does not have it.
    /// Throws    Error{format} if the block is damaged
    /// Cost      reads the block
    std::optional<std::span<const std::byte>> find(const BlockKey& key) const;

    /// Refuses the file for sessions that cannot see its blocks.
    /// Throws    Error{contract} if they have another fingerprint, or caches of another shape
    void check_session(std::uint64_t fingerprint, const KVShape& shape) const;

private:
    struct Entry {
        std::uint64_t hash;
        std::uint64_t place;  // of its first byte in the file
        std::uint64_t tokens;
        std::uint64_t checksum;
    };
    static constexpr std::size_t entry_bytes = sizeof(Entry);

    BlockFile(std::optional<MappedFile> file, std::span<const std::byte> bytes, std::string name);

    void read_header(std::span<const std::byte> directory);
    void check_index(std::size_t begin, std::size_t end) const;
    Entry entry(std::size_t i) const noexcept;
    [[noreturn]] void damaged(const std::string& why) const;

    std::optional<MappedFile> file_;
    std::span<const std::byte> bytes_;
    std::string name_;
    BlockFileHeader header_;
    std::span<const std::byte> index_;
};

}  // namespace flashback::inline FLASHBACK_ISA

#if !defined(FLASHBACK_COMPILED_ONCE)
#include "flashback/kv/detail/read_block_file.hpp"
#endif
