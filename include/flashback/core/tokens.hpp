/// \file Tokens: the one currency of all policies.
#pragma once

#include "flashback/core/config.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// The number of a vocabulary entry. Signed, as other runtimes have it, so that their arrays are spans of ours.
using TokenId = std::int32_t;

/// A read-only view of tokens.
using TokenSpan = std::span<const TokenId>;

/// Tokens that grow at the end: what layouts and wrappers write to.
using TokenBuffer = std::vector<TokenId>;

/// Puts `tokens` at the end of `out`.
/// Requires  `tokens` does not view `out`
inline void append(TokenBuffer& out, TokenSpan tokens) { out.insert(out.end(), tokens.begin(), tokens.end()); }

/// Puts several runs of tokens at the end of `out`, one after the other.
/// Requires  none of them views `out`
inline void append(TokenBuffer& out, std::span<const TokenSpan> runs) {
    for (const TokenSpan run : runs) append(out, run);
}

}  // namespace flashback::inline FLASHBACK_ISA
