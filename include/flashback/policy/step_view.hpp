/// \file What a policy sees of a running generation.
#pragma once

#include "flashback/core/tokens.hpp"

#include <cstddef>

namespace flashback::inline FLASHBACK_ISA {

/// The moment before a token is generated. A view: valid during the call only.
struct StepView {
    TokenSpan context;                ///< the prompt and what was generated; no head, no passages
    std::size_t prompt_tokens = 0;    ///< how much of `context` is the prompt
    std::size_t retrievals = 0;       ///< retrievals so far
    std::size_t since_retrieval = 0;  ///< tokens generated since the last retrieval, or since the start if none was made

    /// Number of tokens generated so far.
    constexpr std::size_t generated() const noexcept { return context.size() - prompt_tokens; }

    /// The newest token of the context.
    /// Requires  `context` is not empty
    constexpr TokenId last_token() const noexcept { return context.back(); }
};

}  // namespace flashback::inline FLASHBACK_ISA
