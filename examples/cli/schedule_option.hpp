/// \file The options of when to retrieve, and for what.
#pragma once

#include "common.hpp"
#include "flashback/policy/any_method.hpp"
#include "flashback/policy/any_policy.hpp"
#include "flashback/text/tokenizer.hpp"

#include <cstddef>
#include <string>

namespace cli {

/// What --schedule and --query can be told; without them, --stride and --query-tokens say it.
class ScheduleOption {
public:
    /// Adds --schedule and --query, which do not go with the options that say the same.
    void add(CLI::App& command, CLI::Option* stride, CLI::Option* query_tokens);
    /// They make no sense without another option.
    void need(CLI::Option* option);

    /// Refuses what cannot be understood, and both of them where nothing is retrieved.
    /// Throws    CLI::ValidationError
    void check(const std::string& layout) const;
    /// Refuses queries of a draft: where a text is measured, that is the text itself.
    /// Throws    CLI::ValidationError
    void check_honest() const;

    /// Whether there is a --schedule.
    bool given() const { return !schedule_.empty(); }
    /// Whether there is a --query.
    bool has_query() const { return !query_.empty(); }

    /// What was asked for, or a retrieval every `stride` tokens. The query is by default the schedule's own, or `query_tokens` tokens.
    flashback::AnyMethod method(std::size_t stride, std::size_t query_tokens, const flashback::Tokenizer& tokenizer) const;
    /// The same, but the query is by default `query_tokens` tokens, whatever the schedule says.
    flashback::AnyMethod measured(std::size_t stride, std::size_t query_tokens, const flashback::Tokenizer& tokenizer) const;
    /// The query of that.
    flashback::AnyQuery query(std::size_t query_tokens, const flashback::Tokenizer& tokenizer) const;

private:
    std::string schedule_text(std::size_t stride) const;
    std::string query_text(std::size_t query_tokens) const;

    std::string schedule_;
    std::string query_;
    const CLI::Option* query_tokens_option_ = nullptr;
    CLI::Option* schedule_option_ = nullptr;
    CLI::Option* query_option_ = nullptr;
};

}  // namespace cli
