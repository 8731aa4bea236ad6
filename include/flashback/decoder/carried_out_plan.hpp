/// \file What a generation did at a plan, for programs that watch it.
#pragma once

#include "flashback/core/retriever.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/decoder/generation.hpp"

#include <cstddef>
#include <limits>
#include <span>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// One text that a model, or a branch of it, holds after a plan.
struct ReadContext {
    /// A place that is none.
    static constexpr std::size_t nowhere = std::numeric_limits<std::size_t>::max();

    TokenSpan tokens;                    ///< all that it holds
    std::size_t kept = 0;                ///< how many of these it held before, or another branch evaluates
    std::span<const Passage> passages;   ///< those that it reads, the best first
    std::span<const TokenSpan> wrapped;  ///< the same as they were wrapped: in `tokens`, or beside them
    bool beside = false;                 ///< whether passages stand beside the text
    std::vector<std::size_t> places;     ///< of each token of the text: where it stands in `tokens`, or `nowhere`
};

/// A plan that was carried out: what the model holds now, and what of it was there. `on_token` is told of each if it has a member
/// `planned(const CarriedOutPlan&)`; but not of one whose own logits end the text, if the schedule then drops the passages: it is
/// told of the plan without them, which follows at once. It is valid during the call.
struct CarriedOutPlan {
    TokenSpan text;                     ///< the prompt and what was generated
    std::size_t prompt_tokens = 0;      ///< how many of these are the prompt
    TokenSpan head;                     ///< tokens in front of everything
    std::vector<ReadContext> contexts;  ///< one; or one for each branch, if passages are fused in several
    /// The generation so far. If a retrieval led to the plan, it is the last of `retrievals`, and was not there at the plan before.
    const Generation* so_far = nullptr;
};

}  // namespace flashback::inline FLASHBACK_ISA
