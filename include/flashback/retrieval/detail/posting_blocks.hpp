/// \file Postings as bytes: blocks of 128, and what is left over as numbers of variable length.
#pragma once

#include "flashback/core/error.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

static_assert(std::endian::native == std::endian::little, "an index file has the order of bytes of x86-64 and AArch64");

inline constexpr std::size_t block_postings = 128;
/// Bytes behind packed numbers that may be read, and are not used.
inline constexpr std::size_t packed_slack = 8;

/// Decoded postings: a passage, and how often it has the term.
struct PostingBlock {
    std::array<std::uint32_t, block_postings> passages;
    std::array<std::uint32_t, block_postings> counts;
    std::size_t size = 0;
};

[[noreturn]] inline void damaged_index(const char* why) {
    FLASHBACK_THROW(ErrorCode::format, "an index file is damaged: ", why);
}

inline std::uint32_t bits_of(std::uint32_t most) noexcept { return static_cast<std::uint32_t>(std::bit_width(most)); }
inline std::size_t packed_bytes(std::uint32_t bits) noexcept { return block_postings * bits / 8; }

/// Appends 128 numbers of `bits` bits each, one behind the other.
inline void pack(const std::array<std::uint32_t, block_postings>& numbers, std::uint32_t bits, std::vector<std::byte>& out) {
    std::uint64_t pending = 0;
    std::uint32_t held = 0;
    for (const std::uint32_t number : numbers) {
        pending |= std::uint64_t{number} << held;
        held += bits;
        for (; held >= 8; held -= 8, pending >>= 8) out.push_back(static_cast<std::byte>(pending));
    }
}

/// Reads 128 numbers of `bits` bits each.
/// Requires  packed_slack bytes behind them can be read
inline void unpack(const std::byte* in, std::uint32_t bits, std::array<std::uint32_t, block_postings>& numbers) noexcept {
    const std::uint64_t mask = (std::uint64_t{1} << bits) - 1;
    for (std::size_t i = 0; i < block_postings; ++i) {
        const std::size_t at = i * bits;
        std::uint64_t word = 0;
        std::memcpy(&word, in + at / 8, sizeof(word));
        numbers[i] = static_cast<std::uint32_t>(word >> at % 8 & mask);
    }
}

inline void append_varint(std::uint32_t number, std::vector<std::byte>& out) {
    for (; number >= 0x80; number >>= 7) out.push_back(static_cast<std::byte>(number | 0x80));
    out.push_back(static_cast<std::byte>(number));
}

inline std::uint32_t take_varint(std::span<const std::byte>& in) {
    std::uint32_t number = 0;
    for (std::uint32_t shift = 0; shift < 35; shift += 7) {
        if (in.empty()) damaged_index("postings end too early");
        const auto byte = std::to_integer<std::uint32_t>(in.front());
        in = in.subspan(1);
        number |= (byte & 0x7f) << shift;
        if (byte < 0x80) return number;
    }
    damaged_index("a number has too many bytes");
}

/// Appends a block. Passages are written as gaps from the one before, the first from `next`, the least that it can be.
/// Returns   the bits of gaps and of counts
inline std::pair<std::uint32_t, std::uint32_t> write_full_block(const PostingBlock& block, std::uint32_t next,
                                                                std::vector<std::byte>& out) {
    std::array<std::uint32_t, block_postings> gaps{};
    std::array<std::uint32_t, block_postings> more{};
    std::uint32_t most_gap = 0;
    std::uint32_t most_more = 0;
    for (std::size_t i = 0; i < block_postings; ++i) {
        most_gap = std::max(most_gap, gaps[i] = block.passages[i] - next);
        most_more = std::max(most_more, more[i] = block.counts[i] - 1);
        next = block.passages[i] + 1;
    }
    const std::uint32_t gap_bits = bits_of(most_gap);
    const std::uint32_t more_bits = bits_of(most_more);
    pack(gaps, gap_bits, out);
    pack(more, more_bits, out);
    return {gap_bits, more_bits};
}

/// Appends what is less than a block.
inline void write_rest(const PostingBlock& block, std::uint32_t next, std::vector<std::byte>& out) {
    for (std::size_t i = 0; i < block.size; ++i) {
        append_varint(block.passages[i] - next, out);
        append_varint(block.counts[i] - 1, out);
        next = block.passages[i] + 1;
    }
}

/// Turns gaps into passages.
/// Returns   the last of them, or more than 32 bits if the bytes are damaged
inline std::uint64_t sum_gaps(std::span<std::uint32_t> gaps, std::uint64_t next) noexcept {
    for (std::uint32_t& gap : gaps) {
        next += gap;
        gap = static_cast<std::uint32_t>(next++);
    }
    return next - 1;
}

}  // namespace flashback::inline FLASHBACK_ISA::detail
