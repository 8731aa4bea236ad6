/// \file Positions that leave the middle of a session.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/model/session.hpp"
#include "flashback/simd/elementwise.hpp"

#include <cmath>
#include <cstddef>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

template <class Cache>
void BasicSession<Cache>::evict(std::size_t first, std::size_t count) {
    FLASHBACK_ASSERT(can_evict(), "the positions of this model are learned: keys and values cannot move to others");
    FLASHBACK_ASSERT(first <= size() && count <= size() - first, "a session of ", size(), " tokens cannot forget ", count,
                     " of them from position ", first, " on");
    FLASHBACK_ASSERT(blocks().empty(), "a session that sees ", blocks().size(),
                     " passages beside its text cannot forget positions: cut it to plain_size() first");
    if (count == 0) return;
    const std::vector<double>& frequencies = model_->rotary_frequencies;
    std::vector<float> cosine;
    std::vector<float> sine;
    for (const double frequency : frequencies) {
        const double angle = -static_cast<double>(count) * frequency;
        cosine.push_back(static_cast<float>(std::cos(angle)));
        sine.push_back(static_cast<float>(std::sin(angle)));
    }
    cache_.evict({first, count}, [&](float* key) { simd::rotate_pairs(key, cosine.data(), sine.data(), frequencies.size()); });
    const auto begin = tokens_.begin() + static_cast<std::ptrdiff_t>(first);
    tokens_.erase(begin, begin + static_cast<std::ptrdiff_t>(count));
}

}  // namespace flashback::inline FLASHBACK_ISA
