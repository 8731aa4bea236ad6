/// \file The options of several passages: how they become one distribution.
#pragma once

#include "common.hpp"
#include "flashback/decoder/generation.hpp"
#include "flashback/policy/any_fusion.hpp"

#include <cstddef>
#include <string>
#include <vector>

namespace cli {

/// What --fusion can be told.
class FusionOption {
public:
    /// Adds --fusion, --alpha and --score-temperature; they make no sense without the option `needed` if there is one. `usual` says what
    /// --fusion is by default.
    void add(CLI::App& command, const std::string& usual, CLI::Option* needed = nullptr);

    /// Refuses options that contradict each other, fusions without passages, and branches if `one_text`, an option that was given, has no
    /// meaning there.
    /// Throws    CLI::ValidationError
    void check(const std::string& layout, const char* one_text = nullptr) const;

    /// The fusion that was asked for; by default all passages in one text, in one pair of markers if they are joined.
    flashback::AnyFusion fusion(bool joined) const;

    /// Whether each passage that stands in a text has markers of its own.
    bool each(bool joined) const { return name_.empty() ? !joined : name_ == "each"; }

    /// How many of so many passages stand in one text.
    std::size_t in_one_text(std::size_t passages) const;

    /// Adds to JSON what they say, and what branches took.
    void describe(bool joined, const std::vector<flashback::TokenCounts>& branches, Json& json) const;

private:
    std::string name(bool joined) const;

    std::string name_;
    double alpha_ = 0.5;
    double temperature_ = 1;
    CLI::Option* fusion_option_ = nullptr;
    CLI::Option* alpha_option_ = nullptr;
    CLI::Option* temperature_option_ = nullptr;
};

/// What branches took, as a line of a report; empty without branches.
std::string branches_line(const std::vector<flashback::TokenCounts>& branches);

}  // namespace cli
