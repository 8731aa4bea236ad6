/// \file How a token is taken from logits.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/tokens.hpp"

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// Takes a token from logits: `sampler(logits)`; masked tokens have the logit -infinity. An optional `reset()` is called at
/// the start of each generation.
template <class S>
concept Sampler = requires(S& sampler, std::span<const float> logits) {
    { sampler(logits) } -> std::convertible_to<TokenId>;
};

/// The likeliest token; of equals the one with the lowest id.
struct Greedy {
    /// Throws    Error{logits} if a logit is not a number or if none is above -infinity
    TokenId operator()(std::span<const float> logits) const {
        std::size_t best = 0;
        float most = -std::numeric_limits<float>::infinity();
        for (std::size_t i = 0; i < logits.size(); ++i) {
            if (std::isnan(logits[i])) FLASHBACK_THROW(ErrorCode::logits, "the logit of token ", i, " is not a number");
            if (logits[i] > most) most = logits[best = i];
        }
        if (!(most > -std::numeric_limits<float>::infinity())) {
            FLASHBACK_THROW(ErrorCode::logits, "none of the ", logits.size(), " logits is above -infinity");
        }
        return static_cast<TokenId>(best);
    }
};

/// A seeded stream of random numbers that is the same with every standard library.
/// Source    Steele, Lea, Flood 2014, Fast splittable pseudorandom number generators (SplitMix64)
class SplitMix64 {
public:
    constexpr explicit SplitMix64(std::uint64_t seed) noexcept : state_(seed) {}

    /// The next 64 random bits.
    constexpr std::uint64_t next() noexcept {
        std::uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        return z ^ (z >> 31);
    }

    /// A number in [0, 1) with 53 random bits.
    constexpr double uniform() noexcept { return static_cast<double>(next() >> 11) * 0x1p-53; }

    /// A number in [0, n), every one as likely up to n / 2^64.
    /// Requires  n > 0
    constexpr std::uint64_t below(std::uint64_t n) noexcept { return next() % n; }

private:
    std::uint64_t state_;
};

/// The settings of TruncatedSampling.
struct SamplingOptions {
    float temperature = 1.0f;  ///< > 0; below 1 sharpens the distribution
    float top_p = 1.0f;        ///< in (0, 1]; the likeliest tokens that together have this probability remain
    std::uint64_t seed = 0;
};

/// A random token of the likeliest ones (temperature, then top-p): the same seed gives the same tokens.
/// Cost      vocabulary exponentials, and a heap of the candidates from which the kept ones are taken
/// Source    Holtzman et al. 2020, The curious case of neural text degeneration, section 3.1 (nucleus sampling)
class TruncatedSampling {
public:
    /// Throws    Error{contract} if an option is out of its range
    explicit TruncatedSampling(SamplingOptions options = {}) : options_(options), random_(options.seed) {
        FLASHBACK_ASSERT(options.temperature > 0 && std::isfinite(options.temperature),
                         "the temperature of sampling must be a number above 0, found ", options.temperature);
        FLASHBACK_ASSERT(options.top_p > 0 && options.top_p <= 1, "top-p must lie in (0, 1], found ", options.top_p);
    }

    /// Goes back to the seed.
    void reset() noexcept { random_ = SplitMix64{options_.seed}; }

    /// Throws    Error{logits} if a logit is NaN or +infinity, or if none is above -infinity
    TokenId operator()(std::span<const float> logits) {
        const float most = logits[static_cast<std::size_t>(Greedy{}(logits))];
        if (most == std::numeric_limits<float>::infinity()) FLASHBACK_THROW(ErrorCode::logits, "a logit is +infinity");

        candidates_.clear();
        candidates_.reserve(logits.size());
        double total = 0;
        for (std::size_t i = 0; i < logits.size(); ++i) {
            const double weight = std::exp((static_cast<double>(logits[i]) - most) / options_.temperature);
            if (weight == 0) continue;
            candidates_.push_back({weight, static_cast<TokenId>(i)});
            total += weight;
        }
        // The likeliest tokens come off a heap into the tail of the same array, so the kept ones stand at its end.
        std::ranges::make_heap(candidates_, less_likely);
        auto heap_end = candidates_.end();
        double kept = 0;
        do {
            std::ranges::pop_heap(candidates_.begin(), heap_end, less_likely);
            kept += (--heap_end)->weight;
        } while (heap_end != candidates_.begin() && kept < options_.top_p * total);

        double left = random_.uniform() * kept;
        for (auto it = candidates_.end(); it != heap_end;) {
            left -= (--it)->weight;
            if (left < 0) return it->token;
        }
        return heap_end->token;  // rounding left a remainder
    }

private:
    struct Candidate {
        double weight;
        TokenId token;
    };
    static constexpr auto less_likely = [](const Candidate& a, const Candidate& b) noexcept {
        return a.weight != b.weight ? a.weight < b.weight : a.token > b.token;
    };

    SamplingOptions options_;
    SplitMix64 random_;
    std::vector<Candidate> candidates_;
};

}  // namespace flashback::inline FLASHBACK_ISA
