/// \file The order in which training reads its examples.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/random.hpp"

#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// Passes over a number of things, each pass in a new random order. The order depends only on the seed and the number of the
/// pass. So a run that stopped and goes on reads the same as one that never stopped.
/// Source    Fisher and Yates 1938, Durstenfeld 1964, for each order
class ShuffledPasses {
public:
    /// Throws    Error{contract} if there is nothing to order
    ShuffledPasses(std::size_t count, std::uint64_t seed) : order_(count), seed_(seed) {
        FLASHBACK_ASSERT(count > 0, "passes over nothing, expected at least 1 thing to shuffle");
    }

    /// Which thing comes at a place, counted from 0 over all passes.
    /// Cost      a shuffle if the pass differs from that of the last call
    std::size_t operator[](std::uint64_t place) {
        const std::uint64_t pass = place / order_.size();
        if (pass != pass_) {
            std::iota(order_.begin(), order_.end(), std::size_t{0});
            SplitMix64 random{random_key(seed_, 3, pass)};
            for (std::size_t i = order_.size(); i > 1; --i)
                std::swap(order_[i - 1], order_[static_cast<std::size_t>(random.below(i))]);
            pass_ = pass;
        }
        return order_[static_cast<std::size_t>(place % order_.size())];
    }

private:
    std::vector<std::size_t> order_;
    std::uint64_t seed_;
    std::uint64_t pass_ = std::numeric_limits<std::uint64_t>::max();  ///< the pass that `order_` belongs to
};

}  // namespace flashback::inline FLASHBACK_ISA
