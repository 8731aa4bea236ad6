/// \file Which tokens are marking tokens, and whether they stand around passages.
#pragma once

#include "common.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/model/packed_adapter.hpp"
#include "flashback/policy/any_policy.hpp"
#include "flashback/text/tokenizer.hpp"

#include <CLI/CLI.hpp>

#include <cstddef>
#include <string>
#include <vector>

namespace cli {

/// What --markers and --marker-ids ask for.
struct MarkersOption {
    std::string choice = "auto";
    std::vector<flashback::TokenId> ids;  ///< left and right; empty: those that the vocabulary names
};

/// The marking tokens of a run.
struct Markers {
    std::vector<flashback::TokenId> ids;  ///< left and right, if the vocabulary has them: they have no probability
    bool around = false;                  ///< whether they stand around passages
};

/// Adds --marker-ids: the marking tokens by their numbers.
void add_marker_ids(CLI::App& command, std::vector<flashback::TokenId>& ids);

/// Adds --markers: whether marking tokens stand around passages.
CLI::Option* add_markers(CLI::App& command, std::string& choice);

/// The least number of tokens that has these.
std::size_t tokens_with(const std::vector<flashback::TokenId>& ids);

/// The marking tokens that a vocabulary names, as control tokens; they have no probability, because they are never sampled.
std::vector<flashback::TokenId> named_markers(const flashback::Tokenizer& tokenizer);

/// The marking tokens that were asked for: by number, else those that the vocabulary names. But if an adapter replaces the rows
/// of exactly two other tokens, and markers are not `off`, it is those two, in its order. `auto` is on if the adapter has rows
/// for both.
/// Throws    Error{vocabulary} for numbers that are neither in the vocabulary nor among the adapter's rows, and if markers are
///           wanted but there are none
Markers markers_of(const MarkersOption& asked, const flashback::Tokenizer& tokenizer,
                   const flashback::PackedAdapter* adapter = nullptr);

/// What stands around passages.
flashback::AnyWrapper wrapper_of(const Markers& markers);

}  // namespace cli
