/// \file What stands around a passage.
#pragma once

#include "flashback/core/retriever.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/policy/detail/optional_members.hpp"

#include <array>
#include <concepts>
#include <cstddef>
#include <span>
#include <utility>

namespace flashback::inline FLASHBACK_ISA {

namespace detail {

template <class W>
concept WrapsTokens = requires(const W& wrapper, TokenSpan passage, TokenBuffer& out) {
    { wrapper(passage, out) } -> GivesNoTokens;
    requires !WritesToACopy<W, TokenSpan>;
};

template <class W>
concept TakesPassages = requires(const W& wrapper, const Passage& passage, std::size_t rank, TokenBuffer& out) {
    wrapper(passage, rank, out);
};

template <class W>
concept WrapsPassages = requires(const W& wrapper, const Passage& passage, std::size_t rank, TokenBuffer& out) {
    { wrapper(passage, rank, out) } -> GivesNoTokens;
    requires !WritesToACopy<W, Passage, std::size_t>;
};

}  // namespace detail

/// Writes one passage and what marks it to the end of `out`: `wrapper(tokens, out)`. If its title, its score or its place in
/// the answer matter, it is `wrapper(passage, rank, out)`; the best passage has rank 0. Callable when const.
///
/// An optional const `markers()` gives the ids that the wrapper adds, as a view of what it owns. They are masked before every
/// sampling, so that no text can contain them. In another slot `markers()` is refused. The other optional members are those of a
/// RetrievalSchedule.
template <class W>
concept MarkerWrapper = detail::WrapsPassages<W> ||(detail::WrapsTokens<W> && !detail::TakesPassages<W>);

namespace detail {

template <class W>
concept NamesItsMarkers = requires(const W& wrapper) {
    { wrapper.markers() } -> std::convertible_to<TokenSpan>;
    { wrapper.markers() } -> Borrowed;
};

template <class W>
concept FittingWrapper = MarkerWrapper<W> &&(!NamesMarkers<W> || NamesItsMarkers<W>)&&FitsOptionally<W, Calls::markers>;

/// Refuses, in words, what is no MarkerWrapper.
template <class W>
constexpr bool checked_wrapper() {
    static_assert(MarkerWrapper<W>,
                  "flashback: a MarkerWrapper must be callable, when const, as wrapper(TokenSpan passage, TokenBuffer& out) or "
                  "wrapper(const Passage&, std::size_t rank, TokenBuffer& out), and return nothing");
    if constexpr (MarkerWrapper<W>) {
        static_assert(
            !NamesMarkers<W> || NamesItsMarkers<W>,
            "flashback: markers() of a MarkerWrapper must be const and return a TokenSpan of ids that live on in the wrapper");
        checked_optional_members<W, Calls::markers>();
    }
    return true;
}

}  // namespace detail

/// Writes a passage by a wrapper of either form.
template <MarkerWrapper W>
constexpr void wrap(const W& wrapper, const Passage& passage, std::size_t rank, TokenBuffer& out) {
    if constexpr (detail::WrapsPassages<W>) {
        wrapper(passage, rank, out);
    } else {
        wrapper(passage.tokens, out);
    }
}

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

/// The passage between two texts. These are ordinary tokens: no model has to be trained for them, and a text may contain them.
class MarkerText {
public:
    /// `left` and `right` are encoded texts, and may be empty: MarkerText{tokenizer.encode("["), tokenizer.encode("]")}.
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
    if constexpr (detail::NamesItsMarkers<W>) {
        return wrapper.markers();
    } else {
        return {};
    }
}

}  // namespace flashback::inline FLASHBACK_ISA
