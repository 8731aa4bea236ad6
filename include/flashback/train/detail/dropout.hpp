/// \file Dropout whose bits depend on where an element is and on nothing else.
#pragma once

#include "flashback/policy/random.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace flashback::inline FLASHBACK_ISA::detail {

/// A key that depends on all of some numbers and on their order.
template <class... Numbers>
constexpr std::uint64_t random_key(std::uint64_t seed, Numbers... numbers) noexcept {
    ((seed = SplitMix64{seed ^ static_cast<std::uint64_t>(numbers)}.next()), ...);
    return SplitMix64{seed}.next();
}

/// Sets elements to 0 with a probability and multiplies the others, so that the expectation stays.
/// Source    Srivastava et al. 2014, Dropout, section 4; Hu et al. 2021, LoRA (where it stands)
struct Dropout {
    static constexpr std::uint64_t whole = 1u << 16;

    std::uint64_t dropped = 0;  ///< of 2^16
    std::uint64_t key = 0;      ///< of seed, step, example and module

    static Dropout of(float probability) noexcept {
        const auto dropped = static_cast<std::uint64_t>(static_cast<double>(probability) * static_cast<double>(whole) + 0.5);
        return {std::min(dropped, whole - 1), 0};
    }
    bool active() const noexcept { return dropped > 0; }
    float factor() const noexcept {
        return static_cast<float>(static_cast<double>(whole) / static_cast<double>(whole - dropped));
    }

    /// y = x with elements dropped: always the same for a key and a row.
    /// Shape     x, y (n); they may be the same row
    /// Cost      64 random bits for four elements
    void apply(std::size_t row, const float* x, std::size_t n, float* y) const noexcept {
        SplitMix64 random{random_key(key, row)};
        const float kept = factor();
        for (std::size_t i = 0; i < n; i += 4) {
            const std::uint64_t bits = random.next();
            for (std::size_t j = 0; j < std::min<std::size_t>(4, n - i); ++j)
                y[i + j] = (bits >> (16 * j) & (whole - 1)) < dropped ? 0.0f : x[i + j] * kept;
        }
    }
};

}  // namespace flashback::inline FLASHBACK_ISA::detail
