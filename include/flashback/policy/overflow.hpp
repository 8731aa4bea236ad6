/// \file What happens when a context does not fit into the window of the model.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/policy/detail/optional_members.hpp"

#include <concepts>
#include <cstddef>

namespace flashback::inline FLASHBACK_ISA {

/// A context that is too long.
struct FullWindow {
    std::size_t window = 0;   ///< the most positions that the model can hold
    std::size_t wanted = 0;   ///< what the context needs: head, passages and text; more than `window`
    std::size_t context = 0;  ///< how much of it is text: the prompt and what was generated, less what was dropped before
};

/// Says how many of the oldest tokens of the text are dropped for good: `overflow(full)`, as std::size_t. If that is 0 or all
/// of them, the generation ends with StopReason::window_full, or with an error before its first token. What is left is
/// evaluated at its new positions, so it is as exact as any other context. Callable when const. The optional members are those
/// of a RetrievalSchedule.
template <class O>
concept Overflow = requires(const O& overflow, const FullWindow& full) {
    { overflow(full) } -> members::Count;
};

namespace detail {

template <class O>
concept FittingOverflow = Overflow<O> && FitsOptionally<O>;

/// Refuses, in words, what is no Overflow.
template <class O>
constexpr bool checked_overflow() {
    static_assert(Overflow<O>,
                  "flashback: an Overflow must be callable, when const, as overflow(const FullWindow&) and return the number "
                  "of tokens to drop, as std::size_t");
    if constexpr (Overflow<O>) checked_optional_members<O>();
    return true;
}

}  // namespace detail

/// Drops nothing: the generation ends.
struct StopWhenFull {
    constexpr std::size_t operator()(const FullWindow& /*full*/) const noexcept { return 0; }
};

/// Drops the oldest tokens of the text. The head stays, and so do the passages.
class DropOldest {
public:
    /// `keep` is how much of the room that head and passages leave is filled with the newest text. With 1, the window is full
    /// again at the next token, and everything is evaluated anew for each token.
    /// Throws    Error{contract} if `keep` does not lie in (0, 1]
    constexpr explicit DropOldest(double keep = 0.5) : keep_(keep) {
        FLASHBACK_ASSERT(keep > 0 && keep <= 1, "DropOldest keeps a part of the text in (0, 1], found ", keep);
    }

    constexpr std::size_t operator()(const FullWindow& full) const noexcept {
        const std::size_t fixed = full.wanted - full.context;
        if (fixed >= full.window) return 0;
        const auto rest = static_cast<std::size_t>(keep_ * static_cast<double>(full.window - fixed));
        return full.context - (rest > 0 ? rest : 1);
    }

private:
    double keep_;
};

}  // namespace flashback::inline FLASHBACK_ISA
