// How many tokens a retrieval evaluates: what a library of somebody else's may do with flashback::policy.
#pragma once

#include <flashback/policy/context_plan.hpp>
#include <flashback/policy/policies.hpp>

inline std::size_t evaluated(flashback::TokenSpan held, flashback::TokenSpan context) {
    flashback::PlanScratch scratch;
    return flashback::plan_context(flashback::Policies{}, held, {.head = {}, .passages = {}, .context = context}, scratch)
        .feed.size();
}
