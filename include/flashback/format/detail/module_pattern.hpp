/// \file How a pattern of module names is compiled and run.
#pragma once

#include "flashback/format/byte_reader.hpp"
#include "flashback/format/module_pattern.hpp"

#include <algorithm>
#include <charconv>
#include <limits>
#include <optional>
#include <system_error>

namespace flashback::inline FLASHBACK_ISA {

/// Compiles by recursive descent. An expression becomes a list of steps with relative jumps, so that it can be copied.
class PatternParser {
public:
    explicit PatternParser(ModulePattern& pattern) : pattern_(pattern), text_(pattern.text_) {}

    void parse() {
        if (text_.size() > most_steps)
            refuse(ErrorCode::format, "has ", text_.size(), " characters, expected at most ", most_steps);
        pattern_.program_ = alternatives(0);
        if (at_ != text_.size()) refuse(ErrorCode::format, "closes a group that was not opened at character ", at_);
    }

private:
    using Program = std::vector<ModulePattern::Instruction>;
    using Set = std::bitset<256>;
    using Step = ModulePattern::Step;

    static constexpr std::size_t most_steps = 4096;
    static constexpr std::size_t most_depth = 64;

    template <class... Parts>
    [[noreturn]] void refuse(ErrorCode code, const Parts&... parts) const {
        FLASHBACK_THROW(code, "the pattern '", printable(text_), "' ", parts...);
    }
    bool more() const noexcept { return at_ < text_.size(); }
    bool take(char c) noexcept {
        const bool found = more() && text_[at_] == c;
        if (found) ++at_;
        return found;
    }
    Program checked(Program program) const {
        if (program.size() > most_steps) refuse(ErrorCode::format, "is too large: more than ", most_steps, " steps");
        return program;
    }
    static std::int32_t distance(std::size_t steps) noexcept { return static_cast<std::int32_t>(steps); }

    static Program either(const Program& a, const Program& b) {
        Program both{{Step::split, 0, 1, distance(a.size() + 2)}};
        both.insert(both.end(), a.begin(), a.end());
        both.push_back({Step::jump, 0, distance(b.size() + 1)});
        both.insert(both.end(), b.begin(), b.end());
        return both;
    }

    Program alternatives(std::size_t depth) {
        if (depth > most_depth) refuse(ErrorCode::format, "has groups in groups, more than ", most_depth, " deep");
        Program program = sequence(depth);
        while (take('|')) program = checked(either(program, sequence(depth)));
        return program;
    }

    Program sequence(std::size_t depth) {
        Program program;
        while (more() && text_[at_] != '|' && text_[at_] != ')') {
            const Program next = repeated(depth);
            program.insert(program.end(), next.begin(), next.end());
            program = checked(std::move(program));
        }
        return program;
    }

    struct Counts {
        std::size_t least, most;
    };
    static constexpr std::size_t without_end = std::numeric_limits<std::size_t>::max();

    /// Reads what follows something that may be repeated.
    std::optional<Counts> quantifier() {
        if (take('*')) return Counts{0, without_end};
        if (take('+')) return Counts{1, without_end};
        if (take('?')) return Counts{0, 1};
        if (!more() || text_[at_] != '{') return {};
        const auto number = [&](std::size_t& from, std::size_t otherwise) {
            std::size_t value = otherwise;
            const auto [rest, error] = std::from_chars(text_.data() + from, text_.data() + text_.size(), value);
            if (error == std::errc::result_out_of_range) refuse(ErrorCode::format, "repeats more than ", most_steps, " times");
            from = static_cast<std::size_t>(rest - text_.data());
            return value;
        };
        std::size_t end = at_ + 1;
        const std::size_t least = number(end, 0);
        const bool one_number = end > at_ + 1;
        std::size_t most = least;
        if (end < text_.size() && text_[end] == ',')
            most = number(++end, without_end);
        else if (!one_number)
            return {};
        if (end >= text_.size() || text_[end] != '}') return {};  // then the brace is a character
        at_ = end + 1;
        if (most < least) refuse(ErrorCode::format, "repeats at least ", least, " and at most ", most, " times");
        return Counts{least, most};
    }

