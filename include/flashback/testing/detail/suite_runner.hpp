/// \file How the checks of a suite are run, and how they say what they found.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/testing/suite_report.hpp"

#include <algorithm>
#include <concepts>
#include <exception>
#include <initializer_list>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::testing::detail {

template <class Part>
void add_to_sentence(std::string& text, const Part& part) {
    if constexpr (std::integral<Part> && !std::same_as<Part, char>) {
        text += std::to_string(part);
    } else {
        text += part;
    }
}

template <class... Parts>
std::string words(const Parts&... parts) {
    std::string text;
    (add_to_sentence(text, parts), ...);
    return text;
}

/// What an operation threw.
struct Thrown {
    bool threw = false;
    bool is_error = false;  ///< a flashback::Error
    ErrorCode code = ErrorCode::contract;
    std::string sentence = {};

    std::string words() const {
        if (!threw) return "nothing was thrown";
        return detail::words(is_error ? "Error{" : "another exception (", is_error ? to_string(code) : std::string_view{},
                             is_error ? "} (" : "", sentence, ")");
    }
};

/// Does some work, and tells what it threw.
/// Requires  without exceptions: work that throws nothing
template <class Work>
Thrown thrown_by(Work&& work) {
    Thrown thrown;
#if defined(__cpp_exceptions)
    thrown.threw = true;
    try {
        work();
        thrown.threw = false;
    } catch (const Error& error) {
        thrown.is_error = true;
        thrown.code = error.code();
        thrown.sentence = error.what();
    } catch (const std::exception& error) {
        thrown.sentence = error.what();
    } catch (...) {
        thrown.sentence = "no std::exception";
    }
#else
    work();
#endif
    return thrown;
}

/// Whether a suite can provoke failures: without exceptions they end the program.
#if defined(__cpp_exceptions)
inline constexpr bool failures_return = true;
#else
inline constexpr bool failures_return = false;
#endif

/// A check that runs. The first thing that it finds wrong is what it says.
class RunningCheck {
public:
    explicit RunningCheck(SuiteCheck& check) : check_(&check) {}

    bool failed() const noexcept { return check_->outcome == CheckOutcome::failed; }

    /// Says what is wrong, unless something else was before; gives false.
    template <class... Parts>
    bool fail(const Parts&... parts) {
        if (failed()) return false;
        check_->outcome = CheckOutcome::failed;
        check_->sentence = words(parts...);
        return false;
    }
    /// Whether it holds; if not, the check fails with this sentence.
    template <class... Parts>
    bool expect(bool holds, const Parts&... parts) {
        return holds || fail(parts...);
    }
    /// What can be said of a check that has not failed.
    template <class... Parts>
    void note(const Parts&... parts) {
        if (!failed()) check_->sentence = words(parts...);
    }
    template <class... Parts>
    void not_asked(const Parts&... parts) {
        if (failed()) return;
        check_->outcome = CheckOutcome::not_asked;
        check_->sentence = words(parts...);
    }

private:
    SuiteCheck* check_;
};

/// Runs checks one after the other, and writes the report.
class SuiteRunner {
public:
    explicit SuiteRunner(std::string_view subject) { report_.subject = subject; }

    SuiteReport take() { return std::move(report_); }

    /// Runs a check, unless one that it builds upon has failed: then what it found would say nothing.
    template <class Work>
    void run(std::string_view name, std::initializer_list<std::string_view> upon, Work&& work) {
        SuiteCheck check{std::string{name}, CheckOutcome::passed, {}};
        RunningCheck running{check};
        for (const std::string_view other : upon) {
            if (std::ranges::find(broken_, other) == broken_.end()) continue;
            running.not_asked("it builds upon \"", other, "\", which ",
                              report_.find(other)->outcome == CheckOutcome::failed ? "failed" : "was not asked");
            broken_.emplace_back(name);
            report_.checks.push_back(std::move(check));
            return;
        }
        const Thrown thrown = thrown_by([&] { work(running); });
        if (thrown.threw) running.fail("nothing should be thrown here, but there was ", thrown.words());
        if (running.failed()) broken_.emplace_back(name);
        report_.checks.push_back(std::move(check));
    }

    /// Says that a check is not asked, and why.
    void skip(std::string_view name, std::string_view why) {
        report_.checks.push_back({std::string{name}, CheckOutcome::not_asked, std::string{why}});
    }

private:
    SuiteReport report_;
    std::vector<std::string> broken_;  // checks that failed, or build upon such
};

}  // namespace flashback::inline FLASHBACK_ISA::testing::detail
