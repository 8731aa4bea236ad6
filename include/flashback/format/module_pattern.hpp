/// \file Regular expressions over the names of modules, in time that is linear in the length of the name.
#pragma once

#include "flashback/core/error.hpp"

#include <bitset>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// A regular expression of Python's `re`, as PEFT's configurations have them. It only tells whether a name matches. So all
/// matches are followed at once, and no expression takes exponential time. Characters are bytes.
///
/// It knows literals, `.`, classes, `\d \w \s \D \W \S`, groups, `|`, `* + ? {m,n}` with or without a lazy `?`, `^ $ \A \Z \b
/// \B`. It refuses expressions that look around, refer back, are possessive or set flags.
/// Source    Thompson 1968, Regular expression search algorithm; Python, library reference, "re"
class ModulePattern {
public:
    /// Throws    Error{format} for text that is not a regular expression, or becomes a program of more than 4096 steps, or
    ///           of more than 8 for each character and 64 besides; Error{unsupported} for a construct that is not known
    /// Cost      memory that is linear in the length of the text
    ModulePattern(std::string text);  // NOLINT(google-explicit-constructor): a name is the usual pattern
    /// A pattern, from a literal.
    ModulePattern(const char* text) : ModulePattern(std::string{text}) {}  // NOLINT(google-explicit-constructor)

    /// The pattern as it was written.
    const std::string& text() const noexcept { return text_; }
    bool operator==(const ModulePattern& other) const noexcept { return text_ == other.text_; }

    /// Whether the whole name matches: `re.fullmatch(text, name)`.
    bool matches(std::string_view name) const;

    /// Whether the name, or its end after a dot, matches: `re.match(rf"(.*\.)?({text})$", name)`.
    bool matches_end(std::string_view name) const;

private:
    friend class PatternParser;

    enum class Step : std::uint8_t { set, split, jump, begin, end, border, no_border };
    /// A step goes on to the next one; `split` and `jump` go on at the distances that they name.
    struct Instruction {
        Step step;
        std::uint16_t set = 0;
        std::int32_t first = 0, second = 0;
    };

    bool run(std::string_view name, bool at_every_dot) const;

    std::string text_;
    std::vector<Instruction> program_;
    std::vector<std::bitset<256>> sets_;
};

}  // namespace flashback::inline FLASHBACK_ISA

#if !defined(FLASHBACK_COMPILED_ONCE)
#include "flashback/format/detail/module_pattern.hpp"
#endif
