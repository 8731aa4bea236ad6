#include "schedule_option.hpp"

#include "flashback/core/error.hpp"
#include "flashback/policy/parse_schedule.hpp"

#include <functional>
#include <initializer_list>

namespace cli {

namespace fb = flashback;

namespace {

fb::AnyMethod parsed(const std::string& schedule, const std::string& query, const fb::Tokenizer* tokenizer) {
    return fb::parse_method(schedule, query, [tokenizer](fb::TokenId token) {
        return tokenizer == nullptr ? std::string{} : tokenizer->decode(token);
    });
}

/// What is wrong with a schedule and a query; empty if nothing is.
std::string fault(const std::string& schedule, const std::string& query) {
    try {
        static_cast<void>(parsed(schedule, query, nullptr));
        return {};
    } catch (const fb::Error& error) {
        return error.what();
    }
}

}  // namespace

void ScheduleOption::add(CLI::App& command, CLI::Option* stride, CLI::Option* query_tokens) {
    query_tokens_option_ = query_tokens;
    schedule_option_ =
        command
            .add_option(
                "--schedule", schedule_,
                "When to retrieve: never, once, stride:N, sentence; when the model doubts: entropy:NATS, surprisal:NATS, "
                "margin:P, or by so many standard deviations entropy-z:Z, surprisal-z:Z, margin-z:Z; backoff:N, "
                "budget(EVALUATED,SCHEDULE); flare, dragin, etc, ircot; any(SCHEDULE,...), all(SCHEDULE,...), "
                "at-most(N,SCHEDULE). By default stride:16")
            ->type_name("SCHEDULE")
            ->excludes(stride);
    query_option_ =
        command
            .add_option("--query", query_,
                        "What to search for: last:N, sentence, masked or attention:N. By default the schedule's own "
                        "query, or last:32")
            ->type_name("QUERY")
            ->excludes(query_tokens);
}

void ScheduleOption::need(CLI::Option* option) {
    schedule_option_->needs(option);
    query_option_->needs(option);
}

void ScheduleOption::check(const std::string& layout) const {
    for (const CLI::Option* option : {schedule_option_, query_option_}) {
        if (option->count() > 0 && layout == "none")
            throw CLI::ValidationError(option->get_name() + " needs passages, found --layout none");
    }
    if (schedule_option_->count() > 0) {
        if (const std::string why = fault(schedule_, {}); !why.empty()) throw CLI::ValidationError("--schedule: " + why);
    }
    if (query_option_->count() > 0) {
        if (const std::string why = fault("never", query_); !why.empty()) throw CLI::ValidationError("--query: " + why);
    }
}

void ScheduleOption::check_honest() const {
    if (query_.starts_with("masked")) {
        throw CLI::ValidationError("--query " + query_ +
                                   ": found a query of a draft, which here is the text that is predicted, expected last:N, "
                                   "sentence, or attention:N with --schedule");
    }
    if (query_.starts_with("attention") && !given()) {
        throw CLI::ValidationError("--query " + query_ +
                                   " needs --schedule: without it nothing has been read when passages are found");
    }
    if (schedule_.find("ircot") != schedule_.npos) {
        throw CLI::ValidationError("--schedule " + schedule_ +
                                   ": ircot ends a text after some sentences, expected a schedule that reads all of it");
    }
}

fb::AnyMethod ScheduleOption::method(std::size_t stride, std::size_t query_tokens, const fb::Tokenizer& tokenizer) const {
    const bool own = given() && query_.empty() && query_tokens_option_->count() == 0;
    return parsed(schedule_text(stride), own ? std::string{} : query_text(query_tokens), &tokenizer);
}

fb::AnyMethod ScheduleOption::measured(std::size_t stride, std::size_t query_tokens, const fb::Tokenizer& tokenizer) const {
    return parsed(schedule_text(stride), query_text(query_tokens), &tokenizer);
}

fb::AnyQuery ScheduleOption::query(std::size_t query_tokens, const fb::Tokenizer& tokenizer) const {
    return fb::parse_query(query_text(query_tokens), [&tokenizer](fb::TokenId token) { return tokenizer.decode(token); });
}

std::string ScheduleOption::schedule_text(std::size_t stride) const {
    return given() ? schedule_ : "stride:" + std::to_string(stride);
}

std::string ScheduleOption::query_text(std::size_t query_tokens) const {
    return query_.empty() ? "last:" + std::to_string(query_tokens) : query_;
}

}  // namespace cli
