/// \file What a decoder needs evaluated.
#pragma once

#include "flashback/core/tokens.hpp"
#include "flashback/fwd.hpp"

#include <span>

namespace flashback::inline FLASHBACK_ISA {

/// What a decoder needs evaluated: in its model, or in each branch of it if there are several. It fits
/// `Model::evaluate_each(models, tokens)`.
template <class Model>
struct Pass {
    std::span<Model* const> models;     ///< what is evaluated in one pass
    std::span<const TokenSpan> tokens;  ///< for each model, after what it holds
};

}  // namespace flashback::inline FLASHBACK_ISA
