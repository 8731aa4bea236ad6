/// \file What a position of a model reads of the others.
#pragma once

#include "flashback/core/function_ref.hpp"

#include <cstddef>
#include <limits>
#include <span>

namespace flashback::inline FLASHBACK_ISA {

/// How much one position reads of each position that it sees, by each head. The weights of a head are its softmax: they sum to 1.
/// What the position sees stands in this order: the positions held, up to itself, and then those of the blocks beside them.
/// Shape     weights (heads, positions) row-major
struct AttentionWeights {
    std::span<const float> weights = {};  ///< valid until the model that gave them is used again
    std::size_t heads = 0;                ///< query heads of a layer

    /// How many positions are seen.
    constexpr std::size_t positions() const noexcept { return heads == 0 ? 0 : weights.size() / heads; }
    /// The weights of one head.
    /// Requires  i < heads
    constexpr std::span<const float> head(std::size_t i) const noexcept {
        return weights.subspan(i * positions(), positions());
    }
};

/// What the newest position of a model reads.
struct ModelAttention {
    std::size_t layers = 0;                                         ///< of the model; the last is layers - 1
    FunctionRef<AttentionWeights(std::size_t layer)> weights = {};  ///< of one layer; valid until the model evaluates again
};

/// What the model read when it gave the logits of a step.
struct StepAttention : ModelAttention {
    /// The place of a token that the model does not hold.
    static constexpr std::size_t nowhere = std::numeric_limits<std::size_t>::max();

    std::span<const std::size_t> places =
        {};  ///< the position at which each token of the context is held, or `nowhere`; the newest
             ///< was taken from these logits, and is held nowhere yet
};

}  // namespace flashback::inline FLASHBACK_ISA
