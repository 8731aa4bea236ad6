/// \file What of a draft the model was sure of: what FLARE and MaskedDraft share.
#pragma once

#include "flashback/core/tokens.hpp"
#include "flashback/policy/step_view.hpp"

#include <cmath>
#include <cstddef>
#include <span>

namespace flashback::inline FLASHBACK_ISA::detail {

/// Whether a token of this surprisal has at most this probability.
inline bool is_unlikely(double surprisal, double probability) { return std::exp(-surprisal) <= probability; }

/// The tokens of the draft that have a probability above `mask`; none if their surprisals are not there.
inline void masked_draft(const StepView& step, double mask, TokenBuffer& out) {
    out.clear();
    const TokenSpan draft = step.draft();
    if (step.surprisals.size() < draft.size()) return;
    const std::span<const double> surprisals = step.surprisals.last(draft.size());
    for (std::size_t i = 0; i < draft.size(); ++i)
        if (!is_unlikely(surprisals[i], mask)) out.push_back(draft[i]);
}

}  // namespace flashback::inline FLASHBACK_ISA::detail
