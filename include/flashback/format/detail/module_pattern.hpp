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

/// Compiles by recursive descent, straight into the pattern's program, whose jumps are relative: a part of it can be moved and
/// copied. Nothing is built apart and joined, which would take memory that grows with the square of the text.
class PatternParser {
public:
    explicit PatternParser(ModulePattern& pattern) : program_(pattern.program_), sets_(pattern.sets_), text_(pattern.text_) {}

    void parse() {
        if (text_.size() > most_text)
            refuse(ErrorCode::format, "has ", text_.size(), " characters, expected at most ", most_text);
        alternatives(0);
        if (at_ != text_.size()) refuse(ErrorCode::format, "closes a group that was not opened at character ", at_);
    }

private:
    using Instruction = ModulePattern::Instruction;
    using Set = std::bitset<256>;
    using Step = ModulePattern::Step;

    static constexpr std::size_t most_text = 4096;
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
    static std::int32_t distance(std::size_t steps) noexcept { return static_cast<std::int32_t>(steps); }

    /// Throws if that many more steps are too many: a short text must not repeat itself into a large program.
    void expect_room(std::size_t steps) const {
        const std::size_t most = std::min(most_steps, 64 + 8 * text_.size());
        if (steps > most - program_.size())
            refuse(ErrorCode::format, "is too large: more than ", most, " steps for ", text_.size(), " characters");
    }
    void add(Instruction next) {
        expect_room(1);
        program_.push_back(next);
    }
    void insert(std::size_t at, Instruction next) {
        expect_room(1);
        program_.insert(program_.begin() + static_cast<std::ptrdiff_t>(at), next);
    }

