/// \file The texts that times are measured with.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/random.hpp"
#include "flashback/core/tokens.hpp"

#include <array>
#include <cstddef>
#include <cstdint>

namespace flashback::inline FLASHBACK_ISA::detail {

/// What passages begin with in turn, and texts do not contain. So no prefix is shared by chance.
inline constexpr std::array<TokenId, 2> passage_starts{0, 1};

/// Random text. With the same seed, a shorter text is the beginning of a longer one.
/// Throws    Error{contract} for a vocabulary of fewer than 3 tokens
inline TokenBuffer random_text(std::size_t vocab, std::size_t count, std::uint64_t seed) {
    FLASHBACK_ASSERT(vocab > passage_starts.size(), "a run-time test needs a vocabulary of at least 3 tokens, found ", vocab);
    SplitMix64 random{seed};
    TokenBuffer text(count);
    for (TokenId& token : text)
        token = static_cast<TokenId>(passage_starts.size() + random.below(vocab - passage_starts.size()));
    return text;
}

}  // namespace flashback::inline FLASHBACK_ISA::detail
