/// \file What a forward pass works with.
#pragma once

#include "flashback/core/executor.hpp"
#include "flashback/model/packed_adapter.hpp"
#include "flashback/model/transformer.hpp"
#include "flashback/model/workspace.hpp"

namespace flashback::inline FLASHBACK_ISA {

/// A model and what evaluates it; all outlive the call.
/// Requires  the adapter fits the model, and `work` was made for the model and for the adapter's greatest rank
struct ForwardParts {
    const Transformer& model;   ///< whose weights are used
    Workspace& work;            ///< what is written to
    ExecutorRef executor = {};  ///< what divides the work
    AdapterUse adapter = {};    ///< what is added to the weights' products
};

}  // namespace flashback::inline FLASHBACK_ISA
