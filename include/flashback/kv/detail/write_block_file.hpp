/// \file Writing files of blocks.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/kv/block_file_writer.hpp"
#include "flashback/kv/detail/block_file_parts.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

FLASHBACK_DETAIL_ONCE BlockFileWriter::BlockFileWriter(const std::filesystem::path& target, BlockElement element)
    : file_(target), header_{.element = element} {
    file_.write(detail::block_file_start_bytes());
}

FLASHBACK_DETAIL_ONCE bool BlockFileWriter::holds(TokenSpan tokens) const { return index_.contains(hash_of(tokens)); }

FLASHBACK_DETAIL_ONCE std::uint64_t BlockFileWriter::hash_of(TokenSpan tokens) const noexcept {
    return detail::hash_of({header_.fingerprint, header_.seen, header_.first_position, tokens});
}

FLASHBACK_DETAIL_ONCE void BlockFileWriter::check(const BlockKey& key, KVShape shape) {
    shape.positions = 0;
    if (index_.empty()) {
        FLASHBACK_ASSERT(shape.layers <= detail::block_file_most && shape.kv_heads <= detail::block_file_most &&
                             shape.head_dim <= detail::block_file_most,
                         "a file of blocks is of caches of at most ", detail::block_file_most,
                         " layers, heads and dimensions of a head");
        header_ = {key.fingerprint, shape, header_.element, {key.seen.begin(), key.seen.end()}, key.first_position};
    }
    const bool same =
        header_.shape == shape && BlockKey{header_.fingerprint, header_.seen, header_.first_position, key.tokens} == key;
    FLASHBACK_ASSERT(same, "block ", index_.size(),
                     " of a file has another fingerprint, head, first position or shape of cache than the first one");
}

FLASHBACK_DETAIL_ONCE void BlockFileWriter::write(TokenSpan tokens, std::span<const std::byte> rows) {
    std::vector<std::byte> block(tokens.size_bytes() + rows.size());
    const auto begin = std::ranges::copy(std::as_bytes(tokens), block.begin()).out;
    std::ranges::copy(rows, begin);
    file_.write(block);
    const Place place{place_, tokens.size(), Fingerprint::of(block)};
    place_ += block.size();
    index_.emplace(hash_of(tokens), place);
}

FLASHBACK_DETAIL_ONCE void BlockFileWriter::finish() {
    FLASHBACK_ASSERT(!index_.empty(), "a file of blocks needs at least 1 block, found none");
    std::vector<std::byte> directory;
    const auto add = [&](std::span<const std::byte> bytes) { directory.insert(directory.end(), bytes.begin(), bytes.end()); };
    const std::array<std::uint64_t, 8> fixed{header_.fingerprint,
                                             static_cast<std::uint64_t>(header_.element),
                                             static_cast<std::uint64_t>(header_.shape.element),
                                             header_.shape.layers,
                                             header_.shape.kv_heads,
                                             header_.shape.head_dim,
                                             header_.first_position,
                                             header_.seen.size()};
    static_assert(sizeof(fixed) == detail::block_file_fixed);
    add(std::as_bytes(std::span{fixed}));
    add(std::as_bytes(std::span{header_.seen}));
    for (const auto& [hash, place] : index_) {
        const std::array<std::uint64_t, 4> entry{hash, place.begin, place.tokens, place.checksum};
        add(std::as_bytes(std::span{entry}));
    }
    const std::array<std::uint64_t, 2> end{directory.size(), Fingerprint::of(detail::block_file_start_bytes(), directory)};
    file_.write(directory);
    file_.write(std::as_bytes(std::span{end}));
    file_.finish();
}

}  // namespace flashback::inline FLASHBACK_ISA
