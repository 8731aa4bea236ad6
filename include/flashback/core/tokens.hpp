/// \file Tokens: the one currency of all policies.
#pragma once

#include "flashback/core/config.hpp"

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// The number of a vocabulary entry. Signed, as other runtimes have it, so that their arrays are spans of ours.
using TokenId = std::int32_t;

/// A read-only view of tokens.
using TokenSpan = std::span<const TokenId>;

/// Tokens that grow at the end: what layouts and wrappers write to.
using TokenBuffer = std::vector<TokenId>;

/// A copy of any tokens. Options hold one, so that they may outlive what they were made from.
class OwnedTokens {
public:
    OwnedTokens() = default;

    /// A copy of `tokens`.
    template <class Tokens>
        requires std::convertible_to<const Tokens&, TokenSpan> OwnedTokens(
            const Tokens& tokens) {  // NOLINT(*-explicit-*): an option is set to tokens
            const TokenSpan all = tokens;
            tokens_.assign(all.begin(), all.end());
        }

    /// The tokens; valid until this copy changes or goes.
    TokenSpan view() const noexcept { return tokens_; }

private:
    TokenBuffer tokens_;
};

/// Puts `tokens` at the end of `out`.
/// Requires  `tokens` does not view `out`
inline void append(TokenBuffer& out, TokenSpan tokens) { out.insert(out.end(), tokens.begin(), tokens.end()); }

/// Puts several runs of tokens at the end of `out`, one after the other.
/// Requires  none of them views `out`
inline void append(TokenBuffer& out, std::span<const TokenSpan> runs) {
    for (const TokenSpan run : runs) append(out, run);
}

/// The length of the common prefix of two token sequences.
/// Cost      one comparison per token
constexpr std::size_t common_prefix(TokenSpan a, TokenSpan b) noexcept {
    const std::size_t limit = std::min(a.size(), b.size());
    std::size_t n = 0;
    if (!std::is_constant_evaluated()) {  // whole pieces at the speed of memory; the loop finds the place in the last one
        constexpr std::size_t piece = 128;
        while (n + piece <= limit && std::memcmp(a.data() + n, b.data() + n, piece * sizeof(TokenId)) == 0) n += piece;
    }
    while (n < limit && a[n] == b[n]) ++n;
    return n;
}

}  // namespace flashback::inline FLASHBACK_ISA
