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
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace flashback::inline FLASHBACK_ISA {

namespace detail {

/// How a file of strides begins. Entries, tokens and a fingerprint of all before it follow.
struct StrideFileHeader {
    char magic[8];
    std::uint32_t version;
    std::uint32_t stride;
    std::uint64_t key;
    std::uint64_t retrievals;
    std::uint64_t entries;
    std::uint64_t tokens;
};
inline constexpr std::string_view stride_magic = "fbstride";
inline constexpr std::uint32_t stride_version = 1;
static_assert(std::endian::native == std::endian::little && sizeof(StrideFileHeader) == 48 &&
                  sizeof(RetrievedStrides::Entry) == 24,
              "flashback: files of strides are written as they lie in memory");

inline std::uint64_t stride_checksum(const StrideFileHeader& header, std::span<const RetrievedStrides::Entry> entries,
                                     TokenSpan tokens) {
    Fingerprint all;
    all.add(std::as_bytes(std::span{&header, 1}));
    all.add(std::as_bytes(entries));
    all.add(std::as_bytes(tokens));
    return all.value();
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
    const std::size_t rest = bytes.size() - sizeof(header);
    constexpr std::size_t checksum_bytes = sizeof(std::uint64_t);
    const bool fits = rest >= checksum_bytes && header.entries <= (rest - checksum_bytes) / sizeof(Entry) &&
                      header.tokens == (rest - checksum_bytes - header.entries * sizeof(Entry)) / sizeof(TokenId) &&
                      (rest - checksum_bytes - header.entries * sizeof(Entry)) % sizeof(TokenId) == 0;
    if (!fits) damaged("is damaged: ", header.entries, " strides and ", header.tokens, " tokens are not ", rest, " bytes");
    const auto* at = bytes.data() + sizeof(header);
    const std::span entries{reinterpret_cast<const Entry*>(at), static_cast<std::size_t>(header.entries)};
    const TokenSpan tokens{reinterpret_cast<const TokenId*>(at + entries.size_bytes()),
                           static_cast<std::size_t>(header.tokens)};
    std::uint64_t checksum = 0;
    std::memcpy(&checksum, at + entries.size_bytes() + tokens.size_bytes(), checksum_bytes);
    if (checksum != detail::stride_checksum(header, entries, tokens)) damaged("is damaged: its checksum is wrong");
    std::uint64_t end = 0;
    for (const Entry& entry : entries) {
        if (entry.end < end || entry.end > header.tokens || entry.context > entry.at || header.stride == 0)
            damaged("is damaged: a stride ends at token ", entry.end, " of ", header.tokens);
        end = entry.end;
    }
    return {header.stride, static_cast<std::size_t>(header.retrievals), entries, tokens, std::move(owner)};
}

}  // namespace flashback::inline FLASHBACK_ISA
