/// \file The names of schedules and queries, their constants, and what is written with them.
#pragma once

#include "flashback/policy/detail/printed.hpp"
#include "flashback/policy/detail/schedule_text.hpp"
#include "flashback/policy/dragin.hpp"
#include "flashback/policy/entropy_trend.hpp"
#include "flashback/policy/flare.hpp"
#include "flashback/policy/ircot.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

/// A constant of a schedule or a query.
struct NamedNumber {
    std::string_view name;
    double standard;  ///< what it is if it is not written; less than 0: it must be written
    double least;
    double most;
    bool whole;

    std::string written(double value) const {
        return whole ? std::to_string(static_cast<std::int64_t>(value)) : printed(value);
    }
};

enum class Named : std::uint8_t {
    never,
    once,
    stride,
    entropy,
    surprisal,
    margin,
    entropy_z,
    surprisal_z,
    margin_z,
    backoff,
    sentence,
    flare,
    dragin,
    etc,
    ircot,
    self_rag,
    any,
    all,
    at_most,
    budget,
    last,
    last_sentence,
    masked,
    attention
};

struct NameEntry {
    std::string_view name;
    Named kind;
    bool needs_text;
    std::size_t least_parts;  ///< schedules in brackets
    std::size_t most_parts;
    std::span<const NamedNumber> numbers;
};

inline constexpr double most_tokens_named = 1e6;
inline constexpr double most_named = 1e6;
inline constexpr NamedNumber token_count(std::string_view name, double standard, double least = 1) {
    return {name, standard, least, most_tokens_named, true};
}
inline constexpr NamedNumber probability_named(std::string_view name, double standard) { return {name, standard, 0, 1, false}; }

inline constexpr NamedNumber stride_numbers[] = {token_count("tokens", 16)};
inline constexpr NamedNumber entropy_numbers[] = {{"threshold", 2, 0, most_named, false}, token_count("apart", 4)};
inline constexpr NamedNumber surprisal_numbers[] = {{"threshold", 4, 0, most_named, false}, token_count("apart", 4)};
inline constexpr NamedNumber margin_numbers[] = {probability_named("threshold", 0.1), token_count("apart", 4)};
inline constexpr NamedNumber z_numbers[] = {
    {"z", 2, 1e-6, most_named, false}, token_count("warm-up", 16), token_count("apart", 4)};
inline constexpr NamedNumber backoff_numbers[] = {token_count("stride", 16), token_count("most", 256)};
inline constexpr NamedNumber flare_numbers[] = {probability_named("theta", FlareOptions{}.threshold),
                                                probability_named("beta", FlareOptions{}.mask),
                                                token_count("look-ahead", double{FlareOptions{}.look_ahead})};
inline constexpr NamedNumber dragin_numbers[] = {{"theta", DraginOptions{}.threshold, 0, most_named, false},
                                                 token_count("words", double{DraginOptions{}.query_words}),
                                                 token_count("look-ahead", double{DraginOptions{}.look_ahead})};
inline constexpr NamedNumber etc_numbers[] = {{"alpha", EtcOptions{}.alpha, 1e-6, most_named, false},
                                              token_count("words", double{EtcOptions{}.query_words})};
inline constexpr NamedNumber ircot_numbers[] = {token_count("steps", double{IrCotOptions{}.steps})};
inline constexpr NamedNumber self_rag_numbers[] = {token_count("retrieve", -1, 0), token_count("no-retrieve", -1, 0),
                                                   probability_named("delta", 0.2)};
inline constexpr NamedNumber at_most_numbers[] = {token_count("retrievals", -1, 0)};
inline constexpr NamedNumber budget_numbers[] = {{"tokens", -1, 0, most_named, false}, token_count("look-ahead", 16)};
inline constexpr NamedNumber last_numbers[] = {token_count("tokens", 32)};
inline constexpr NamedNumber last_sentence_numbers[] = {token_count("tokens", 64)};
inline constexpr NamedNumber masked_numbers[] = {probability_named("beta", FlareOptions{}.mask)};
inline constexpr NamedNumber attention_numbers[] = {token_count("words", 25)};

inline constexpr std::size_t many_parts = 64;

inline constexpr NameEntry schedule_names[] = {
    {"never", Named::never, false, 0, 0, {}},
    {"once", Named::once, false, 0, 0, {}},
    {"stride", Named::stride, false, 0, 0, stride_numbers},
    {"entropy", Named::entropy, false, 0, 0, entropy_numbers},
    {"surprisal", Named::surprisal, false, 0, 0, surprisal_numbers},
    {"margin", Named::margin, false, 0, 0, margin_numbers},
    {"entropy-z", Named::entropy_z, false, 0, 0, z_numbers},
    {"surprisal-z", Named::surprisal_z, false, 0, 0, z_numbers},
    {"margin-z", Named::margin_z, false, 0, 0, z_numbers},
    {"backoff", Named::backoff, false, 0, 0, backoff_numbers},
    {"sentence", Named::sentence, true, 0, 0, {}},
    {"flare", Named::flare, true, 0, 0, flare_numbers},
    {"dragin", Named::dragin, true, 0, 0, dragin_numbers},
    {"etc", Named::etc, true, 0, 0, etc_numbers},
    {"ircot", Named::ircot, true, 0, 0, ircot_numbers},
    {"self-rag", Named::self_rag, true, 0, 0, self_rag_numbers},
    {"any", Named::any, false, 1, many_parts, {}},
    {"all", Named::all, false, 1, many_parts, {}},
    {"at-most", Named::at_most, false, 1, 1, at_most_numbers},
    {"budget", Named::budget, false, 1, 1, budget_numbers},
};
inline constexpr NameEntry query_names[] = {
    {"last", Named::last, false, 0, 0, last_numbers},
    {"sentence", Named::last_sentence, true, 0, 0, last_sentence_numbers},
    {"masked", Named::masked, false, 0, 0, masked_numbers},
    {"attention", Named::attention, true, 0, 0, attention_numbers},
};

