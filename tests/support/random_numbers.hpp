/// \file Random floats from -1 to 1.
#pragma once

#include "flashback/core/random.hpp"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace flashback_test::inline FLASHBACK_ISA {

inline std::vector<float> random_numbers(std::size_t count, std::uint64_t seed) {
    flashback::SplitMix64 random{seed};
    std::vector<float> x(count);
    for (float& value : x) value = static_cast<float>(2 * random.uniform() - 1);
    return x;
}

}  // namespace flashback_test::inline FLASHBACK_ISA
