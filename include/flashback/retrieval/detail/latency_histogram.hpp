/// \file How long things took, in a memory of fixed size.
#pragma once

#include "flashback/core/config.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>

namespace flashback::inline FLASHBACK_ISA::detail {

/// Counts durations in classes: one for each nanosecond below 32, then 16 for each power of two. One thread adds, any reads.
class LatencyHistogram {
public:
    static constexpr std::size_t classes = std::size_t{16} * 61;

    void add(std::chrono::nanoseconds duration) noexcept {
        const auto ns = static_cast<std::uint64_t>(std::max<std::int64_t>(duration.count(), 0));
        counts_[class_of(ns)].fetch_add(1, std::memory_order_relaxed);
        longest_.store(std::max(longest_.load(std::memory_order_relaxed), ns), std::memory_order_relaxed);
    }

    std::chrono::nanoseconds longest() const noexcept { return nanoseconds(longest_.load(std::memory_order_relaxed)); }

    /// The durations that the given parts of all do not exceed, at most a sixteenth too long; 0 if there are none.
    void quantiles(std::span<const double> parts, std::span<std::chrono::nanoseconds> out) const noexcept {
        std::array<std::uint64_t, classes> counts{};
        std::uint64_t all = 0;
        for (std::size_t c = 0; c < classes; ++c) all += counts[c] = counts_[c].load(std::memory_order_relaxed);
        for (std::size_t i = 0; i < parts.size(); ++i) {
            const auto rank = static_cast<std::uint64_t>(std::ceil(parts[i] * static_cast<double>(all)));
            std::uint64_t up_to_here = 0;
            std::size_t c = 0;
            while (c < classes && (up_to_here += counts[c]) < rank) ++c;
            out[i] = all == 0 ? nanoseconds(0) : std::min(nanoseconds(most_of(c)), longest());
        }
    }

private:
    static std::chrono::nanoseconds nanoseconds(std::uint64_t ns) noexcept {
        return std::chrono::nanoseconds{static_cast<std::int64_t>(ns)};
    }

    static std::size_t class_of(std::uint64_t ns) noexcept {
        const auto shift = static_cast<unsigned>(std::max(static_cast<int>(std::bit_width(ns)) - 5, 0));
        return 16 * std::size_t{shift} + static_cast<std::size_t>(ns >> shift);
    }

    static std::uint64_t most_of(std::size_t c) noexcept {
        const std::size_t shift = std::max<std::size_t>(c / 16, 1) - 1;
        return (((c - 16 * shift) + 1) << shift) - 1;
    }

    std::array<std::atomic<std::uint64_t>, classes> counts_{};
    std::atomic<std::uint64_t> longest_{0};
};

}  // namespace flashback::inline FLASHBACK_ISA::detail
