/// \file Sums of attention over parts of the keys, and how they are added (rule R7).
#pragma once

#include "flashback/simd/detail/exp.hpp"
#include "flashback/simd/detail/lanes.hpp"

#include <algorithm>
#include <cstddef>
#include <limits>

namespace flashback::inline FLASHBACK_ISA::simd::detail {

/// A part ends at every multiple of so many positions of a span.
inline constexpr std::size_t part_positions = 512;

/// What a query has of one part.
struct PartSums {
    const float* out;  ///< (d): sum of e^(score - most) · value
    float most;        ///< the greatest score
    float total;       ///< sum of e^(score - most), at least 1 or NaN; 0 if it saw nothing
};

/// What a query has of the parts so far.
struct AttentionSums {
    float* out = nullptr;  ///< (d)
    float most = -std::numeric_limits<float>::infinity();
    float total = 0;

    /// out = out / total
    void divide(std::size_t d) const noexcept {
        const Lanes all = Lanes::all(total);
        for (std::size_t i = 0; i < d; i += panel_outputs)
            (Lanes::load_first(out + i, d - i) / all).store_first(out + i, d - i);
    }
};

/// Adds the next part to the sums of some queries, at most sixteen. A part in which a query saw nothing changes nothing: others
/// went over it with this query.
inline void add_parts(AttentionSums* sums, const PartSums* parts, std::size_t count, std::size_t d) noexcept {
    float before[panel_outputs] = {};
    float now[panel_outputs] = {};
    for (std::size_t a = 0; a < count; ++a) {
        const float most = std::max(sums[a].most, parts[a].most);
        before[a] = sums[a].most - most;
        now[a] = parts[a].most - most;
    }
    exp(Lanes::load(before)).store(before);
    exp(Lanes::load(now)).store(now);
    for (std::size_t a = 0; a < count; ++a) {
        AttentionSums& sum = sums[a];
        const PartSums& part = parts[a];
        if (part.total == 0) continue;
        if (sum.total == 0) {
            std::copy_n(part.out, d, sum.out);
            sum.most = part.most;
            sum.total = part.total;
            continue;
        }
        const Lanes factor = Lanes::all(before[a]);
        const Lanes part_factor = Lanes::all(now[a]);
        for (std::size_t i = 0; i < d; i += panel_outputs) {
            const Lanes added = Lanes::load_first(part.out + i, d - i) * part_factor;
            fma(Lanes::load_first(sum.out + i, d - i), factor, added).store_first(sum.out + i, d - i);
        }
        sum.total = fma(sum.total, before[a], rounded(part.total * now[a]));
        sum.most = std::max(sum.most, part.most);
    }
}

}  // namespace flashback::inline FLASHBACK_ISA::simd::detail
