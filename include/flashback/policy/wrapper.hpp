/// \file What stands around a passage.
#pragma once

#include "flashback/core/tokens.hpp"

#include <array>
#include <concepts>
#include <span>
#include <utility>

namespace flashback::inline FLASHBACK_ISA {

/// Writes one passage and what marks it: `wrapper(passage, out)` appends to `out`.
///
/// An optional `markers()` names the ids that the wrapper adds; they are masked before every sampling, so that no text can
/// contain them.
template <class W>
concept MarkerWrapper = requires(const W& wrapper, TokenSpan passage, TokenBuffer& out) {
    wrapper(passage, out);
};

namespace detail {

/// Refuses, in words, what is no MarkerWrapper.
template <class W>
constexpr bool checked_wrapper() {
    static_assert(MarkerWrapper<W>,
                  "flashback: a MarkerWrapper must be callable, when const, as wrapper(TokenSpan passage, TokenBuffer& out)");
    return true;
}

}  // namespace detail

/// The passage alone.
struct NoMarkers {
    void operator()(TokenSpan passage, TokenBuffer& out) const { append(out, passage); }
};

/// The passage between two marking tokens.
/// Source    FlashBack (arXiv 2405.04065), section 3.3, Marking Token
class MarkerTokens {
public:
    /// Takes the ids of the tokens in front of a passage and behind it.
    constexpr MarkerTokens(TokenId left, TokenId right) noexcept : markers_{left, right} {}

    constexpr TokenSpan markers() const noexcept { return markers_; }

    void operator()(TokenSpan passage, TokenBuffer& out) const {
        out.push_back(markers_[0]);
        append(out, passage);
        out.push_back(markers_[1]);
    }

private:
    std::array<TokenId, 2> markers_;
};

/// The passage between two texts: ordinary tokens, which no model has to be trained for and which a text may contain.
class MarkerText {
public:
    /// `left` and `right` are encoded texts, either of which may be empty: MarkerText{tokenizer.encode("["), tokenizer.encode("]")}.
    MarkerText(TokenBuffer left, TokenBuffer right) noexcept : left_(std::move(left)), right_(std::move(right)) {}

    void operator()(TokenSpan passage, TokenBuffer& out) const {
        append(out, left_);
        append(out, passage);
        append(out, right_);
    }

private:
    TokenBuffer left_;
    TokenBuffer right_;
};

/// The ids that a wrapper adds to passages.
template <MarkerWrapper W>
constexpr TokenSpan markers_of(const W& wrapper) {
    if constexpr (requires {
                      { wrapper.markers() } -> std::convertible_to<TokenSpan>;
                  }) {
        return wrapper.markers();
    } else {
        return {};
    }
}

}  // namespace flashback::inline FLASHBACK_ISA