    Program repeated(std::size_t depth) {
        const std::size_t start = at_;
        const Program once = atom(depth);
        const auto counts = quantifier();
        if (!counts) return once;
        if (take('+')) refuse(ErrorCode::unsupported, "has a possessive quantifier, which is not implemented");
        take('?');  // lazy: the same names match
        if (text_[start] == '^' || text_[start] == '$')
            refuse(ErrorCode::format, "repeats what has no length at character ", start);
        if (const std::size_t here = at_; quantifier() && at_ != here)
            refuse(ErrorCode::format, "repeats twice at character ", here);
        const std::size_t copies = counts->most == without_end ? counts->least + 1 : counts->most;
        if (copies > most_steps || copies * (once.size() + 2) > most_steps)
            refuse(ErrorCode::format, "is too large: more than ", most_steps, " steps");
        Program program;
        for (std::size_t i = 0; i < counts->least; ++i) program.insert(program.end(), once.begin(), once.end());
        if (counts->most == without_end) {
            program.push_back({Step::split, 0, 1, distance(once.size() + 2)});
            program.insert(program.end(), once.begin(), once.end());
            program.push_back({Step::jump, 0, -distance(once.size() + 1)});
        } else {
            for (std::size_t i = counts->least; i < counts->most; ++i) {
                program.push_back({Step::split, 0, 1, distance(once.size() + 1)});
                program.insert(program.end(), once.begin(), once.end());
            }
        }
        return program;
    }

    Program atom(std::size_t depth) {
        const char c = text_[at_++];
        switch (c) {
            case '(': return group(depth);
            case '[': return one_of(bracket());
            case '.': return one_of(Set{}.set().reset('\n'));
            case '^': return {{Step::begin}};
            case '$': return {{Step::end}};
            case '\\': return escape();
            case '*':
            case '+':
            case '?': refuse(ErrorCode::format, "repeats nothing at character ", at_ - 1);
            default: return one_of(just(c));
        }
    }

    Program group(std::size_t depth) {
        if (take('?')) {
            const bool named = text_.substr(at_, 2) == "P<";
            if (named) {
                const std::size_t end = text_.find('>', at_);
                if (end == text_.npos) refuse(ErrorCode::format, "has a name of a group without end");
                at_ = end + 1;
            } else if (!take(':')) {
                refuse(ErrorCode::unsupported, "has a group of a kind that is not implemented at character ", at_);
            }
        }
        Program program = alternatives(depth + 1);
        if (!take(')')) refuse(ErrorCode::format, "opens a group that is not closed");
        return program;
    }

    Program escape() {
        if (!more()) refuse(ErrorCode::format, "ends in a backslash");
        switch (text_[at_]) {
            case 'A': ++at_; return {{Step::begin}};
            case 'Z': ++at_; return {{Step::end}};
            case 'b': ++at_; return {{Step::border}};
            case 'B': ++at_; return {{Step::no_border}};
            default: return one_of(escaped());
        }
    }

    /// The characters of an escape; `at_` is at the character after the backslash.
    Set escaped() {
        const char c = text_[at_++];
        const auto between = [](Set set, char first, char last) {
            for (auto i = static_cast<unsigned char>(first); i <= static_cast<unsigned char>(last); ++i) set.set(i);
            return set;
        };
        const Set digits = between({}, '0', '9');
        const Set word = between(between(between(digits, 'a', 'z'), 'A', 'Z'), '_', '_');
        const Set space = between(between({}, '\t', '\r'), ' ', ' ');
        switch (c) {
            case 'd': return digits;
            case 'D': return ~digits;
            case 'w': return word;
            case 'W': return ~word;
            case 's': return space;
            case 'S': return ~space;
            case 't': return just('\t');
            case 'n': return just('\n');
            case 'r': return just('\r');
            default: break;
        }
        if (word.test(static_cast<unsigned char>(c)) && c != '_')
            refuse(ErrorCode::unsupported, "has the escape \\", std::string(1, c), ", which is not implemented");
        return just(c);
    }

