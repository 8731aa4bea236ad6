/// \file The language in which schedules and queries are written: names, numbers and brackets.
#pragma once

#include "flashback/core/error.hpp"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

/// A name with its number and with what stands in brackets behind it: `name`, `name:2.5`, `name(part,part)`; or a number alone.
struct TextNode {
    std::string_view name = {};  ///< empty for a number alone
    std::size_t at = 0;          ///< where it begins in the text
    bool has_number = false;
    double number = 0;
    std::size_t number_at = 0;
    std::string_view digits = {};  ///< of the number, as they are written
    std::vector<TextNode> parts = {};
};

/// What all refusals begin with: `the schedule 'TEXT' has FOUND at character N, expected ...`.
class TextError {
public:
    TextError(std::string_view kind, std::string_view text) : kind_(kind), text_(text) {}

    template <class... Parts>
    void refuse(std::size_t at, std::string_view found, const Parts&... expected) const {
        FLASHBACK_THROW(ErrorCode::contract, "the ", kind_, " '", printable(text_), "' has ",
                        found.empty() ? std::string{"its end"} : "'" + printable(found) + "'", " at character ", at + 1, ", ",
                        sentence(expected...));
    }
    std::string_view kind() const noexcept { return kind_; }
    std::string_view text() const noexcept { return text_; }

private:
    std::string_view kind_;  // "schedule" or "query"
    std::string_view text_;
};

/// Reads a text into nodes. Recursion and memory are bounded by the text's length and depth.
class TextReader {
public:
    static constexpr std::size_t most_characters = 4096;
    static constexpr std::size_t most_depth = 16;

    explicit TextReader(const TextError& error) : error_(error), text_(error.text()) {
        FLASHBACK_ASSERT(text_.size() <= most_characters, "a ", error.kind(), " is written in ", text_.size(),
                         " characters, expected at most ", most_characters);
    }

    TextNode read() {
        TextNode node = read_node(0);
        if (node.name.empty()) error_.refuse(node.at, node.digits, "expected a name");
        if (at_ < text_.size()) refuse_here("expected its end");
        return node;
    }

private:
    static bool is_digit(char c) { return c >= '0' && c <= '9'; }
    static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
    static bool is_mark(char c) { return c == ',' || c == ':' || c == '(' || c == ')'; }
    static bool is_name(char c) { return (c >= 'a' && c <= 'z') || c == '-' || is_digit(c); }

    void skip() {
        while (at_ < text_.size() && is_space(text_[at_])) ++at_;
    }
    char next() const { return at_ < text_.size() ? text_[at_] : '\0'; }
    bool take(char mark) {
        if (next() != mark) return false;
        ++at_;
        skip();
        return true;
    }

    /// All up to the next space or mark; at least one character, unless the text ends.
    std::string_view word() const {
        std::size_t end = at_;
        while (end < text_.size() && !is_space(text_[end]) && !is_mark(text_[end])) ++end;
        return text_.substr(at_, std::max<std::size_t>(end - at_, 1));
    }
    void refuse_here(std::string_view expected) const { error_.refuse(at_, at_ < text_.size() ? word() : "", expected); }

    TextNode read_node(std::size_t depth) {
        if (depth == 0) skip();
        TextNode node{.at = at_};
        if (is_digit(next())) {
            read_number(node);
            return node;
        }
        if (next() < 'a' || next() > 'z') refuse_here("expected a name");
        node.name = word();
        if (!std::ranges::all_of(node.name, is_name)) refuse_here("expected a name of a to z, 0 to 9 and -");
        at_ += node.name.size();
        skip();
        if (take(':')) {
            read_number(node);
        } else if (next() == '(') {
            if (depth + 1 == most_depth) refuse_here("expected brackets at most 15 deep");
            take('(');
            do node.parts.push_back(read_node(depth + 1));
            while (take(','));
            if (!take(')')) refuse_here("expected , or )");
        }
        return node;
    }

    void read_number(TextNode& node) {
        node.has_number = true;
        node.number_at = at_;
        node.digits = at_ < text_.size() ? word() : "";
        const char* const end = node.digits.data() + node.digits.size();
        const bool begins = is_digit(next());  // neither a sign nor "inf" nor "nan"
        if (const auto [rest, failed] = std::from_chars(node.digits.data(), end, node.number);
            !begins || failed != std::errc{} || rest != end) {
            refuse_here("expected a number of 0 or more");
        }
        at_ += node.digits.size();
        skip();
    }

    const TextError& error_;
    std::string_view text_;
    std::size_t at_ = 0;
};

}  // namespace flashback::inline FLASHBACK_ISA::detail
