/// \file How a decoder finds out which of its guesses were right, and goes back to the first that was not.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/owned_passage.hpp"
#include "flashback/core/retriever.hpp"
#include "flashback/decoder/detail/guesses.hpp"
#include "flashback/decoder/detail/on_token.hpp"
#include "flashback/decoder/generation.hpp"
#include "flashback/decoder/speculative_decoder.hpp"
#include "flashback/policy/fusion.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <ranges>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

template <class Model, class RetrieverT, class PoliciesT>
template <class OnToken>
void SpeculativeDecoder<Model, RetrieverT, PoliciesT>::check(OnToken& on_token) {
    end_step();
    const auto waits_since = std::chrono::steady_clock::now();
    const detail::Checked checked = searched();
    const std::chrono::duration<double> waited = std::chrono::steady_clock::now() - waits_since;
    model_.searched(*generator_);
    const bool wrong = checked.right < open_.size();
    if (!open_.empty()) optimal_.round(checked.right, wrong, now() - checked.began);
    speculation_.matched += checked.right;
    for (std::size_t i = 0; i < checked.right; ++i) confirm(*generator_, i);
    // If the text as it stands needs a search, the time until that is answered counts then.
    const bool counts = wrong || generator_->need().kind != Need::Kind::search;
    generator_->count_speculation(speculation_, counts ? waited.count() : 0);
    if (!hand_out(wrong ? open_[checked.right].heard : heard_.size(), on_token)) return;
    if (wrong) roll_back(checked.right);
    forget_guesses();
    if (!checked.searched) return;
    generator_->found(detail::views(checked.found));
    answered_ = now();
}

template <class Model, class RetrieverT, class PoliciesT>
detail::Checked SpeculativeDecoder<Model, RetrieverT, PoliciesT>::searched() {
    const std::optional<double> under_way = std::exchange(batch_began_, std::nullopt);  // also if the retriever throws
    const std::vector<Query> asked = queries(!under_way && !ended());
    detail::Checked checked{.began = under_way ? *under_way : now()};
    const auto one = [&](const auto& answer) { return compare(checked, answer); };
    [[maybe_unused]] bool answered = false;  // without exceptions nobody asks
    const auto each = [&](const auto& answers) {
        answered = true;
        FLASHBACK_ASSERT(std::ranges::size(answers) == asked.size(), "a retriever gave ", std::ranges::size(answers),
                         " answers to ", asked.size(), " queries");
        for (const auto& answer : answers)
            if (!one(answer)) return;
    };
    const auto at_once = [&] {
        if constexpr (asynchronous) {
            if (!under_way) retriever_->begin_batch(asked, depth());
            each(retriever_->take_batch());
        } else if constexpr (BatchRetriever<RetrieverT>) {
            each(retriever_->retrieve_batch(asked, depth()));
        }
    };
    const auto in_turn = [&] {
        for (const Query& query : asked)
            if (!one(retriever_->retrieve(query, depth()))) return;
    };
    if constexpr (!asynchronous && !BatchRetriever<RetrieverT>) {
        in_turn();
    } else {
#if defined(__cpp_exceptions)
        try {
            at_once();
        } catch (...) {
            if (answered || asked.size() < 2) throw;
            in_turn();  // perhaps it failed at a query that a wrong guess led to
        }
#else
        at_once();
#endif
    }
    return checked;
}

template <class Model, class RetrieverT, class PoliciesT>
template <class Answer>
bool SpeculativeDecoder<Model, RetrieverT, PoliciesT>::compare(detail::Checked& checked, const Answer& answer) {
    const std::span<const Passage> all{std::ranges::data(answer), std::ranges::size(answer)};
    const std::span<const Passage> found = all.first(std::min(all.size(), passages_));
    if (checked.right < open_.size()) {
        Guess& guess = open_[checked.right];
        if (detail::read_the_same(guess.passages, found, weighs_scores(found.size()))) {
            guess.passages = detail::owned(found);
            ++checked.right;
            return true;
        }
    }
    checked.found = detail::owned(found);
    checked.searched = true;
    return false;
}

