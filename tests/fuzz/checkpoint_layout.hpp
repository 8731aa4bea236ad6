/// \file A small run whose checkpoints are fuzzed.
#pragma once

#include "flashback/train/detail/checkpoint_reader.hpp"

namespace flashback_test::inline FLASHBACK_ISA {

inline const flashback::RunDescription checkpoint_run{{"lr", "0.01"}, {"data", "00ff"}};

inline flashback::ParameterLayout checkpoint_layout() {
    flashback::ParameterLayout layout;
    layout.add("blk.0.attn_q.lora_a", 2, 3, flashback::Parameter::Order::panels, true);
    layout.add("markers", 2, 3, flashback::Parameter::Order::rows, false);
    return layout;
}

}  // namespace flashback_test::inline FLASHBACK_ISA
