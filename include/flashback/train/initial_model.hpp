/// \file A model that knows nothing yet, as a start for pre-training.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/random.hpp"
#include "flashback/model/fingerprint.hpp"
#include "flashback/model/tensors.hpp"
#include "flashback/model/transformer.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <numbers>

namespace flashback::inline FLASHBACK_ISA {

/// How initial weights are drawn.
struct InitialOptions {
    double deviation = 0.02;  ///< of a normal distribution; divided by sqrt(2 layers) for what is added to the residual stream
    bool tied = true;         ///< the head is the embedding
    std::uint64_t seed = 0;   ///< of the random weights
};

/// A model of a shape with initial weights of f32. Norms are 1 and biases 0. It is the same for the same seed.
/// Throws    Error{contract} for an impossible shape
/// Source    Radford et al. 2019, Language models are unsupervised multitask learners, section 2.3 (the scale of residual
///           layers)
std::shared_ptr<Transformer> initial_transformer(const TransformerConfig& c, const InitialOptions& options = {});

}  // namespace flashback::inline FLASHBACK_ISA

#if !defined(FLASHBACK_COMPILED_ONCE)
#include "flashback/train/detail/initial_model.hpp"
#endif
