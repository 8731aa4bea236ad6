/// \file Blocks beside a text: keys and values that are evaluated once and shared.
#pragma once

#include "flashback/core/tokens.hpp"
#include "flashback/fwd.hpp"
#include "flashback/kv/kv_cache.hpp"

#include <cstddef>
#include <cstdint>

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

}  // namespace flashback::inline FLASHBACK_ISA
