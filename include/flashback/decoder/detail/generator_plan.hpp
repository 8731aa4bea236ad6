/// \file How a generator plans what a model and its branches should hold, and what leads there.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/decoder/detail/fused_state.hpp"
#include "flashback/decoder/generator.hpp"
#include "flashback/policy/branch_plan.hpp"
#include "flashback/policy/context_plan.hpp"
#include "flashback/policy/fusion.hpp"
#include "flashback/policy/overflow.hpp"

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <utility>

namespace flashback::inline FLASHBACK_ISA {

/// Whether a model can do what the policies ask of it; false if an error was handled.
template <class PoliciesT>
bool Generator<PoliciesT>::fits(const ModelFacts& facts) {
    const bool rolls = rotation_of(policies_.overflow()).moves;
    if (facts.vocab_size == 0) {
        fail(ErrorCode::contract, "a model needs at least 1 logit, found 0");
    } else if (beside_of(policies_.layout()).seeing > 0 && !facts.holds_blocks) {
        fail(ErrorCode::contract,
             "a layout of passages beside the text needs a model that holds blocks (BlockModel: block, see and plain_size), "
             "found one that does not");
    } else if ((rolls || moves_text_of(policies_.reuse())) && !facts.rotates) {
        fail(ErrorCode::contract, rolls ? "an overflow policy that moves keys and values" : "a reuse policy that moves text",
             " to other positions needs a model of rotary positions (RotatingModel: evict and can_evict), found one that is "
             "not");
    } else {
        return true;
    }
    return false;
}

template <class PoliciesT>
void Generator<PoliciesT>::seen(std::size_t tokens) {
    if (!answers(Kind::see)) return;
    state_.held_plain = state_.held_plain.value_or(state_.held.size());
    sees_ = false;
    const std::size_t all = see_nothing_ ? 0 : state_.scratch.wrapped.size();
    if (tokens > all) return fail_seen(tokens, all);
    state_.spend(state_.result.stats.seconds.prefill);
    state_.count({all, tokens, all - tokens, 0});
    go_on();
}

template <class PoliciesT>
void Generator<PoliciesT>::branched(std::span<const std::size_t> tokens) {
    if (!answers(Kind::branch)) return;
    branching_ = false;
    const std::span<const BranchPlan> plans = state_.fused.planned();
    if (tokens.size() != plans.size()) {
        return fail(ErrorCode::engine, "the model has ", tokens.size(), " branches, expected ", plans.size());
    }
    state_.spend(state_.result.stats.seconds.prefill);
    if (plans.empty()) {
        state_.fused.close();
        return go_on();
    }
    state_.fused.open(state_.room_left());
    auto& counts = state_.result.stats.branches;
    counts.resize(std::max(counts.size(), plans.size()));
    for (std::size_t i = 0; i < plans.size(); ++i) {
        const std::size_t all = plans[i].plan.beside.empty() ? 0 : state_.fused.scratch.each[i].wrapped.size();
        if (tokens[i] > all) return fail_seen(tokens[i], all);
        state_.count_branch(i, {all, tokens[i], all - tokens[i], 0});
    }
    ask(Kind::evaluate);
}

/// Asks for the truncation, or the evaluation, that leads to the wanted context.
template <class PoliciesT>
void Generator<PoliciesT>::plan() {
    const std::size_t window = state_.model.window;
    carried_out_ = false;
    if (std::exchange(passages_changed_, false)) begin_fusion(fusion_of(policies_), state_.standing.scores());
    const std::size_t dropped = state_.dropped;
    for (;;) {
        const std::size_t wanted = plan_groups();
        if (wanted == 0) return finish(StopReason::failed);
        if (wanted <= window) break;
        const bool beside = beside_of(policies_.layout()).seeing > 0;  // then passages take no room
        const FullWindow full{window, wanted, state_.read_size(),
                              beside ? 0 : most_tokens_of(state_.fused.groups, state_.standing.views())};
        if (!make_room(full)) return refuse(full);
    }
    evict_.count = state_.dropped - dropped;
    const bool rolls = evict_.count > 0 && rotation_of(policies_.overflow()).moves && find_evicted();
    if (!rolls) evict_ = leaving_;
    if (evict_.count > 0) {
        evicting_ = true;
        keep_ = evict_.kept;
        return ask(keep_ < state_.held.size() || state_.held_plain ? Kind::truncate : Kind::evict);
    }
    planned_ = reads_ = true;
    state_.planned_tokens = state_.scratch.wanted.size();
    branching_ = state_.fused.groups.size() > 1 || state_.fused.stand();
    state_.fused.rest();
    state_.reuse = {
        keep_, 0, keep_,
        state_.held.size() - keep_ + discarded_of(state_.fused.held, state_.fused.planned(), state_.scratch.wanted)};
    state_.reserve_for(std::max(state_.scratch.wanted.size(), state_.fused.longest));
    state_.laid_out = state_.scratch.wanted;
    // If all that is kept is plain, a model that sees passages is cut even if nothing is taken: that makes it forget them.
    const bool forget = state_.held_plain && keep_ <= *state_.held_plain;
    if (keep_ < state_.held.size() || forget) return ask(Kind::truncate);
    go_on();
}

/// Drops tokens of the text, or shortens passages, as the overflow policy says; false if it does neither.
template <class PoliciesT>
bool Generator<PoliciesT>::make_room(const FullWindow& full) {
    auto&& overflow = policies_.overflow();
    const std::size_t shorten = std::min(shorten_of(overflow, full), full.passages);
    if (shorten > 0) {
        std::size_t read = 0;
        for (const PassageGroup& group : state_.fused.groups) read = std::max(read, group.first + group.count);
        state_.standing.shorten(shorten, read);
        state_.result.stats.shortened += shorten;
        return true;
    }
    const auto drop = static_cast<std::size_t>(overflow(full));
    if (drop == 0 || drop + state_.sinks >= full.context) return false;
    state_.dropped += drop;
    state_.result.stats.dropped += drop;
    return true;
}

/// Finds where what was dropped stands in what the model holds; false if it is not worth moving what stands behind
/// it, because most of that does not stay.
template <class PoliciesT>
bool Generator<PoliciesT>::find_evicted() {
    const TokenSpan held = state_.held;
    const TokenSpan wanted = state_.scratch.wanted;
    evict_.kept =
        std::min(held.size(), state_.held_plain.value_or(held.size()));  // what saw passages beside the text does not move
    evict_.begin = common_prefix(held.first(evict_.kept), wanted);
    const std::size_t behind = evict_.begin + evict_.count;
    if (behind >= evict_.kept) return false;
    const std::size_t stays = common_prefix(held.first(evict_.kept).subspan(behind), wanted.subspan(evict_.begin));
    return 2 * stays >= evict_.kept - behind;
}

template <class PoliciesT>
void Generator<PoliciesT>::evicted(std::size_t size) {
    if (!answers(Kind::evict)) return;
    const std::size_t left = evict_.kept - evict_.count;
    if (size != left) {
        return fail(ErrorCode::engine, "the model holds ", size, " positions after it forgot ", evict_.count, " of ",
                    evict_.kept, ": its evict does not do what it says");
    }
    evicting_ = false;
    state_.spend(state_.result.stats.seconds.prefill);
    state_.count({0, 0, 0, evict_.count});
    const bool stands = state_.laid_out == state_.held;
    const auto begin = state_.held.begin() + static_cast<std::ptrdiff_t>(evict_.begin);
    state_.held.erase(begin, begin + static_cast<std::ptrdiff_t>(evict_.count));
    if (stands) state_.laid_out = state_.held;
    state_.planned_tokens -= std::min(state_.planned_tokens, evict_.count);
    state_.evicted_at = std::min(state_.evicted_at, evict_.begin);
    plan();
}

/// Plans a text, or branches, as the fusion says; gives the length of the longest, 0 if an error was handled.
template <class PoliciesT>
std::size_t Generator<PoliciesT>::plan_groups() {
    auto& groups = state_.fused.groups;
    groups.clear();
    fusion_of(policies_).groups(state_.standing.views().size(), groups);
    if (const std::string wrong = wrong_groups(fusion_of(policies_), groups, state_.standing.views().size()); !wrong.empty()) {
        fail(ErrorCode::contract, wrong);
        return 0;
    }
    if (groups.size() > 1 && !state_.model.branches) {
        fail(ErrorCode::contract, "a fusion of passages in ", groups.size(),
             " branches needs a model that can be forked (BranchingModel), found one that cannot");
        return 0;
    }
    return groups.size() == 1 ? plan_text() : plan_branches();
}

/// Plans the text that the model holds, with all passages that are read; gives its length, 0 if an error was handled.
template <class PoliciesT>
std::size_t Generator<PoliciesT>::plan_text() {
    const std::span<const Passage> passages =
        state_.fused.scratch.grouped.of(state_.standing.views(), state_.fused.groups.front());
    const ContextPlan plan = plan_context(policies_, state_.held, state_.parts(passages), state_.scratch, on_error_);
    keep_ = plan.keep;
    plain_ = plan.plain;
    sees_ = plan.sees;
    see_nothing_ = plan.beside.empty();
    leaving_ = {plan.leaves_at, plan.leaves, state_.held.size()};
    return plan.wanted.size();
}

/// Plans a branch for each group of passages, and the text that the model holds: what they share; gives the length of the longest.
template <class PoliciesT>
std::size_t Generator<PoliciesT>::plan_branches() {
    detail::FusedState& fused = state_.fused;
    const FusedPlan plan = flashback::plan_branches(policies_, state_.held, state_.parts(state_.standing.views()), fused.groups,
                                                    fused.held, fused.scratch, on_error_);
    keep_ = plan.keep;
    leaving_ = {};
    state_.scratch.wanted.assign(plan.wanted.begin(), plan.wanted.end());
    plain_ = plan.wanted.size();
    sees_ = false;
    fused.longest = plan.longest;
    return plan.longest;
}

/// Asks for the next part of a plan: the text that sees no passages beside it, these passages, the tokens that see them, or
/// branches.
template <class PoliciesT>
void Generator<PoliciesT>::go_on() {
    const bool shared = state_.held.size() == state_.scratch.wanted.size();
    if (branching_ && (shared || state_.fused.planned().empty())) return ask(Kind::branch);
    ask(sees_ && state_.held.size() == plain_ ? Kind::see : Kind::evaluate);
}

template <class PoliciesT>
void Generator<PoliciesT>::refuse(const FullWindow& full) {
    if (reads_) return finish(StopReason::window_full);
    fail(ErrorCode::window, "the window of the model holds ", full.window, " tokens, but the first context needs ", full.wanted,
         ": ", state_.head().size(), " of the head, ", full.context, " of the prompt and ",
         full.wanted - full.context - state_.head().size(), " of retrieved passages");
}

template <class PoliciesT>
void Generator<PoliciesT>::fail_seen(std::size_t tokens, std::size_t all) {
    fail(ErrorCode::engine, "the model evaluated ", tokens, " tokens to see passages of ", all,
         ", expected at most these: its work() does not do what it says");
}

}  // namespace flashback::inline FLASHBACK_ISA
