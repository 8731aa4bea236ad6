/// \file A training example: tokens, and which of them are to be predicted.
#pragma once

#include "flashback/core/tokens.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// One sequence, which begins at position 0. The token at each target position is predicted from all tokens before it.
struct TrainingExample {
    TokenBuffer tokens;
    std::vector<std::uint32_t> targets;  ///< positions, ascending, from 1 to tokens.size() - 1
};

/// The last `count` tokens are the targets; if there are fewer, all but the first.
inline TrainingExample predict_last(TokenBuffer tokens, std::size_t count) {
    TrainingExample example;
    const std::size_t most = tokens.empty() ? 0 : tokens.size() - 1;
    example.targets.resize(std::min(count, most));
    std::iota(example.targets.begin(), example.targets.end(),
              static_cast<std::uint32_t>(tokens.size() - example.targets.size()));
    example.tokens = std::move(tokens);
    return example;
}

/// For pre-training: every token but the first is a target.
inline TrainingExample predict_all(TokenBuffer tokens) {
    const std::size_t count = tokens.size();
    return predict_last(std::move(tokens), count);
}

}  // namespace flashback::inline FLASHBACK_ISA
