/// \file When a text is long enough: stop strings.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/policy/detail/optional_members.hpp"
#include "flashback/policy/step_view.hpp"

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// Ends a generation: `stopping(step)` is asked after every token, which is then the newest, and gives a bool, of which true
/// stops. One that changes when it is called has a `reset()`. The optional members are those of a RetrievalSchedule.
template <class S>
concept StoppingCriterion = requires(S& stopping, const StepView& step) {
    { stopping(step) } -> std::same_as<bool>;
};

namespace detail {

template <class S>
concept StopsAfresh = StoppingCriterion<const S> || Resets<S>;

template <class S>
concept FittingStopping = StoppingCriterion<S> && StopsAfresh<S> && FitsOptionally<S>;

/// Text: exactly a char, or what a std::string_view is made of. A number would be appended as a character.
template <class T>
inline constexpr bool is_text = std::is_same_v<std::remove_cvref_t<T>, char> || std::is_convertible_v<T, std::string_view>;

template <class D>
concept GivesText = requires(Unwrapped<D>& detokenize, TokenId token) {
    requires is_text<decltype(detokenize(token))>;
};

/// Refuses, in words, what is no StoppingCriterion.
template <class S>
constexpr bool checked_stopping() {
    static_assert(StoppingCriterion<S>,
                  "flashback: a StoppingCriterion must be callable as stopping(const StepView&) and return bool");
    if constexpr (StoppingCriterion<S>) {
        static_assert(StopsAfresh<S>,
                      "flashback: a StoppingCriterion whose call is not const must have reset(), or a second generation "
                      "would start with what the first one left; if it keeps nothing, let its call be const");
        checked_optional_members<S>();
    }
    return true;
}

}  // namespace detail

/// Never ends a generation.
struct NeverStop {
    constexpr bool operator()(const StepView& /*step*/) const noexcept { return false; }
};

/// Ends a generation when its text contains one of several strings, however the text is cut into tokens. It keeps the text as
/// it grows, and takes back what a rewind takes back.
///
/// `Detokenize` is any callable that gives the text that a token adds: `[&](TokenId t) { return tokenizer.decode(t); }`.
template <class Detokenize>
class StopStrings {
    static_assert(detail::GivesText<Detokenize>,
                  "flashback: the detokenizer of StopStrings must be callable as detokenize(TokenId) and return text");

public:
    /// Throws    Error{contract} if a string is empty
    StopStrings(std::vector<std::string> strings, Detokenize detokenize)
        : strings_(std::move(strings)), detokenize_(std::move(detokenize)) {
        for (const std::string& string : strings_) {
            FLASHBACK_ASSERT(!string.empty(), "a stop string is empty, expected at least 1 character");
            longest_ = std::max(longest_, string.size());
        }
    }

    /// The text of the generated tokens, up to the stop string if one was found.
    const std::string& text() const noexcept { return text_; }

    /// How much of `text()` stays, whatever tokens follow: less than `text()` while its end may be the start of a stop string.
    std::size_t settled() const noexcept {
        std::size_t length = text_.size();
        if (found_) return length;
        for (const std::string& string : strings_) {
            for (std::size_t n = std::min(string.size() - 1, text_.size()); n > 0; --n) {
                if (std::string_view{text_}.ends_with(std::string_view{string}.substr(0, n))) {
                    length = std::min(length, text_.size() - n);
                    break;
                }
            }
        }
        return length;
    }

    /// Forgets the text: the start of a generation.
    void reset() noexcept {
        text_.clear();
        cut_.clear();
        ends_.clear();
        found_ = false;
    }

    /// Takes back the text of the newest n tokens.
    void rewind(std::size_t n) { keep(ends_.size() - std::min(n, ends_.size())); }

    /// Whether the text, with the newest token, contains a string. Tokens that are missing since the last call are taken back.
    /// Cost      one search of the new text for each string
    bool operator()(const StepView& step) {
        keep(std::min(ends_.size(), step.generated() - 1));
        const std::size_t from = text_.size() - std::min(text_.size(), longest_ == 0 ? 0 : longest_ - 1);
        text_ += detokenize_(step.last_token());
        ends_.push_back(text_.size());
        std::size_t first = text_.npos;
        for (const std::string& string : strings_) first = std::min(first, text_.find(string, from));
        found_ = first != text_.npos;
        if (found_) {
            cut_.assign(text_, first);
            text_.resize(first);
        }
        return found_;
    }

private:
    /// Keeps the text of the oldest tokens. A stop string in it no longer counts.
    void keep(std::size_t tokens) {
        text_ += cut_;
        cut_.clear();
        found_ = false;
        ends_.resize(tokens);
        text_.resize(ends_.empty() ? 0 : ends_.back());
    }

    std::vector<std::string> strings_;
    Detokenize detokenize_;
    std::size_t longest_ = 0;
    std::string text_;
    std::string cut_;                // the stop string and what came with it
    std::vector<std::size_t> ends_;  // of the text of each token
    bool found_ = false;
};

}  // namespace flashback::inline FLASHBACK_ISA