    void alternatives(std::size_t depth) {
        if (depth > most_depth) refuse(ErrorCode::format, "has groups in groups, more than ", most_depth, " deep");
        std::vector<std::size_t> jumps;  // those behind each alternative but the last, over the ones that follow
        for (;;) {
            const std::size_t start = program_.size();
            while (more() && text_[at_] != '|' && text_[at_] != ')') repeated(depth);
            if (!take('|')) break;
            insert(start, {Step::split, 0, 1, distance(program_.size() - start + 2)});
            jumps.push_back(program_.size());
            add({Step::jump});
        }
        for (const std::size_t jump : jumps) program_[jump].first = distance(program_.size() - jump);
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

    void repeated(std::size_t depth) {
        const std::size_t text_start = at_;
        const std::size_t start = program_.size();
        atom(depth);
        const auto counts = quantifier();
        if (!counts) return;
        if (take('+')) refuse(ErrorCode::unsupported, "has a possessive quantifier, which is not implemented");
        take('?');  // lazy: the same names match
        if (text_[text_start] == '^' || text_[text_start] == '$')
            refuse(ErrorCode::format, "repeats what has no length at character ", text_start);
        if (const std::size_t here = at_; quantifier() && at_ != here)
            refuse(ErrorCode::format, "repeats twice at character ", here);
        if (counts->most == without_end)
            without_limit(start, counts->least);
        else
            within_limits(start, *counts);
    }

    /// Makes of what stands at `start` at least `least` of it.
    void without_limit(std::size_t start, std::size_t least) {
        const std::size_t size = program_.size() - start;
        if (least == 0) {
            insert(start, {Step::split, 0, 1, distance(size + 2)});
            add({Step::jump, 0, -distance(size + 1)});
        } else {
            copy_last(size, least - 1);
            add({Step::split, 0, -distance(size), 1});
        }
    }

    /// Makes of what stands at `start` between `least` and `most` of it.
    void within_limits(std::size_t start, const Counts& counts) {
        const std::size_t size = program_.size() - start;
        if (counts.most == 0) {
            program_.resize(start);
            return;
        }
        const std::size_t optional = counts.most - counts.least;
        // The last copy of those that must be there becomes the first that may be there.
        if (counts.least > 0) copy_last(size, counts.least - 1 + (optional > 0 ? 1 : 0));
        if (optional == 0) return;
        insert(program_.size() - size, {Step::split, 0, 1, distance(size + 1)});
        copy_last(size + 1, optional - 1);
    }

    /// Writes the last `size` steps `times` times more.
    void copy_last(std::size_t size, std::size_t times) {
        if (size == 0 || times == 0) return;
        if (times > most_steps) refuse(ErrorCode::format, "repeats more than ", most_steps, " times");
        expect_room(size * times);
        const std::size_t from = program_.size() - size;
        program_.resize(program_.size() + size * times);
        for (std::size_t i = from + size; i < program_.size(); ++i) program_[i] = program_[i - size];
    }

    void atom(std::size_t depth) {
        const char c = text_[at_++];
        switch (c) {
            case '(': return group(depth);
            case '[': return one_of(bracket());
            case '.': return one_of(Set{}.set().reset('\n'));
            case '^': return add({Step::begin});
            case '$': return add({Step::end});
            case '\\': return escape();
            case '*':
            case '+':
            case '?': refuse(ErrorCode::format, "repeats nothing at character ", at_ - 1);
            default: return one_of(just(c));
        }
    }

    void group(std::size_t depth) {
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
        alternatives(depth + 1);
        if (!take(')')) refuse(ErrorCode::format, "opens a group that is not closed");
    }

    void escape() {
        if (!more()) refuse(ErrorCode::format, "ends in a backslash");
        switch (text_[at_]) {
            case 'A': ++at_; return add({Step::begin});
            case 'Z': ++at_; return add({Step::end});
            case 'b': ++at_; return add({Step::border});
            case 'B': ++at_; return add({Step::no_border});
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
            const char c = text_[at_++];
            Set next = single ? just(c) : more() ? escaped() : Set{};
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
    void one_of(const Set& set) {
        const auto found = std::ranges::find(sets_, set);
        const auto index = static_cast<std::uint16_t>(found - sets_.begin());
        if (found == sets_.end()) sets_.push_back(set);
        add({Step::set, index});
    }

    std::vector<Instruction>& program_;
    std::vector<Set>& sets_;
    std::string_view text_;
    std::size_t at_ = 0;
};

FLASHBACK_DETAIL_ONCE ModulePattern::ModulePattern(std::string text) : text_(std::move(text)) { PatternParser{*this}.parse(); }

FLASHBACK_DETAIL_ONCE bool ModulePattern::matches(std::string_view name) const { return run(name, false); }
FLASHBACK_DETAIL_ONCE bool ModulePattern::matches_end(std::string_view name) const { return run(name, true); }

FLASHBACK_DETAIL_ONCE bool ModulePattern::run(std::string_view name, bool at_every_dot) const {
    std::vector<std::uint16_t> now;                           // steps of type `set` that wait for a character
    std::vector<std::uint16_t> next;                          // the same one character later
    std::vector<std::uint16_t> open;                          // steps to be followed
    std::vector<std::uint32_t> seen(program_.size() + 1, 0);  // the position at which each step was met last, plus 1
    const auto is_word = [&](std::size_t i) {
        const char c = i < name.size() ? name[i] : ' ';
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
    };
    // Follows all steps that take no character. Tells whether the end of the program is reached.
    const auto follow = [&](std::size_t from, std::size_t position) {
        bool reached = false;
        open.assign(1, static_cast<std::uint16_t>(from));
        while (!open.empty()) {
            const std::size_t at = open.back();
            open.pop_back();
            const auto here = static_cast<std::uint32_t>(position + 1);
            if (seen[at] == here) continue;
            seen[at] = here;
            if (at == program_.size()) {
                reached = true;
                continue;
            }
            const Instruction& i = program_[at];
            const auto go = [&](std::int32_t by) {
                open.push_back(static_cast<std::uint16_t>(static_cast<std::int32_t>(at) + by));
            };
            const bool border = is_word(position) != (position > 0 && is_word(position - 1));
            switch (i.step) {
                case Step::set: next.push_back(static_cast<std::uint16_t>(at)); break;
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
