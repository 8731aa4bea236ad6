/// \file Files of blocks as bytes, also such as no writer writes.
#pragma once

#include "flashback/core/fingerprint.hpp"
#include "flashback/core/tokens.hpp"
#include "support/gguf_bytes.hpp"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace flashback_test {

/// What a file of blocks says; by default it has no block.
struct BlockFileBytes {
    struct Entry {
        std::uint64_t hash;
        std::uint64_t place;
        std::uint64_t tokens;
        std::uint64_t checksum;
    };

    std::string magic = "FBBLOCKS";
    std::uint64_t version = 1;
    std::string blocks = {};
    std::uint64_t fingerprint = 77, element = 0, type = 0, layers = 1, kv_heads = 1, head_dim = 2, first_position = 1;
    flashback::TokenBuffer seen{1};
    std::optional<std::uint64_t> seen_count = {};
    std::vector<Entry> entries = {};
    std::string behind_entries = {};
    std::optional<std::uint64_t> directory_bytes = {};

    /// Appends a block; `rows` are the bytes of its keys and values.
    void add(const flashback::TokenBuffer& tokens, const std::string& rows) {
        const std::uint64_t hash = flashback::Fingerprint::of(fingerprint, first_position, std::as_bytes(std::span{seen}),
                                                              std::as_bytes(std::span{tokens}));
        std::string block = rows;
        block.insert(0, reinterpret_cast<const char*>(tokens.data()), tokens.size() * sizeof(flashback::TokenId));
        entries.push_back({hash, 16 + blocks.size(), tokens.size(), flashback::Fingerprint::of(block)});
        blocks += block;
        std::ranges::sort(entries, {}, &Entry::hash);
    }

    std::string bytes() const {
        const std::string start = magic + bytes_of(version);
        std::string directory = bytes_of(fingerprint) + bytes_of(element) + bytes_of(type) + bytes_of(layers) +
                                bytes_of(kv_heads) + bytes_of(head_dim) + bytes_of(first_position) +
                                bytes_of(seen_count.value_or(seen.size()));
        for (const flashback::TokenId token : seen) directory += bytes_of(token);
        for (const Entry& e : entries)
            directory += bytes_of(e.hash) + bytes_of(e.place) + bytes_of(e.tokens) + bytes_of(e.checksum);
        directory += behind_entries;
        return start + blocks + directory + bytes_of(directory_bytes.value_or(directory.size())) +
               bytes_of(flashback::Fingerprint::of(start, directory));
    }
};

}  // namespace flashback_test
