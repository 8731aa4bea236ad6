/// \file Blocks beside a text: keys and values that are evaluated once and shared.
#pragma once

#include "flashback/core/fingerprint.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/fwd.hpp"
#include "flashback/kv/kv_cache.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace flashback::inline FLASHBACK_ISA {

/// The keys and values of a few tokens that stand beside a text: a retrieved passage. They depend on what stands here and on
/// nothing else, to the bit, so that every text and every session of the same fingerprint can see the block. A session makes one
/// (BasicSession::block); nobody changes it.
template <class Cache>
struct BasicKVBlock {
    Cache cache;                 ///< of as many positions as there are tokens
    TokenBuffer tokens;          ///< the block's own
    TokenBuffer seen;            ///< the first tokens of a text, the head, which they see besides each other
    std::size_t first_position;  ///< of its first token; positions of a block and of a text may overlap
    std::uint64_t fingerprint;   ///< of the session that evaluated it
};

/// What stores and files keep of the keys and values of a block.
enum class BlockElement : unsigned char {
    as_evaluated,  ///< every bit
    f16,           ///< 2 bytes for each element
    int8           ///< 1 byte for each element, and a scale for each key and each value of a head
};

/// "as-evaluated", "f16" or "int8".
constexpr std::string_view name_of(BlockElement element) noexcept {
    switch (element) {
        case BlockElement::as_evaluated: break;
        case BlockElement::f16: return "f16";
        case BlockElement::int8: return "int8";
    }
    return "as-evaluated";
}

/// What the keys and values of a block are a function of.
struct BlockKey {
    std::uint64_t fingerprint;   ///< of the session
    TokenSpan seen;              ///< the tokens of a text that the block sees
    std::size_t first_position;  ///< of its first token
    TokenSpan tokens;            ///< its own

    friend bool operator==(const BlockKey& a, const BlockKey& b) noexcept {
        return a.fingerprint == b.fingerprint && a.first_position == b.first_position && std::ranges::equal(a.seen, b.seen) &&
               std::ranges::equal(a.tokens, b.tokens);
    }
};

/// The key under which a block is found.
template <class Cache>
BlockKey key_of(const BasicKVBlock<Cache>& block) noexcept {
    return {block.fingerprint, block.seen, block.first_position, block.tokens};
}

namespace detail {

/// The same on every machine: files have it.
inline std::uint64_t hash_of(const BlockKey& key) noexcept {
    return Fingerprint::of(key.fingerprint, std::uint64_t{key.first_position}, std::as_bytes(key.seen),
                           std::as_bytes(key.tokens));
}

}  // namespace detail

}  // namespace flashback::inline FLASHBACK_ISA
