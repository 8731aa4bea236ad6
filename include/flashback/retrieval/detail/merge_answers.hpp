/// \file Answers of several retrievers, merged.
#pragma once

#include "flashback/retrieval/detail/held_query.hpp"
#include "flashback/retrieval/union.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>
#include <limits>
#include <span>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

FLASHBACK_DETAIL_ONCE void MinMaxScores::operator()(std::span<const Passage> answer, std::span<double> worth) const noexcept {
    double low = std::numeric_limits<double>::infinity();
    double high = -low;
    for (const Passage& passage : answer) {
        if (!std::isfinite(passage.score)) continue;
        low = std::min(low, static_cast<double>(passage.score));
        high = std::max(high, static_cast<double>(passage.score));
    }
    for (std::size_t r = 0; r < answer.size(); ++r) {
        const double score = static_cast<double>(answer[r].score);
        if (std::isfinite(score)) {
            worth[r] = high > low ? (score - low) / (high - low) : 1;
        } else {
            worth[r] = score > 0 ? 1 : 0;
        }
    }
}

namespace detail {

FLASHBACK_DETAIL_ONCE void MergedAnswers::clear() {
    places_.clear();
    hits_.clear();
    answers_ = 0;
}

FLASHBACK_DETAIL_ONCE void MergedAnswers::add(std::span<const Passage> answer, std::span<const double> worth, double weight) {
    ++answers_;
    for (std::size_t r = 0; r < answer.size(); ++r) {
        const auto [place, fresh] = places_.try_emplace(key_of(answer[r]), hits_.size());
        if (fresh) hits_.push_back({answer[r], 0, 0});
        Hit& hit = hits_[place->second];
        if (hit.answer == answers_) continue;
        hit.answer = answers_;
        if (const double gain = weight * worth[r]; gain == gain) hit.worth += gain;
    }
}

FLASHBACK_DETAIL_ONCE void MergedAnswers::best(std::size_t k, std::vector<Passage>& out) {
    std::ranges::stable_sort(hits_, std::ranges::greater{}, &Hit::worth);
    hits_.resize(std::min(k, hits_.size()));
    out.clear();
    for (const Hit& hit : hits_) {
        out.push_back(hit.passage);
        out.back().score = static_cast<float>(hit.worth);
    }
}

}  // namespace detail

}  // namespace flashback::inline FLASHBACK_ISA
