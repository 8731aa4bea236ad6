/// \file The format of a file of retrieved strides, and how it is read.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/fingerprint.hpp"
#include "flashback/data/retrieval_strides.hpp"

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace flashback::inline FLASHBACK_ISA {

namespace detail {

/// How a file of strides begins. Entries, the ends of passages, their scores, tokens and a fingerprint of all before it follow.
struct StrideFileHeader {
    char magic[8];
    std::uint32_t version;
    std::uint32_t stride;
    std::uint64_t key;
    std::uint64_t retrievals;
    std::uint64_t entries;
    std::uint64_t passages;
    std::uint64_t tokens;
};
inline constexpr std::string_view stride_magic = "fbstride";
inline constexpr std::uint32_t stride_version = 3;
static_assert(std::endian::native == std::endian::little && sizeof(StrideFileHeader) == 56 &&
                  sizeof(RetrievedStrides::Entry) == 24,
              "flashback: files of strides are written as they lie in memory");

inline std::uint64_t stride_checksum(const StrideFileHeader& header, std::span<const RetrievedStrides::Entry> entries,
                                     std::span<const std::uint64_t> passage_ends, std::span<const float> scores,
                                     TokenSpan tokens) {
    return Fingerprint::of(std::as_bytes(std::span{&header, 1}), std::as_bytes(entries), std::as_bytes(passage_ends),
                           std::as_bytes(scores), std::as_bytes(tokens));
}

/// Views of what a file of strides holds.
struct StrideFileParts {
    std::span<const RetrievedStrides::Entry> entries;
    std::span<const std::uint64_t> passage_ends;
    std::span<const float> scores;
    TokenSpan tokens;
    std::uint64_t checksum = 0;
};

/// Takes the bytes behind a header apart; nothing if they are fewer or more than the header says.
inline std::optional<StrideFileParts> stride_parts(const StrideFileHeader& header, std::span<const std::byte> rest) {
    using Entry = RetrievedStrides::Entry;
    std::size_t left = rest.size();
    const auto fits = [&](std::uint64_t count, std::size_t size) {
        if (count > left / size) return false;
        left -= static_cast<std::size_t>(count) * size;
        return true;
    };
    if (!fits(1, sizeof(std::uint64_t)) || !fits(header.entries, sizeof(Entry)) ||
        !fits(header.passages, sizeof(std::uint64_t) + sizeof(float)) || !fits(header.tokens, sizeof(TokenId)) || left > 0)
        return {};
    StrideFileParts parts;
    const std::byte* at = rest.data();
    parts.entries = {reinterpret_cast<const Entry*>(at), static_cast<std::size_t>(header.entries)};
    at += parts.entries.size_bytes();
    parts.passage_ends = {reinterpret_cast<const std::uint64_t*>(at), static_cast<std::size_t>(header.passages)};
    at += parts.passage_ends.size_bytes();
    parts.scores = {reinterpret_cast<const float*>(at), static_cast<std::size_t>(header.passages)};
    at += parts.scores.size_bytes();
    parts.tokens = {reinterpret_cast<const TokenId*>(at), static_cast<std::size_t>(header.tokens)};
    std::memcpy(&parts.checksum, at + parts.tokens.size_bytes(), sizeof(parts.checksum));
    return parts;
}

/// The header of a file of strides.
/// Throws    Error{format} if it is not one
inline StrideFileHeader stride_header(std::span<const std::byte> bytes, const std::string& name) {
    StrideFileHeader header{};
    if (bytes.size() >= sizeof(header)) std::memcpy(&header, bytes.data(), sizeof(header));
    if (std::string_view{header.magic, sizeof(header.magic)} != stride_magic) {
        FLASHBACK_THROW(ErrorCode::format, "'", name, "' is no file of retrieved strides: expected it to begin with '",
                        stride_magic, "'");
    }
    return header;
}

}  // namespace detail

/// The strides in the bytes of a file, as views of these; `owner` keeps the bytes alive, and `name` stands in messages.
/// Requires  the bytes begin on an 8-byte border
/// Throws    Error{format} for a file that is damaged or of another kind, and for one with another key, which was not made from
///           what was asked for
/// Cost      about the time to read the bytes; allocates nothing
inline RetrievedStrides parse_strides(std::span<const std::byte> bytes, const std::string& name, std::uint64_t key,
                                      std::shared_ptr<const void> owner) {
    using Entry = RetrievedStrides::Entry;
    FLASHBACK_ASSERT(reinterpret_cast<std::uintptr_t>(bytes.data()) % alignof(Entry) == 0, "the bytes of '", name,
                     "' are not on an 8-byte border");
    const detail::StrideFileHeader header = detail::stride_header(bytes, name);
    const auto damaged = [&](const auto&... what) { FLASHBACK_THROW(ErrorCode::format, "'", name, "' ", what...); };
    if (header.version != detail::stride_version)
        damaged("has version ", header.version, ", expected ", detail::stride_version);
    if (header.key != key) damaged("was made of another text, another corpus or with other options");
    const std::span<const std::byte> rest = bytes.subspan(sizeof(header));
    const std::optional<detail::StrideFileParts> parts = detail::stride_parts(header, rest);
    if (!parts) {
        damaged("is damaged: ", header.entries, " strides, ", header.passages, " passages and ", header.tokens,
                " tokens are not ", rest.size(), " bytes");
    }
    if (parts->checksum != detail::stride_checksum(header, parts->entries, parts->passage_ends, parts->scores, parts->tokens))
        damaged("is damaged: its checksum is wrong");
    const auto ascending = [&](std::uint64_t from, std::uint64_t to, std::uint64_t all, const char* what) {
        if (to < from || to > all) damaged("is damaged: ", what, ' ', to, " of ", all);
    };
    std::uint64_t end = 0;
    for (const std::uint64_t passage_end : parts->passage_ends)
        ascending(std::exchange(end, passage_end), passage_end, header.tokens, "a passage ends at token");
    end = 0;
    for (const Entry& entry : parts->entries) {
        ascending(std::exchange(end, entry.end), entry.end, header.passages, "a stride ends at passage");
        if (entry.context > entry.at || header.stride == 0)
            damaged("is damaged: a stride of ", header.stride, " tokens at token ", entry.at, " has a context of ",
                    entry.context);
    }
    return {header.stride,   static_cast<std::size_t>(header.retrievals),
            parts->entries,  parts->passage_ends,
            parts->scores,   parts->tokens,
            std::move(owner)};
}

}  // namespace flashback::inline FLASHBACK_ISA
