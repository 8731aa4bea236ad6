/// \file How a generator goes back to where an answer was a guess.
#pragma once

#include "flashback/decoder/detail/generation_state.hpp"
#include "flashback/decoder/generator.hpp"

#include <cstddef>
#include <span>
#include <utility>

namespace flashback::inline FLASHBACK_ISA {

template <class PoliciesT>
void Generator<PoliciesT>::take_over(Generator& other) {
    if (!answers(Kind::search)) return;
    Statistics& stats = state_.result.stats;
    const Statistics& done = other.state_.result.stats;
    stats.counts = done.counts;
    stats.branches = done.branches;
    stats.model_work = done.model_work;
    stats.retriever_work = done.retriever_work;
    stats.seconds = done.seconds;
    stats.speculation = done.speculation;
    state_.held = std::move(other.state_.held);
    state_.held_plain = other.state_.held_plain;
    state_.evicted_at = other.state_.evicted_at;
    state_.planned_tokens = other.state_.planned_tokens;
    state_.fused.close();
    state_.reserve_text();
    ask(Kind::search);
}

template <class PoliciesT>
void Generator<PoliciesT>::confirm(std::size_t retrieval, std::span<const Passage> passages) {
    auto& standing = state_.result.retrievals;
    if (retrieval < standing.size()) {
        detail::GenerationState::report_passages(standing[retrieval], passages);
    } else if (state_.retrieval) {
        detail::GenerationState::report_passages(*state_.retrieval, passages);
    }
}

}  // namespace flashback::inline FLASHBACK_ISA
