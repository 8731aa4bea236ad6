/// \file What readers and writers of files of blocks agree on.
#pragma once

#include "flashback/core/fingerprint.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace flashback::inline FLASHBACK_ISA::detail {

inline constexpr std::string_view block_file_magic = "FBBLOCKS";
inline constexpr std::uint64_t block_file_version = 1;
/// Bytes in front of the blocks: magic and version.
inline constexpr std::size_t block_file_start = 16;
/// Bytes behind the directory: its size, and the checksum.
inline constexpr std::size_t block_file_end = 16;
/// Bytes of the directory in front of the tokens of the head.
inline constexpr std::size_t block_file_fixed = 64;
/// The most that each factor of a shape may be: bytes of a position fit into 64 bits.
inline constexpr std::uint64_t block_file_most = std::uint64_t{1} << 20;

/// What a file of blocks begins with.
inline std::array<std::byte, block_file_start> block_file_start_bytes() noexcept {
    std::array<std::byte, block_file_start> bytes{};
    std::memcpy(bytes.data(), block_file_magic.data(), block_file_magic.size());
    std::memcpy(bytes.data() + block_file_magic.size(), &block_file_version, sizeof(block_file_version));
    return bytes;
}

}  // namespace flashback::inline FLASHBACK_ISA::detail
