/// \file Dropout whose bits depend on where an element is and on nothing else.
#pragma once

#include "flashback/core/random.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace flashback::inline FLASHBACK_ISA::detail {

/// Sets elements to 0 with some probability and multiplies the others so that the expected value stays.
/// Source    Srivastava et al. 2014, Dropout, section 4; Hu et al. 2021, LoRA (where it is applied)
struct Dropout {
    static constexpr std::uint64_t whole = 1u << 16;

    std::uint64_t dropped = 0;  ///< of 2^16
    std::uint64_t key = 0;      ///< made of seed, step, example and module
    std::size_t first = 0;      ///< which row of the example row 0 is

    static Dropout of(float probability) noexcept {
        const auto dropped = static_cast<std::uint64_t>(static_cast<double>(probability) * static_cast<double>(whole) + 0.5);
        return {std::min(dropped, whole - 1), 0, 0};
    }
    bool active() const noexcept { return dropped > 0; }
    float factor() const noexcept {
        return static_cast<float>(static_cast<double>(whole) / static_cast<double>(whole - dropped));
    }

    /// y = x with elements dropped; for a key and a row always the same ones.
    /// Shape     x, y (n); they may be the same row
    /// Cost      64 random bits for four elements
    void apply(std::size_t row, const float* x, std::size_t n, float* y) const noexcept {
        // The numbers of SplitMix64{start}, each computed from its place alone, and their quarters: plain loops that compilers
        // vectorise.
        const std::uint64_t start = random_key(key, first + row);
        const float kept = factor();
        const auto limit = static_cast<std::uint16_t>(dropped);
        constexpr std::size_t together = 64;
        for (std::size_t i = 0; i < n; i += together) {
            std::uint64_t bits[together / 4];
            for (std::size_t j = 0; j < together / 4; ++j)
                bits[j] = SplitMix64{start + (i / 4 + j) * SplitMix64::increment}.next();
            const auto quarters = std::bit_cast<std::array<std::uint16_t, together>>(bits);
            const std::size_t count = std::min(together, n - i);
            if (count == together) {
                for (std::size_t j = 0; j < together; ++j) y[i + j] = quarters[j] < limit ? 0.0f : x[i + j] * kept;
            } else {
                for (std::size_t j = 0; j < count; ++j) y[i + j] = quarters[j] < limit ? 0.0f : x[i + j] * kept;
            }
        }
    }
};

}  // namespace flashback::inline FLASHBACK_ISA::detail
