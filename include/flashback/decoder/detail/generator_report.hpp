/// \file How a generator tells what a plan came to.
#pragma once

#include "flashback/decoder/carried_out_plan.hpp"
#include "flashback/decoder/detail/text_places.hpp"
#include "flashback/decoder/generator.hpp"
#include "flashback/policy/branch_plan.hpp"
#include "flashback/policy/layout.hpp"

#include <algorithm>
#include <cstddef>
#include <span>
#include <utility>

namespace flashback::inline FLASHBACK_ISA {

template <class PoliciesT>
CarriedOutPlan Generator<PoliciesT>::newest_plan() const {
    static_assert(ReadContext::nowhere == StepAttention::nowhere);
    CarriedOutPlan plan{state_.context, state_.prompt_tokens, state_.head(), {}, &state_.result};
    // The token that follows a plan was taken from it, and is not yet a part of what was read.
    if (kind_ == Kind::token) plan.text = plan.text.first(plan.text.size() - 1);
    const bool beside = beside_of(policies_.layout()).seeing > 0;
    const auto add = [&](TokenSpan tokens, std::size_t kept, const PassageGroup& group, const PlanScratch& scratch) {
        ReadContext context{tokens,           kept,   state_.standing.views().subspan(group.first, group.count),
                            scratch.passages, beside, {}};
        detail::TextPlaces places;
        places.find({plan.text, state_.sinks, state_.dropped},
                    {tokens, plan.head.size(), beside ? std::span<const TokenSpan>{} : context.wrapped});
        context.places.assign(places.view().begin(), places.view().end());
        plan.contexts.push_back(std::move(context));
    };
    const auto& groups = state_.fused.groups;
    if (groups.size() == 1) {
        add(state_.scratch.wanted, keep_, groups.front(), state_.scratch);
        return plan;
    }
    bool trunk_told = false;  // what branches share is evaluated once, by the model itself: for the first of them
    for (std::size_t i = 0; i < groups.size(); ++i) {
        const BranchPlan& branch = state_.fused.scratch.plans[i];
        const bool first_of_trunk = branch.from == BranchPlan::trunk && !std::exchange(trunk_told, true);
        add(state_.fused.scratch.each[i].wanted, first_of_trunk ? std::min(keep_, branch.plan.keep) : branch.plan.keep,
            groups[i], state_.fused.scratch.each[i]);
    }
    return plan;
}

}  // namespace flashback::inline FLASHBACK_ISA
