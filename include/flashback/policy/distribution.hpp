/// \file What logits mean as probabilities, in double. Softmax, sampling and margins use arithmetic that every library and
/// compiler rounds in the same way; surprisal and entropy also take one logarithm from the standard library.
#pragma once

#include "flashback/core/tokens.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

namespace flashback::inline FLASHBACK_ISA::detail {

/// The value, rounded: a compiler may not fuse the product that gave it with a sum.
inline double rounded(double value) noexcept {
#if defined(__GNUC__) && defined(__SSE2__)
    asm("" : "+x"(value));
#elif defined(__GNUC__) && defined(__aarch64__)
    asm("" : "+w"(value));
#endif
    return value;
}

}  // namespace flashback::inline FLASHBACK_ISA::detail

namespace flashback::inline FLASHBACK_ISA {

/// e^x for x <= 0, to within 2 units in the last place; 0 below -708, where the result is about to be subnormal. It is the same
/// with every standard library. std::exp is not, and a sampled token may depend on its last bit.
/// Requires  sums are rounded to double (FLT_EVAL_METHOD is 0); on 32-bit x86 this needs -msse2 -mfpmath=sse
/// Source    Cody and Waite 1980, Software manual for the elementary functions, chapter 6 (argument reduction)
inline double exp_of_negative(double x) noexcept {
    if (!(x >= -708)) return std::isnan(x) ? x : 0;
    constexpr double to_integer = 0x1.8p52;  // adding it leaves the rounded integer in the low bits of the fraction
    const double shifted = detail::rounded(x * 0x1.71547652b82fep0) + to_integer;
    const double n = shifted - to_integer;
    double r = x - detail::rounded(n * 0x1.62e42fee00000p-1);  // ln 2 in two parts; n times the first is exact
    r = r - detail::rounded(n * 0x1.a39ef35793c76p-33);
    double p = 1.0 / 6227020800;  // 1/13!: later terms of the series add nothing for |r| <= ln 2 / 2
    for (const double divisor :
         {479001600.0, 39916800.0, 3628800.0, 362880.0, 40320.0, 5040.0, 720.0, 120.0, 24.0, 6.0, 2.0, 1.0, 1.0}) {
        p = detail::rounded(p * r) + 1.0 / divisor;
    }
    const auto exponent = static_cast<std::int64_t>(std::bit_cast<std::uint64_t>(shifted) & 0xfffff) -
                          (std::bit_cast<std::uint64_t>(shifted) & 0x80000 ? 0x100000 : 0);
    return p * std::bit_cast<double>(static_cast<std::uint64_t>(exponent + 1023) << 52);
}

/// ln x for a finite x > 0, to within 2 units in the last place, and the same with every standard library, as exp_of_negative is.
/// Source    Cody and Waite 1980, chapter 5: ln x = e ln 2 + 2 artanh((m - 1) / (m + 1)) for x = m 2^e
inline double log_of_positive(double x) noexcept {
    int exponent = 0;
    double m = std::frexp(x, &exponent);
    if (m < 0x1.6a09e667f3bcdp-1) {  // 1 / sqrt 2
        m *= 2;
        --exponent;
    }
    const double s = (m - 1) / (m + 1);
    const double square = detail::rounded(s * s);
    double series = 1.0 / 23;  // later terms add nothing for |s| <= 0.172
    for (const double divisor : {21.0, 19.0, 17.0, 15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0}) {
        series = detail::rounded(series * square) + 1.0 / divisor;
    }
    const double small = 2 * s + detail::rounded(2 * s * detail::rounded(square * series));
    const double e = exponent;
    return detail::rounded(e * 0x1.62e42fee00000p-1) + (detail::rounded(e * 0x1.a39ef35793c76p-33) + small);
}

namespace detail {

struct SoftmaxTotal {
    double most;   ///< the greatest logit
    double total;  ///< sum of e^(logit - most)
};

/// What turns logits into probabilities: each is e^(logit - most) / total.
inline SoftmaxTotal softmax_total(std::span<const float> logits) noexcept {
    const double most = *std::ranges::max_element(logits);
    double total = 0;
    for (const float logit : logits) total += exp_of_negative(logit - most);
    return {most, total};
}

}  // namespace detail

/// The probabilities of all tokens: e^logit, divided by the sum over all of them. A masked token, whose logit is -infinity, has
/// probability 0.
/// Shape     logits, out (vocabulary)
/// Requires  at least one logit, the greatest a number; `out` is as long as `logits`
/// Cost      one exponential per logit
inline void softmax(std::span<const float> logits, std::span<double> out) noexcept {
    const auto [most, total] = detail::softmax_total(logits);
    for (std::size_t i = 0; i < logits.size(); ++i) out[i] = exp_of_negative(logits[i] - most) / total;
}

/// -ln of the probability of a token, in nats.
/// Requires  at least one logit, the greatest a number; the token has a logit
/// Cost      one exponential per logit
inline double surprisal(std::span<const float> logits, TokenId token) noexcept {
    const auto [most, total] = detail::softmax_total(logits);
    return most - static_cast<double>(logits[static_cast<std::size_t>(token)]) + std::log(total);
}

/// How many tokens are likelier than a token.
/// Requires  the token has a logit
/// Cost      one comparison per logit
inline std::size_t rank(std::span<const float> logits, TokenId token) noexcept {
    const float own = logits[static_cast<std::size_t>(token)];
    return static_cast<std::size_t>(std::ranges::count_if(logits, [own](float logit) { return logit > own; }));
}

/// The entropy of the distribution that logits mean, in nats: the mean surprisal of a token that is taken from it.
/// Requires  at least one logit, the greatest a number
/// Cost      one exponential per logit
inline double entropy(std::span<const float> logits) noexcept {
    const double most = *std::ranges::max_element(logits);
    double total = 0;
    double mean = 0;  // of logit - most, times total; a logit of -infinity has no part in it
    for (const float logit : logits) {
        const double weight = exp_of_negative(logit - most);
        total += weight;
        if (weight > 0) mean += detail::rounded(weight * (logit - most));
    }
    return std::max(0.0, std::log(total) - mean / total);
}

/// How far the likeliest token is ahead of the second, as a difference of probabilities.
/// Requires  at least one logit, the greatest a number
/// Cost      one exponential per logit
inline double margin(std::span<const float> logits) noexcept {
    double second = -std::numeric_limits<double>::infinity();
    double first = second;
    for (const double logit : logits) {
        second = std::max(second, std::min(first, logit));
        first = std::max(first, logit);
    }
    return (1 - exp_of_negative(second - first)) / detail::softmax_total(logits).total;
}

}  // namespace flashback::inline FLASHBACK_ISA
