/// \file What a plan asks of a model, done.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/language_model.hpp"
#include "flashback/policy/context_plan.hpp"

#include <cstddef>
#include <span>

namespace flashback::inline FLASHBACK_ISA {

/// What came of a plan.
struct CarriedOut {
    std::span<const float> logits;  ///< after the last token that the plan wants
    std::size_t beside = 0;         ///< tokens of passages that were evaluated beside the text
};

/// Brings a model to what a plan wants, passages beside the text included: cuts it to what stays, evaluates the rest, and lets it see the
/// passages in between. `head` is the number of tokens of ContextParts::head. What it holds then is `plan.wanted`, and the next plan is given
/// `plan.plain_after(held_plain)` as ContextParts::held_plain.
/// Requires  the model holds what the plan was made for
/// Throws    Error{contract} if the plan sees passages, or did, and the model holds no blocks, or if text moves and the model cannot move
///           it; what the model throws
/// Cost      that of what the plan feeds, of the passages that the model does not have, and of what moves
template <LanguageModel M>
CarriedOut carry_out(M& model, const ContextPlan& plan, std::size_t head) {
    if (plan.moves()) {
        if constexpr (RotatingModel<M>) {
            model.evict(plan.leaves_at, plan.leaves);
        } else {
            FLASHBACK_THROW(ErrorCode::contract, "text that moves needs a model of rotary positions (RotatingModel)");
        }
    }
    model.truncate(plan.keep);
    if (!plan.sees) return {model.evaluate(plan.feed)};
    if constexpr (BlockModel<M>) {
        const std::size_t plain = plan.plain - plan.keep;
        if (plain > 0) static_cast<void>(model.evaluate(plan.feed.first(plain)));
        const std::size_t beside = see_passages(model, plan.beside, head);
        return {model.evaluate(plan.feed.subspan(plain)), beside};
    } else {
        FLASHBACK_THROW(ErrorCode::contract, "passages beside the text need a model that holds blocks (BlockModel)");
    }
}

}  // namespace flashback::inline FLASHBACK_ISA
