/// \file The same idea for several texts that share their beginning: what is evaluated once, and what each branch adds.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/retriever.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/policy/context_plan.hpp"
#include "flashback/policy/fusion.hpp"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <optional>
#include <span>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// How one branch comes to what it should hold: it goes on from what another model holds.
struct BranchPlan {
    /// `from` of a fork of the model itself.
    static constexpr std::size_t trunk = std::numeric_limits<std::size_t>::max();

    std::size_t from = trunk;  ///< the branch that it was until now; or `trunk`: it is a fork of the model
    ContextPlan plan = {};     ///< what it keeps of that, and what it feeds

    /// What it evaluates once it sees its passages: what no other branch evaluates for it.
    TokenSpan fed() const noexcept { return plan.sees ? plan.wanted.subspan(plan.plain) : plan.feed; }
};

/// How a model and its branches come to what they should hold. The model keeps `keep` positions and evaluates `feed`, which is what all
/// branches share and may be empty; then each branch is made and evaluates the rest. Branches does that.
struct FusedPlan {
    std::size_t keep = 0;
    TokenSpan feed;
    TokenSpan wanted;                      ///< what the model then holds: `keep` tokens and `feed`
    std::span<const BranchPlan> branches;  ///< empty if an error was handled
    std::size_t longest = 0;               ///< tokens of the longest branch
};

/// What a branch that stands holds.
struct HeldBranch {
    TokenBuffer tokens = {};  ///< ids, in order
    bool saw = false;         ///< whether it saw passages beside the text: then it is of no use to another plan
};

/// Counts what branches that stand hold, and neither the branches of a plan nor a text `kept` will.
inline std::size_t discarded_of(std::span<const HeldBranch> standing, std::span<const BranchPlan> plans, TokenSpan kept) {
    std::size_t all = 0;
    for (std::size_t j = 0; j < standing.size(); ++j) {
        std::size_t stays = common_prefix(standing[j].tokens, kept);
        for (const BranchPlan& branch : plans)
            if (branch.from == j) stays = branch.plan.keep;
        all += standing[j].tokens.size() - stays;
    }
    return all;
}

/// The passages of a group as a wrapper takes them: one by one, or as one. Those that are joined have the id, the title, the text and
/// the score of the best.
class GroupedPassages {
public:
    /// What the group has of these passages; valid until the next call, and as long as they are.
    /// Requires  there are as many as the group takes
    std::span<const Passage> of(std::span<const Passage> passages, const PassageGroup& group) {
        const std::span<const Passage> its = passages.subspan(group.first, group.count);
        if (!group.joined || its.size() < 2) return its;
        tokens_.clear();
        for (const Passage& passage : its) append(tokens_, passage.tokens);
        joined_ = its.front();
        joined_.tokens = tokens_;
        return {&joined_, 1};
    }

private:
    TokenBuffer tokens_;
    Passage joined_;
};

/// Tokens of the passages in that group where they are most, without what marks them.
/// Requires  there are as many passages as the groups take
inline std::size_t most_tokens_of(std::span<const PassageGroup> groups, std::span<const Passage> passages) {
    std::size_t most = 0;
    for (const PassageGroup& group : groups) {
        std::size_t tokens = 0;
        for (const Passage& passage : passages.subspan(group.first, group.count)) tokens += passage.tokens.size();
        most = std::max(most, tokens);
    }
    return most;
}

/// Room for plans of branches; a plan views it and is valid until its next use.
class FusedScratch {
public:
    FusedScratch() = default;
    FusedScratch(FusedScratch&&) noexcept = default;
    FusedScratch& operator=(FusedScratch&&) noexcept = default;
    ~FusedScratch() = default;
    /// A copy views tokens of its own.
    FusedScratch(const FusedScratch& other) : each(other.each), plans(other.plans) {
        for (std::size_t i = 0; i < plans.size(); ++i) view(i);
    }
    FusedScratch& operator=(const FusedScratch& other) {
        if (this != &other) *this = FusedScratch{other};
        return *this;
    }

    std::vector<PlanScratch> each;  ///< for each branch
    std::vector<BranchPlan> plans;  ///< of the last plan
    GroupedPassages grouped;        ///< passages by group, as the fusion wants them
    std::vector<bool> continued;    ///< for each branch that stood: whether another goes on from it

    /// Lets the plan of a branch view `each`.
    void view(std::size_t branch) noexcept {
        ContextPlan& plan = plans[branch].plan;
        plan.wanted = each[branch].wanted;
        plan.feed = plan.wanted.subspan(plan.keep);
        if (!plan.beside.empty()) plan.beside = each[branch].passages;
    }
};

/// Plans branches that read the same text with other passages: one for each group. What all have in common is evaluated once, by the
/// model that they are forks of. A branch that has more in common with one that stands, `standing`, goes on from that. In branches no
/// passage is left in place, and no token keeps what it saw: a layout is told of nothing that stands, so that `Sticky` is
/// `AppendPassages`, and `AsideOptions::exact` changes nothing.
/// Requires  as plan_context; at least one group, and the passages that they take
/// Throws    as plan_context
/// Cost      that of plan_context for each branch, and the comparison of each with those that stand
template <class P>
FusedPlan plan_branches(const P& policies, TokenSpan held, const ContextParts& parts, std::span<const PassageGroup> groups,
                        std::span<const HeldBranch> standing, FusedScratch& scratch, ErrorHandler on_error = {}) {
    const std::size_t count = groups.size();
    if (scratch.each.size() < count) scratch.each.resize(count);
    scratch.plans.assign(count, {});
    FusedPlan fused;
    std::size_t shared = std::numeric_limits<std::size_t>::max();
    for (std::size_t i = 0; i < count; ++i) {
        const ContextParts its{parts.head, scratch.grouped.of(parts.passages, groups[i]), parts.context, TokenSpan{}, 0};
        scratch.plans[i].plan = plan_context(policies, {}, its, scratch.each[i], on_error);
        const ContextPlan& plan = scratch.plans[i].plan;
        if (plan.feed.empty()) return {};
        shared = std::min({shared, plan.wanted.size() - 1, plan.plain});
        fused.longest = std::max(fused.longest, plan.wanted.size());
    }
    for (const BranchPlan& branch : scratch.plans)
        shared = std::min(shared, common_prefix(branch.plan.wanted, scratch.plans.front().plan.wanted));

    fused.wanted = scratch.plans.front().plan.wanted.first(shared);
    const std::optional<std::size_t> keep = detail::checked_keep(policies.reuse(), held, fused.wanted, on_error);
    if (!keep) return {};
    fused.keep = std::min(*keep, parts.held_plain.value_or(*keep));
    fused.feed = fused.wanted.subspan(fused.keep);

    scratch.continued.assign(standing.size(), false);
    for (std::size_t i = 0; i < count; ++i) {
        BranchPlan& branch = scratch.plans[i];
        branch.plan.keep = shared;
        for (std::size_t j = 0; j < standing.size() && !branch.plan.sees; ++j) {
            if (scratch.continued[j] || standing[j].saw) continue;
            const std::optional<std::size_t> own =
                detail::checked_keep(policies.reuse(), standing[j].tokens, branch.plan.wanted, on_error);
            if (!own) return {};
            const std::size_t kept = std::min(*own, branch.plan.wanted.size() - 1);
            if (kept > branch.plan.keep) {
                branch.from = j;
                branch.plan.keep = kept;
            }
        }
        if (branch.from != BranchPlan::trunk) scratch.continued[branch.from] = true;
        scratch.view(i);
    }
    fused.branches = scratch.plans;
    return fused;
}

}  // namespace flashback::inline FLASHBACK_ISA
