/// \file The settings of one generation.
#pragma once

#include "flashback/core/tokens.hpp"

#include <cstddef>
#include <optional>
#include <stop_token>

namespace flashback::inline FLASHBACK_ISA {

/// The settings of one generation.
struct GenerateOptions {
    std::size_t max_tokens = 128;          ///< the most tokens to generate
    std::size_t passages = 1;              ///< passages asked for at each retrieval
    bool ignore_eos = false;               ///< go on when the model ends its text
    std::optional<OwnedTokens> head = {};  ///< tokens in front of everything; by default what the model asks for
    OwnedTokens masked = {};               ///< tokens never to generate, besides the wrapper's markers
    std::size_t max_rewinds = 1000;        ///< how often the schedule may take tokens back, or put off the end
    std::stop_token stop =
        {};  ///< cancels between two tokens, and between two pieces of an InterruptibleModel; not within a pass of branches
    bool surprisals = false;  ///< whether the result has the surprisal of each token; an exponential per logit
};

}  // namespace flashback::inline FLASHBACK_ISA