template <class Model, class RetrieverT, class PoliciesT>
bool SpeculativeDecoder<Model, RetrieverT, PoliciesT>::weighs_scores(std::size_t passages) {
    auto& fusion = fusion_of(policies());
    if constexpr (hears_scores<std::remove_cvref_t<decltype(fusion)>>()) {
        groups_.clear();
        fusion.groups(passages, groups_);
        return groups_.size() > 1;
    } else {
        return false;
    }
}

template <class Model, class RetrieverT, class PoliciesT>
template <class OnToken>
bool SpeculativeDecoder<Model, RetrieverT, PoliciesT>::hand_out(std::size_t end, OnToken& on_token) {
    while (handed_out_ < end) {
        const detail::Heard& heard = heard_[handed_out_++];
        if (heard.rewind > 0) {
            detail::tell_rewind(on_token, heard.rewind);
        } else if (!detail::tell_token(on_token, heard.token) && !heard.last) {
            cut();
            return false;
        }
    }
    return true;
}

template <class Model, class RetrieverT, class PoliciesT>
void SpeculativeDecoder<Model, RetrieverT, PoliciesT>::roll_back(std::size_t guess) {
    ++speculation_.rolled_back;
    speculation_.discarded +=
        generator_->result().stats.counts.evaluated - open_[guess].before->result().stats.counts.evaluated;
    for (std::size_t i = 0; i < guess; ++i) confirm(*open_[guess].before, i);
    go_back(std::move(open_[guess].before));
}

template <class Model, class RetrieverT, class PoliciesT>
void SpeculativeDecoder<Model, RetrieverT, PoliciesT>::go_back(std::unique_ptr<GeneratorT> before) {
    model_.close();
    model_.forget_seen();
    before->take_over(*generator_);
    detail::put_in_place(*generator_, std::move(*before));
    generator_->count_speculation(speculation_, 0);
    forget_failure();
}

template <class Model, class RetrieverT, class PoliciesT>
void SpeculativeDecoder<Model, RetrieverT, PoliciesT>::keep_handed_out() {
    if (open_.empty()) return;
    std::size_t guess = 0;
    while (guess + 1 < open_.size() && open_[guess + 1].heard < handed_out_) ++guess;
    std::unique_ptr<GeneratorT> before = std::move(open_[guess].before);
    speculation_.discarded += generator_->result().stats.counts.evaluated -
                              (handed_out_ > 0 ? heard_[handed_out_ - 1].evaluated : before->result().stats.counts.evaluated);
    for (std::size_t i = 0; i < guess; ++i) confirm(*before, i);
    const std::size_t index = before->result().retrievals.size();
    std::optional<Retrieval> newest;
    if (index < generator_->result().retrievals.size()) newest = generator_->result().retrievals[index];
    go_back(std::move(before));
    cut_ = generator_->result();
    for (std::size_t i = open_[guess].heard; i < handed_out_; ++i) {
        heard_[i].add_to(*cut_);
        if (heard_[i].rewind > 0 || !newest) continue;
        cut_->retrievals.push_back(*std::exchange(newest, std::nullopt));
        ++cut_->stats.retrievals;
    }
    forget_guesses();
}

template <class Model, class RetrieverT, class PoliciesT>
void SpeculativeDecoder<Model, RetrieverT, PoliciesT>::cut() {
    keep_handed_out();
    cut_->stop = StopReason::cancelled;
}

template <class Model, class RetrieverT, class PoliciesT>
void SpeculativeDecoder<Model, RetrieverT, PoliciesT>::count_time() {
    generator_->count_speculation(speculation_, 0);
    if (cut_) cut_->stats.seconds = generator_->result().stats.seconds;
}

}  // namespace flashback::inline FLASHBACK_ISA
