/// \file A random token of the likeliest ones.
#pragma once

#include "flashback/core/random.hpp"
#include "flashback/policy/distribution.hpp"
#include "flashback/policy/sampler.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// The settings of TruncatedSampling; the defaults change nothing. They act in this order.
struct SamplingOptions {
    float temperature = 1.0f;  ///< below 1 sharpens the distribution; 0 always takes the likeliest token
    std::size_t top_k = 0;     ///< how many of the likeliest tokens remain; 0 = all
    float top_p = 1.0f;        ///< in (0, 1]; the likeliest tokens that together have this probability remain
    float min_p = 0.0f;      ///< in [0, 1]; tokens less likely than this part of the likeliest one's probability do not remain
    std::uint64_t seed = 0;  ///< the same seed draws the same tokens
};

/// A random token of the likeliest ones. What it draws depends only on the logits, the seed and the position of the token, with
/// every standard library. So the same seed gives the same tokens, also after a rewind, in a fork or under speculation.
/// Cost      one exponential for each token of the vocabulary (for top_k of them, if that is set), and a heap from which the
///           kept ones are taken
/// Source    top-k: Fan et al. 2018, Hierarchical neural story generation, section 5.4; top-p: Holtzman et al. 2020, The
///           curious case of neural text degeneration, section 3.1; min-p: Nguyen et al. 2024, Turning up the heat
class TruncatedSampling {
public:
    /// Throws    Error{contract} if an option is out of its range
    explicit TruncatedSampling(SamplingOptions options = {}) : options_(options) {
        FLASHBACK_ASSERT(options.temperature >= 0 && std::isfinite(options.temperature),
                         "the temperature of sampling must be a number from 0, found ", options.temperature);
        FLASHBACK_ASSERT(options.top_p > 0 && options.top_p <= 1, "top-p must lie in (0, 1], found ", options.top_p);
        FLASHBACK_ASSERT(options.min_p >= 0 && options.min_p <= 1, "min-p must lie in [0, 1], found ", options.min_p);
    }

    /// The token at the position after the text of a step.
    /// Throws    as `at`
    TokenId operator()(std::span<const float> logits, const StepView& step) { return at(logits, step.context.size()); }

    /// The token at a position.
    /// Throws    Error{logits} if a logit is NaN or +infinity, or if none is above -infinity
    TokenId at(std::span<const float> logits, std::uint64_t position) {
        const TokenId likeliest = Greedy{}(logits);
        const double most = logits[static_cast<std::size_t>(likeliest)];
        if (options_.temperature == 0) return likeliest;

        candidates_.clear();
        candidates_.reserve(logits.size());
        for (std::size_t i = 0; i < logits.size(); ++i) candidates_.push_back({logits[i] - most, static_cast<TokenId>(i)});
        if (options_.top_k > 0 && options_.top_k < candidates_.size()) {
            const auto rest = candidates_.begin() + static_cast<std::ptrdiff_t>(options_.top_k);
            std::ranges::nth_element(candidates_, rest,
                                     [](const Candidate& a, const Candidate& b) { return less_likely(b, a); });
            candidates_.erase(rest, candidates_.end());
        }
        // Summed by id: the order that nth_element leaves is the standard library's.
        if (options_.top_k > 0) std::ranges::sort(candidates_, {}, &Candidate::token);
        double total = 0;
        for (Candidate& candidate : candidates_) {
            candidate.weight = exp_of_negative(candidate.weight / options_.temperature);
            total += candidate.weight;
        }
        std::erase_if(candidates_, [](const Candidate& candidate) { return candidate.weight == 0; });

        // The likeliest tokens come off a heap into the tail of the same array, so the kept ones stand at its end.
        std::ranges::make_heap(candidates_, less_likely);
        auto heap_end = candidates_.end();
        double kept = 0;
        do {
            std::ranges::pop_heap(candidates_.begin(), heap_end, less_likely);
            kept += (--heap_end)->weight;
        } while (heap_end != candidates_.begin() && kept < options_.top_p * total &&
                 candidates_.front().weight >= options_.min_p);  // the likeliest has the weight 1

        SplitMix64 random{options_.seed + position * SplitMix64::increment};
        double left = detail::rounded(random.uniform() * kept);
        for (auto it = candidates_.end(); it != heap_end;) {
            left -= (--it)->weight;
            if (left < 0) return it->token;
        }
        return heap_end->token;  // rounding left a remainder
    }

private:
    struct Candidate {
        double weight;  // at first the logit less the greatest, then e to that power
        TokenId token;
    };
    static constexpr auto less_likely = [](const Candidate& a, const Candidate& b) noexcept {
        return a.weight != b.weight ? a.weight < b.weight : a.token > b.token;
    };

    SamplingOptions options_;
    std::vector<Candidate> candidates_;
};

}  // namespace flashback::inline FLASHBACK_ISA
