/// \file What the writer and the reader of a state agree on.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/fingerprint.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/kv/detail/tile_rows.hpp"
#include "flashback/kv/kv_cache.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

inline constexpr std::string_view kv_state_magic = "FBSTATES";
inline constexpr std::uint64_t kv_state_version = 1;
inline constexpr std::uint64_t kv_state_byte_order = 0x0102030405060708;
/// The most tokens of a state: its front fits into memory.
inline constexpr std::uint64_t kv_state_most_tokens = std::uint64_t{1} << 28;

inline void append_number(std::vector<std::byte>& bytes, std::uint64_t number) {
    const auto its = std::as_bytes(std::span{&number, 1});
    bytes.insert(bytes.end(), its.begin(), its.end());
}

inline std::uint64_t kv_state_sum(std::span<const std::byte> bytes) noexcept { return Fingerprint::of(bytes); }

/// Header and tokens.
inline std::vector<std::byte> kv_state_front(std::uint64_t fingerprint, const KVShape& shape, TokenSpan tokens) {
    std::vector<std::byte> front(kv_state_magic.size());
    std::memcpy(front.data(), kv_state_magic.data(), kv_state_magic.size());
    for (const std::uint64_t number :
         {kv_state_version, kv_state_byte_order, fingerprint, static_cast<std::uint64_t>(shape.element),
          std::uint64_t{shape.layers}, std::uint64_t{shape.kv_heads}, std::uint64_t{shape.head_dim},
          std::uint64_t{tokens.size()}})
        append_number(front, number);
    const auto ids = std::as_bytes(tokens);
    front.insert(front.end(), ids.begin(), ids.end());
    return front;
}

[[noreturn]] inline void damaged_kv_state(const std::string& name, std::string_view why) {
    FLASHBACK_THROW(ErrorCode::format, "the state '", name, "' is damaged: ", why);
}

/// What stands in front of the pages.
struct KVStateFront {
    std::uint64_t fingerprint = 0;
    std::array<std::uint64_t, 4> shape{};  // element, layers, heads, head_dim
    TokenBuffer tokens = {};
    std::vector<std::uint64_t> sums = {};

    void check(const std::string& name, std::uint64_t expected, const KVShape& its) const {
        if (fingerprint != expected) {
            FLASHBACK_THROW(ErrorCode::contract, "the state '", name,
                            "' was saved with a model, an adapter or a type of cache that give the fingerprint ", fingerprint,
                            ", but this session has ", expected);
        }
        if (shape !=
            std::array<std::uint64_t, 4>{static_cast<std::uint64_t>(its.element), its.layers, its.kv_heads, its.head_dim}) {
            FLASHBACK_THROW(ErrorCode::contract, "the state '", name, "' is of caches of ", shape[1], " x ", shape[2], " x ",
                            shape[3], " (layers, heads of keys, their dimension), but this session has ", its.layers, " x ",
                            its.kv_heads, " x ", its.head_dim, ", or another element");
        }
    }
};

/// Memory grows with what `read` gives, not with what a damaged number says.
template <class Read>
void read_kv_state_more(std::vector<std::byte>& bytes, std::size_t count, Read& read, std::string_view what) {
    constexpr std::size_t most = std::size_t{1} << 16;
    while (count > 0) {
        const std::size_t some = std::min(count, most);
        bytes.resize(bytes.size() + some);
        read(std::span{bytes}.last(some), what);
        count -= some;
    }
}

template <class Read>
KVStateFront read_kv_state_front(const std::string& name, Read& read) {
    std::vector<std::byte> bytes;
    read_kv_state_more(bytes, kv_state_magic.size(), read, "header");
    if (std::memcmp(bytes.data(), kv_state_magic.data(), kv_state_magic.size()) != 0)
        FLASHBACK_THROW(ErrorCode::format, "'", name, "' is no state of a session");
    const auto number = [&]() {
        read_kv_state_more(bytes, sizeof(std::uint64_t), read, "header");
        std::uint64_t found = 0;
        std::memcpy(&found, bytes.data() + bytes.size() - sizeof(found), sizeof(found));
        return found;
    };
    const std::uint64_t version = number();
    if (number() != kv_state_byte_order) {
        FLASHBACK_THROW(ErrorCode::unsupported, "the state '", name,
                        "' is damaged, or was saved on a machine with another order of bytes");
    }
    if (version != kv_state_version) {
        FLASHBACK_THROW(ErrorCode::unsupported, "the state '", name, "' has version ", version, ", expected ",
                        kv_state_version);
    }
    KVStateFront front{.fingerprint = number()};
    for (std::uint64_t& factor : front.shape) factor = number();
    const std::uint64_t count = number();
    if (count > kv_state_most_tokens) damaged_kv_state(name, "it has more tokens than any session");
    const std::size_t begin = bytes.size();
    const auto tokens = static_cast<std::size_t>(count);
    read_kv_state_more(bytes, tokens * sizeof(TokenId) + tiles_of(tokens) * sizeof(std::uint64_t), read, "tokens");
    const std::uint64_t sum = kv_state_sum(bytes);
    if (number() != sum) damaged_kv_state(name, "its front does not give its checksum");
    front.tokens.resize(tokens);
    front.sums.resize(tiles_of(tokens));
    if (tokens > 0) {
        std::memcpy(front.tokens.data(), bytes.data() + begin, tokens * sizeof(TokenId));
        std::memcpy(front.sums.data(), bytes.data() + begin + tokens * sizeof(TokenId),
                    front.sums.size() * sizeof(std::uint64_t));
    }
    return front;
}

}  // namespace flashback::inline FLASHBACK_ISA::detail
