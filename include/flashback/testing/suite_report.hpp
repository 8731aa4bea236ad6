/// \file What a conformance suite found.
#pragma once

#include "flashback/core/config.hpp"

#include <algorithm>
#include <cstddef>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::testing {

/// How a check ended.
enum class CheckOutcome : unsigned char {
    passed,     ///< what was asked for was there
    failed,     ///< it was not; the sentence says what was found and what was expected
    not_asked,  ///< it could not be asked; the sentence says why
};

/// One check of a suite.
struct SuiteCheck {
    std::string name;                             ///< what was checked
    CheckOutcome outcome = CheckOutcome::passed;  ///< how it ended
    std::string sentence;                         ///< of a check that passed: what was compared, if anything is to be said
};

/// What a conformance suite found: one line for each check.
struct SuiteReport {
    std::string subject;             ///< what was checked, e.g. "language model"
    std::vector<SuiteCheck> checks;  ///< in the order in which they ran

    /// How many checks ended so.
    std::size_t count(CheckOutcome outcome) const noexcept {
        return static_cast<std::size_t>(std::ranges::count(checks, outcome, &SuiteCheck::outcome));
    }
    /// Whether no check failed.
    bool passed() const noexcept { return count(CheckOutcome::failed) == 0; }
    /// The check of that name, or null.
    const SuiteCheck* find(std::string_view name) const noexcept {
        const auto found = std::ranges::find(checks, name, &SuiteCheck::name);
        return found == checks.end() ? nullptr : &*found;
    }
    /// The whole report, a line for each check and one that counts them.
    std::string text() const {
        std::size_t width = 0;
        for (const SuiteCheck& check : checks) width = std::max(width, check.name.size());
        std::string all;
        for (const SuiteCheck& check : checks) {
            constexpr std::string_view words[] = {"passed     ", "FAILED     ", "not asked  "};
            all += words[static_cast<std::size_t>(check.outcome)];
            all += check.name;
            if (!check.sentence.empty()) {
                all.append(width - check.name.size() + 2, ' ');
                all += check.sentence;
            }
            all += '\n';
        }
        const std::size_t unasked = count(CheckOutcome::not_asked);
        all += subject + ": " + std::to_string(count(CheckOutcome::passed)) +
               (count(CheckOutcome::passed) == 1 ? " check passed, " : " checks passed, ") +
               std::to_string(count(CheckOutcome::failed)) + " failed, " + std::to_string(unasked) +
               (unasked == 1 ? " was not asked\n" : " were not asked\n");
        return all;
    }

    friend std::ostream& operator<<(std::ostream& out, const SuiteReport& report) { return out << report.text(); }
};

}  // namespace flashback::inline FLASHBACK_ISA::testing
