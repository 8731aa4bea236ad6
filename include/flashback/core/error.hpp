/// \file What goes wrong, and the two macros through which everything is reported.
#pragma once

#include "flashback/core/config.hpp"
#include "flashback/core/function_ref.hpp"

#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>

namespace flashback::inline FLASHBACK_ISA {

/// The kinds of error. The sentence of the error tells the details.
enum class ErrorCode {
    contract,     ///< a promise of the caller was broken: an id, a length or an order of calls
    io,           ///< a file could not be opened, read or written
    format,       ///< a file is not what it should be: damaged, cut short or of another kind
    unsupported,  ///< a file is well-formed but asks for something that is not implemented
    vocabulary,   ///< a vocabulary lacks what is needed or contradicts itself
    window,       ///< tokens do not fit into the model's window
    logits,       ///< logits that no token can be taken from: NaN, +infinity, or none above -infinity
    corpus,       ///< a collection of documents is empty or unreadable
    engine,       ///< a model failed, or does not hold what it was told to hold
};

/// The name of a kind of error, e.g. "format".
constexpr std::string_view to_string(ErrorCode code) noexcept {
    switch (code) {
        case ErrorCode::contract: return "contract";
        case ErrorCode::io: return "io";
        case ErrorCode::format: return "format";
        case ErrorCode::unsupported: return "unsupported";
        case ErrorCode::vocabulary: return "vocabulary";
        case ErrorCode::window: return "window";
        case ErrorCode::logits: return "logits";
        case ErrorCode::corpus: return "corpus";
        case ErrorCode::engine: return "engine";
    }
    return "unknown";
}

/// A kind of error and a sentence that names the thing, what was found and what was expected.
class Error : public std::runtime_error {
public:
    /// An error of this kind, with its sentence.
    Error(ErrorCode code, const std::string& sentence) : std::runtime_error(sentence), code_(code) {}

    /// What kind of error it is.
    ErrorCode code() const noexcept { return code_; }

private:
    ErrorCode code_;
};

/// Is called with an error instead of a throw. It may return; then what was asked for was not done.
using ErrorHandler = FunctionRef<void(ErrorCode code, std::string_view sentence)>;

/// A name from a file, made fit for a message: printable ASCII, and not long.
inline std::string printable(std::string_view text) {
    std::string out;
    for (const char c : text.substr(0, 80)) out += (c >= 32 && c < 127) ? c : '?';
    if (text.size() > 80) out += "...";
    return out;
}

namespace detail {

template <class Part>
void add_part(std::string& text, const Part& part) {
    if constexpr (std::is_arithmetic_v<Part> && !std::is_same_v<Part, char>) {
        text += std::to_string(part);
    } else {
        text += part;
    }
}

/// One sentence of texts and numbers.
template <class... Parts>
std::string sentence(const Parts&... parts) {
    std::string text;
    (add_part(text, parts), ...);
    return text;
}

/// What FLASHBACK_THROW does without exceptions: the sentence is the last thing that the program says.
[[noreturn]] inline void end_program(ErrorCode code, const std::string& text) noexcept {
    const std::string_view kind = to_string(code);
    static_cast<void>(std::fprintf(stderr, "flashback: %s (%.*s)\n", text.c_str(), static_cast<int>(kind.size()), kind.data()));
    std::abort();
}

}  // namespace detail
}  // namespace flashback::inline FLASHBACK_ISA

/// Reports an error: FLASHBACK_THROW(code, parts of the sentence...). Define it before the first include to report in
/// another way; it must not return. Without exceptions the default prints the sentence and ends the program. `plan_context` and
/// `Generator` also take an ErrorHandler, which may return.
#if !defined(FLASHBACK_THROW)
#if defined(__cpp_exceptions)
#define FLASHBACK_THROW(code, ...) throw ::flashback::Error((code), ::flashback::detail::sentence(__VA_ARGS__))
#else
#define FLASHBACK_THROW(code, ...) ::flashback::detail::end_program((code), ::flashback::detail::sentence(__VA_ARGS__))
#endif
#endif

/// Checks a promise of the caller: FLASHBACK_ASSERT(condition, parts of the sentence...). Throws Error{contract} unless
/// redefined.
#if !defined(FLASHBACK_ASSERT)
#define FLASHBACK_ASSERT(condition, ...)                                                  \
    do {                                                                                  \
        if (!(condition)) FLASHBACK_THROW(::flashback::ErrorCode::contract, __VA_ARGS__); \
    } while (false)
#endif

namespace flashback::inline FLASHBACK_ISA {

/// Tells the handler, if there is one; else throws.
template <class... Parts>
void report(ErrorHandler handler, ErrorCode code, const Parts&... parts) {
    if (!handler) FLASHBACK_THROW(code, parts...);
    handler(code, detail::sentence(parts...));
}

}  // namespace flashback::inline FLASHBACK_ISA
