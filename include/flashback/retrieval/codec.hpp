/// \file Text to tokens and back, by anybody's engine.
#pragma once

#include "flashback/core/config.hpp"
#include "flashback/core/tokens.hpp"

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// How the engine that reads the passages turns text into tokens and back. `codec_of` makes one from a Tokenizer.
/// Requires  several threads may call copies of it at once, if they are used by several threads
struct Codec {
    /// The tokens of a text, without head.
    std::function<std::vector<TokenId>(std::string_view)> encode = {};

    /// The bytes that tokens add to a text that stands before them. So those of a sequence are those of its parts, one after
    /// the other. What `encode` made of a text gives that text; `encode` may have added spaces.
    std::function<std::string(TokenSpan)> decode = {};

    /// A number of the vocabulary: other tokens, other number.
    std::uint64_t fingerprint = 0;

    /// The tokens in front of each passage, e.g. OPT's `</s>`.
    TokenBuffer head = {};
};

}  // namespace flashback::inline FLASHBACK_ISA