/// A name that is known, with all its constants.
struct NamedPolicy {
    const NameEntry* entry = nullptr;
    std::array<double, 3> numbers{};
    std::vector<NamedPolicy> parts = {};

    std::size_t count(std::size_t i) const { return static_cast<std::size_t>(numbers[i]); }
};

/// Looks names up and checks numbers.
class NameReader {
public:
    NameReader(const TextError& error, std::span<const NameEntry> names, bool has_text)
        : error_(error), names_(names), has_text_(has_text) {}

    NamedPolicy look_up(const TextNode& node) const {
        NamedPolicy policy{.entry = entry_of(node)};
        const NameEntry& entry = *policy.entry;
        std::array<bool, 3> written{};
        for (std::size_t i = 0; i < entry.numbers.size(); ++i) policy.numbers[i] = entry.numbers[i].standard;
        if (node.has_number) set(policy, written, 0, node);
        for (const TextNode& part : node.parts) {
            const std::size_t number = part.name.empty() ? 0 : number_named(entry, part.name);
            if (part.name.empty() || number < entry.numbers.size()) {
                if (!part.has_number) error_.refuse(part.at, part.name, "expected : and a number behind it");
                set(policy, written, number, part);
            } else if (entry.most_parts > 0) {
                policy.parts.push_back(look_up(part));
            } else {
                error_.refuse(part.at, part.name, "expected ", constants_of(entry));
            }
        }
        for (std::size_t i = 0; i < entry.numbers.size(); ++i) {
            if (!written[i] && entry.numbers[i].standard < 0)
                error_.refuse(node.at, node.name, "expected it with a number: ", constants_of(entry));
        }
        if (policy.parts.size() < entry.least_parts || policy.parts.size() > entry.most_parts) {
            error_.refuse(node.at, node.name, "expected ", entry.most_parts == 1 ? "one schedule" : "1 to 64 schedules",
                          " in its brackets, found ", policy.parts.size());
        }
        return policy;
    }

private:
    static std::size_t number_named(const NameEntry& entry, std::string_view name) {
        std::size_t i = 0;
        while (i < entry.numbers.size() && entry.numbers[i].name != name) ++i;
        return i;
    }

    static std::string constants_of(const NameEntry& entry) {
        if (entry.numbers.empty()) return entry.most_parts == 0 ? "nothing in brackets" : "schedules";
        std::string names;
        for (const NamedNumber& number : entry.numbers) names += (names.empty() ? "" : ", ") + std::string{number.name};
        return (entry.numbers.size() == 1 ? "" : "some of ") + names;
    }

    const NameEntry* entry_of(const TextNode& node) const {
        for (const NameEntry& entry : names_) {
            if (entry.name != node.name) continue;
            if (entry.needs_text && !has_text_)
                error_.refuse(node.at, node.name, "which needs the text of tokens, expected a text_of that gives it");
            return &entry;
        }
        std::string all;
        for (const NameEntry& entry : names_) all += (all.empty() ? "" : ", ") + std::string{entry.name};
        error_.refuse(node.at, node.name, "expected one of ", all);
        return names_.data();
    }

    void set(NamedPolicy& policy, std::array<bool, 3>& written, std::size_t i, const TextNode& node) const {
        const NameEntry& entry = *policy.entry;
        if (entry.numbers.empty()) error_.refuse(node.number_at, node.digits, "expected no number for ", entry.name);
        const NamedNumber& number = entry.numbers[i];
        if (written[i]) error_.refuse(node.number_at, node.digits, "expected one ", number.name, " for ", entry.name);
        const bool whole = !number.whole || (node.number <= number.most &&
                                             node.number == static_cast<double>(static_cast<std::int64_t>(node.number)));
        if (!whole || node.number < number.least || node.number > number.most) {
            error_.refuse(node.number_at, node.digits, "expected ", number.name, " of ", entry.name, " to be a ",
                          number.whole ? "whole number" : "number", " from ", number.written(number.least), " to ",
                          number.written(number.most));
        }
        written[i] = true;
        policy.numbers[i] = node.number;
    }

    const TextError& error_;
    std::span<const NameEntry> names_;
    bool has_text_;
};

/// How a policy is written with all its constants: a single one as `name:1` or `name(1,...)`, several by their names.
inline void write(const NamedPolicy& policy, std::string& out) {
    const std::span<const NamedNumber> numbers = policy.entry->numbers;
    out += policy.entry->name;
    if (numbers.size() == 1 && policy.parts.empty()) {
        out += ":" + numbers[0].written(policy.numbers[0]);
        return;
    }
    if (numbers.empty() && policy.parts.empty()) return;
    char before = '(';
    for (std::size_t i = 0; i < numbers.size(); ++i) {
        out += before;
        if (numbers.size() > 1) (out += numbers[i].name) += ':';
        out += numbers[i].written(policy.numbers[i]);
        before = ',';
    }
    for (const NamedPolicy& part : policy.parts) {
        out += before;
        write(part, out);
        before = ',';
    }
    out += ')';
}

/// A text as what it names.
inline NamedPolicy read_policy(std::string_view kind, std::string_view text, std::span<const NameEntry> names, bool has_text) {
    const TextError error{kind, text};
    return NameReader{error, names, has_text}.look_up(TextReader{error}.read());
}

}  // namespace flashback::inline FLASHBACK_ISA::detail
