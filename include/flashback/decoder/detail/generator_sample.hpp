/// \file What a generator does with logits.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/decoder/detail/generation_state.hpp"
#include "flashback/decoder/generator.hpp"
#include "flashback/policy/fusion.hpp"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <span>
#include <string>
#include <utility>

namespace flashback::inline FLASHBACK_ISA {

template <class PoliciesT>
void Generator<PoliciesT>::evaluated(std::span<const float> logits, std::size_t size, const ModelAttention& attention) {
    if (!answers(Kind::evaluate)) return;
    const std::size_t branches = state_.fused.next().size();
    const TokenSpan tokens = branches > 0 ? TokenSpan{} : feed();
    const std::size_t before = state_.held.size();
    const std::size_t all = before + tokens.size();
    const std::size_t done = logits.empty() ? std::clamp(size, before, all) - before : tokens.size();
    append(state_.held, tokens.first(done));
    state_.spend(planned_ ? state_.result.stats.seconds.prefill : state_.result.stats.seconds.decode);
    state_.count({done, done, 0, 0});
    if (logits.empty()) {
        if (state_.options.stop.stop_requested()) return finish(StopReason::cancelled);
        return fail(ErrorCode::engine, "the model gave no logits for ", tokens.size(), " tokens");
    }
    state_.count_branches();
    if (size != all) {
        return fail(ErrorCode::engine, "the model holds ", size, " positions, expected ", all, ": it held ", before,
                    " and was given ", tokens.size(), " more");
    }
    const std::size_t rows = std::max<std::size_t>(branches, 1);
    if (logits.size() != rows * state_.model.vocab_size) {
        return fail(ErrorCode::engine, "the model gave ", logits.size(), " logits, but its vocab_size() is ",
                    state_.model.vocab_size, rows > 1 ? ", and it has branches: " : "", rows > 1 ? std::to_string(rows) : "");
    }
    if (planned_ && (sees_ || branching_)) return go_on();
    carried_out_ = planned_;
    if (state_.retrieval) {
        state_.retrieved_at = state_.result.tokens.size();
        ++state_.result.stats.retrievals;
        state_.result.retrievals.push_back(std::move(*state_.retrieval));
        state_.retrieval.reset();
    }
    state_.attention.reset();
    if (state_.wants_attention) {
        if (!attention.weights) {
            return fail(ErrorCode::contract,
                        "a policy asks for attention, but the model gave none: it must be an AttentiveModel (attention and "
                        "layers), and passages must not be fused in several branches");
        }
        state_.read_attention(attention, planned_, beside_of(policies_.layout()).seeing == 0);
    }
    sample(logits);
}

template <class PoliciesT>
void Generator<PoliciesT>::sample(std::span<const float> all) {
    state_.newest.forget();  // a sampler sees no logits but those that it takes a token from
    const TokenSpan markers = markers_of(policies_.wrapper());
    const TokenSpan masked = state_.options.masked.view();
    const std::span<const float> logits = state_.fused.stand()
                                              ? fuse(state_.fused.masked(all, state_.model.vocab_size, markers, masked))
                                              : state_.newest.without(all, markers, masked);
    if (const auto bad = detail::GenerationState::first_bad(logits)) {
        return fail(ErrorCode::logits, "the logit of token ", *bad, logits[*bad] > 0 ? " is +infinity" : " is not a number");
    }
    auto&& sampler = policies_.sampler();
    const TokenId token = take_token(sampler, logits, state_.step());
    if (token < 0 || static_cast<std::size_t>(token) >= logits.size()) {
        return fail(ErrorCode::contract, "the sampler took token ", token, ", but the model has ", logits.size(), " logits");
    }
    const float logit = logits[static_cast<std::size_t>(token)];
    if (!(logit > -std::numeric_limits<float>::infinity())) {
        return fail(ErrorCode::contract, "the sampler took token ", token, ", which is masked: its logit is ", logit);
    }
    if (!state_.options.ignore_eos && state_.model.is_end && state_.model.is_end(token)) return conclude(StopReason::eos);
    state_.push(token, logits);
    if (state_.fused.stand()) {
        tell_fusion(fusion_of(policies_), state_.fused.rows(state_.model.vocab_size), token);
    }
    stopping_ = policies_.stopping()(state_.step());
    ask(Kind::token);
}

template <class PoliciesT>
std::span<const float> Generator<PoliciesT>::fuse(const LogitRows& rows) {
    for (std::size_t i = 0; i < rows.size(); ++i)
        if (detail::GenerationState::first_bad(rows[i])) return rows[i];
    fuse_logits(fusion_of(policies_), rows, state_.fused.fused);
    return state_.fused.fused;
}

}  // namespace flashback::inline FLASHBACK_ISA
