/// \file A training example: tokens, and which of them are to be predicted.
#pragma once

#include "flashback/core/language_model.hpp"
#include "flashback/core/tokens.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// A passage beside the text of an example: the tokens from `begin` to `end`. They stand at the positions after the first `head`
/// tokens, and see these and the passage up to themselves. The tokens behind them stand where they would without the passage,
/// and see all in front of them, but of the passage only what stands at least `gap` positions in front of their own.
struct PassageRows {
    std::size_t head = 0;
    std::size_t begin = 0;
    std::size_t end = 0;  ///< `begin` if there is no passage
    std::size_t gap = default_block_gap;

    /// How many tokens the passage has.
    constexpr std::size_t size() const noexcept { return end - begin; }
    constexpr bool operator==(const PassageRows&) const = default;
};

/// Tokens of an example that stand one after the other. Each sees the run up to itself, the first `shared` tokens of the example,
/// and what stands at least `gap` positions in front of its own of the run `passage`.
struct TokenRun {
    static constexpr std::size_t no_passage = static_cast<std::size_t>(-1);  ///< in place of a number of a run

    std::size_t begin = 0;             ///< its first token
    std::size_t end = 0;               ///< the token behind it
    std::size_t position = 0;          ///< where its first token stands
    std::size_t shared = 0;            ///< how many tokens at the start of the example all of it sees
    std::size_t passage = no_passage;  ///< the number of a run that it sees
    std::size_t gap = 0;               ///< between what it sees of that run and itself

    /// How many tokens it has.
    constexpr std::size_t size() const noexcept { return end - begin; }
    /// Where one of its tokens stands.
    constexpr std::size_t position_of(std::size_t token) const noexcept { return position + (token - begin); }
    constexpr bool operator==(const TokenRun&) const = default;
};

/// One sequence, which begins at position 0; or a text with branches, if there are runs: they are all tokens, one run after the other.
/// Each target is predicted from the token before it, in the same run.
struct TrainingExample {
    TokenBuffer tokens;                  ///< text, passage and targets, in the order in which they are evaluated
    std::vector<std::uint32_t> targets;  ///< which tokens, ascending, from 1 to tokens.size() - 1
    PassageRows beside = {};             ///< all targets come behind the token after it
    std::vector<TokenRun> runs = {};     ///< if there are any, nothing is `beside`
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
