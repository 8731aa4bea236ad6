/// \file The model whose adapters are fuzzed.
#pragma once

#include "support/random_model.hpp"

namespace flashback_test::inline FLASHBACK_ISA {

inline std::shared_ptr<const flashback::Transformer> adapter_model() {
    return random_model({.layers = 1, .width = 32, .heads = 2, .kv_heads = 1, .head_dim = 4, .hidden = 32, .vocab = 5});
}

}  // namespace flashback_test::inline FLASHBACK_ISA
