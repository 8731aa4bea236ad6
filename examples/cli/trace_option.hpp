/// \file Where a picture of reuse is written.
#pragma once

#include "files_of_command.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/measure/reuse_trace.hpp"
#include "flashback/text/tokenizer.hpp"

#include <CLI/CLI.hpp>

#include <string>
#include <utility>
#include <vector>

namespace cli {

/// Files for the record of a generation.
class TraceOption {
public:
    /// Adds --trace.
    void add(CLI::App& command);
    /// Names the files.
    void tell(FilesOfCommand& files) const;
    bool given() const noexcept { return !files_.empty(); }
    const std::vector<std::string>& files() const noexcept { return files_; }
    /// Writes them.
    /// Throws    Error{io}
    void write(const flashback::ReuseTrace& trace, const flashback::Tokenizer& tokenizer) const;

private:
    std::vector<std::string> files_;
};

/// Hands tokens on, and records if there is something to record with.
template <class OnToken>
class Recording {
public:
    Recording(flashback::ReuseTrace* trace, OnToken on_token) : trace_(trace), on_token_(std::move(on_token)) {}

    bool operator()(flashback::TokenId token) {
        if (trace_ != nullptr) (*trace_)(token);
        return on_token_(token);
    }
    void rewind(std::size_t tokens) {
        if (trace_ != nullptr) trace_->rewind(tokens);
    }
    void planned(const flashback::CarriedOutPlan& plan) {
        if (trace_ != nullptr) trace_->planned(plan);
    }

private:
    flashback::ReuseTrace* trace_;
    OnToken on_token_;
};

}  // namespace cli