    /// A class; `at_` is after the bracket.
    Set bracket() {
        const bool others = take('^');
        Set set;
        for (bool first = true; first || !more() || text_[at_] != ']'; first = false) {
            if (!more()) refuse(ErrorCode::format, "has a class without end");
            const bool single = text_[at_] != '\\';
            Set next = single ? just(text_[at_++]) : (++at_, more() ? escaped() : Set{});
            if (at_ + 1 < text_.size() && text_[at_] == '-' && text_[at_ + 1] != ']' && next.count() == 1) {
                const auto low = static_cast<unsigned char>(text_[at_ - 1]);
                ++at_;
                if (text_[at_] == '\\' && ++at_ == text_.size()) refuse(ErrorCode::format, "ends in a backslash");
                const auto high = static_cast<unsigned char>(text_[at_++]);
                if (high < low) refuse(ErrorCode::format, "has a range of characters that ends before it begins");
                for (std::size_t i = low; i <= high; ++i) next.set(i);
            }
            set |= next;
        }
        ++at_;
        return others ? ~set : set;
    }

    static Set just(char c) { return Set{}.set(static_cast<unsigned char>(c)); }
    Program one_of(const Set& set) {
        std::vector<Set>& sets = pattern_.sets_;
        const auto found = std::ranges::find(sets, set);
        const auto index = static_cast<std::uint16_t>(found - sets.begin());
        if (found == sets.end()) sets.push_back(set);
        return {{Step::set, index}};
    }

    ModulePattern& pattern_;
    std::string_view text_;
    std::size_t at_ = 0;
};

FLASHBACK_DETAIL_ONCE ModulePattern::ModulePattern(std::string text) : text_(std::move(text)) { PatternParser{*this}.parse(); }

FLASHBACK_DETAIL_ONCE bool ModulePattern::matches(std::string_view name) const { return run(name, false); }
FLASHBACK_DETAIL_ONCE bool ModulePattern::matches_end(std::string_view name) const { return run(name, true); }

FLASHBACK_DETAIL_ONCE bool ModulePattern::run(std::string_view name, bool at_every_dot) const {
    std::vector<std::size_t> now;                           // steps of type `set` that wait for a character
    std::vector<std::size_t> next;                          // the same one character later
    std::vector<std::size_t> open;                          // steps to be followed
    std::vector<std::size_t> seen(program_.size() + 1, 0);  // the position at which each step was met last, plus 1
    const auto is_word = [&](std::size_t i) {
        const char c = i < name.size() ? name[i] : ' ';
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
    };
    // Follows all steps that take no character. Tells whether the end of the program is reached.
    const auto follow = [&](std::size_t from, std::size_t position) {
        bool reached = false;
        open.assign(1, from);
        while (!open.empty()) {
            const std::size_t at = open.back();
            open.pop_back();
            if (seen[at] == position + 1) continue;
            seen[at] = position + 1;
            if (at == program_.size()) {
                reached = true;
                continue;
            }
            const Instruction& i = program_[at];
            const auto go = [&](std::int32_t by) {
                open.push_back(static_cast<std::size_t>(static_cast<std::ptrdiff_t>(at) + by));
            };
            const bool border = is_word(position) != (position > 0 && is_word(position - 1));
            switch (i.step) {
                case Step::set: next.push_back(at); break;
                case Step::split: go(i.second); [[fallthrough]];
                case Step::jump: go(i.first); break;
                case Step::begin:
                    if (position == 0) go(1);
                    break;
                case Step::end:
                    if (position == name.size()) go(1);
                    break;
                case Step::border:
                    if (border) go(1);
                    break;
                case Step::no_border:
                    if (!border) go(1);
                    break;
            }
        }
        return reached;
    };
    bool reached = follow(0, 0);
    for (std::size_t position = 0; position < name.size(); ++position) {
        now.swap(next);
        next.clear();
        reached = false;
        for (const std::size_t at : now) {
            if (sets_[program_[at].set].test(static_cast<unsigned char>(name[position])))
                reached |= follow(at + 1, position + 1);
        }
        if (at_every_dot && name[position] == '.') reached |= follow(0, position + 1);
    }
    return reached;
}

}  // namespace flashback::inline FLASHBACK_ISA
