/// \file What a generator remembers of its branches. It is not a template, so it is compiled once for all policies.
#pragma once

#include "flashback/core/tokens.hpp"
#include "flashback/decoder/generation.hpp"
#include "flashback/policy/branch_plan.hpp"
#include "flashback/policy/fusion.hpp"

#include <cstddef>
#include <limits>
#include <span>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

/// The branches that stand, what each holds, and what each is to evaluate next.
class FusedState {
public:
    FusedState() = default;
    FusedState(FusedState&&) noexcept = default;
    FusedState& operator=(FusedState&&) noexcept = default;
    ~FusedState() = default;
    /// A copy views tokens of its own.
    FusedState(const FusedState& other)
        : groups(other.groups),
          scratch(other.scratch),
          held(other.held),
          longest(other.longest),
          fused(other.fused),
          wants_(other.wants_),
          newest_(other.newest_),
          rows_(other.rows_) {
        view_next();
    }
    FusedState& operator=(const FusedState& other) {
        if (this != &other) *this = FusedState{other};
        return *this;
    }

    void close() noexcept {
        held.clear();
        rest();
        longest = 0;
    }

    /// The branches stand, and evaluate nothing for now.
    void rest() noexcept {
        next_.clear();
        wants_ = Wants::nothing;
    }

    bool stand() const noexcept { return !held.empty(); }
    bool stepping() const noexcept { return wants_ == Wants::newest; }

    /// What the branches are to become: none if all passages are read in one text.
    std::span<const BranchPlan> planned() const noexcept {
        return groups.size() > 1 ? std::span<const BranchPlan>{scratch.plans} : std::span<const BranchPlan>{};
    }

    /// All branches are there, and evaluate what they were planned to.
    void open(std::size_t room) {
        held.resize(scratch.plans.size());
        for (std::size_t i = 0; i < held.size(); ++i) {
            const ContextPlan& plan = scratch.plans[i].plan;
            held[i].tokens.assign(plan.wanted.begin(), plan.wanted.end());
            held[i].tokens.reserve(plan.wanted.size() + room);
            held[i].saw = plan.sees;
        }
        wants_ = Wants::plans;
        view_next();
    }

    /// All branches evaluate one more token.
    void step(TokenId token) {
        for (HeldBranch& branch : held) branch.tokens.push_back(token);
        ++longest;
        newest_.assign(1, token);
        wants_ = Wants::newest;
        view_next();
    }

    std::span<const TokenSpan> next() const noexcept { return next_; }

    /// Copies the logits of all branches; masked tokens have none.
    LogitRows masked(std::span<const float> logits, std::size_t vocab, TokenSpan markers, TokenSpan others) {
        rows_.assign(logits.begin(), logits.end());
        for (const TokenSpan ids : {markers, others}) mask_rows(rows_, vocab, ids);
        fused.resize(vocab);
        return rows(vocab);
    }
    LogitRows rows(std::size_t vocab) const noexcept { return {rows_, vocab}; }

    std::vector<PassageGroup> groups;  // of the plan that is being carried out
    FusedScratch scratch;
    std::vector<HeldBranch> held;  // what each branch holds, or does once it has evaluated; without branches empty
    std::size_t longest = 0;
    std::vector<float> fused;

private:
    enum class Wants : unsigned char { nothing, plans, newest };

    void view_next() {
        next_.clear();
        if (wants_ == Wants::newest) next_.assign(held.size(), newest_);
        if (wants_ != Wants::plans) return;
        for (const BranchPlan& branch : scratch.plans) next_.push_back(branch.fed());
    }

    Wants wants_ = Wants::nothing;
    TokenBuffer newest_;
    std::vector<TokenSpan> next_;
    std::vector<float> rows_;
};

}  // namespace flashback::inline FLASHBACK_ISA::detail
