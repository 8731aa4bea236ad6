/// \file The parts of BM25's formula. Each is rounded once, so that scores do not depend on the compiler's options.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/retrieval/bm25_formula.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

/// Refuses k1 and b that are out of range.
inline void check_formula(const Bm25Formula& formula) {
    FLASHBACK_ASSERT(formula.k1 >= 0 && formula.k1 <= 1000, "k1 of BM25 must lie in [0, 1000], found ", formula.k1);
    FLASHBACK_ASSERT(formula.b >= 0 && formula.b <= 1, "b of BM25 must lie in [0, 1], found ", formula.b);
}

inline double average_length(std::uint64_t total, std::uint64_t passages) noexcept {
    return std::max(1.0, static_cast<double>(total)) / std::max(1.0, static_cast<double>(passages));
}

/// ln(1 + (N - n + 0.5) / (n + 0.5)): what a term is worth that n of N passages have.
inline double inverse_frequency(double passages, double having) noexcept {
    return std::log1p((passages - having + 0.5) / (having + 0.5));
}

/// k1 (1 - b + b length / average), for every length that there is.
class LengthNorms {
public:
    LengthNorms() = default;
    LengthNorms(const Bm25Formula& formula, double average, std::uint64_t most) : formula_(formula), average_(average) {
        table_.resize(static_cast<std::size_t>(std::min(most + 1, most_held)));
        for (std::size_t length = 0; length < table_.size(); ++length) table_[length] = of(static_cast<double>(length));
    }

    float operator[](std::uint32_t length) const noexcept {
        return length < table_.size() ? table_[length] : of(static_cast<double>(length));
    }

    /// The largest factor by which a norm of another formula is more than one of these, for lengths up to `most`.
    double excess_of(const Bm25Formula& other, double average, std::uint64_t most) const noexcept {
        double factor = 1;
        for (const double length : {0.0, static_cast<double>(most)}) {  // a quotient of two lines has its extremes at the ends
            const double mine = std::max(static_cast<double>(of(length)), 1e-9);
            factor = std::max(factor, static_cast<double>(norm_of(other, average, length)) / mine);
        }
        return factor;
    }

private:
    static constexpr std::uint64_t most_held = 1 << 16;

    static float norm_of(const Bm25Formula& formula, double average, double length) noexcept {
        return static_cast<float>(formula.k1 * std::fma(formula.b, length / average, 1 - formula.b));
    }
    float of(double length) const noexcept { return norm_of(formula_, average_, length); }

    Bm25Formula formula_;
    double average_ = 1;
    std::vector<float> table_;
};

}  // namespace flashback::inline FLASHBACK_ISA::detail
