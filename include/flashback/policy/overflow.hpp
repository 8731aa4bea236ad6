/// \file What happens when a context does not fit into the window of the model.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/policy/detail/optional_members.hpp"

#include <concepts>
#include <cstddef>
#include <type_traits>

namespace flashback::inline FLASHBACK_ISA {

/// A context that is too long.
struct FullWindow {
    std::size_t window = 0;    ///< the most positions that the model can hold
    std::size_t wanted = 0;    ///< what the context needs: head, passages and text; more than `window`
    std::size_t context = 0;   ///< how much of it is text: the prompt and what was generated, less what was dropped before
    std::size_t passages = 0;  ///< tokens of the passages in it, without what marks them; 0 if they stand beside the text
};

/// How the model gets rid of what an Overflow drops.
struct Rotation {
    /// Keys and values of what follows stay, and move to the positions that became free (RotatingModel): nothing of it is evaluated
    /// again. This is approximate: they are those of a text that saw what was dropped. Else what is left is evaluated at its new positions.
    bool moves = false;
    std::size_t sinks = 0;  ///< this many tokens at the start of the text stay; what is dropped stands after them

    constexpr bool operator==(const Rotation&) const = default;
};

/// Says how many of the oldest tokens of the text are dropped for good: `overflow(full)`, as std::size_t. If that is 0 or all
/// of them (but for the sinks, if there are some), the generation ends with StopReason::window_full, or with an error before its first
/// token. What is left is evaluated at its new positions, so it is as exact as any other context, unless `rotation()` says that it moves.
/// Callable when const.
///
/// Optional members, both const: `shorten(full)`, as std::size_t, says how many tokens the passages lose first, the longest of them token
/// by token; if that is 0, tokens of the text are dropped. `rotation()` gives a Rotation. The others are those of a RetrievalSchedule.
template <class O>
concept Overflow = requires(const O& overflow, const FullWindow& full) {
    { overflow(full) } -> members::Count;
};

namespace detail {

template <class O>
concept Shortens = requires(const O& overflow, const FullWindow& full) {
    { overflow.shorten(full) } -> members::Count;
};

template <class O>
concept Rotates = requires(const O& overflow) {
    { overflow.rotation() } -> std::same_as<Rotation>;
};

template <class O>
concept FittingOverflow = Overflow<O> &&
    (!members::NamesShorten<O> || Shortens<O>)&&(!members::NamesRotation<O> || Rotates<O>)&&FitsOptionally<O>;

/// Refuses, in words, what is no Overflow.
template <class O>
constexpr bool checked_overflow() {
    static_assert(Overflow<O>,
                  "flashback: an Overflow must be callable, when const, as overflow(const FullWindow&) and return the number "
                  "of tokens to drop, as std::size_t");
    static_assert(
        !members::NamesShorten<O> || Shortens<O>,
        "flashback: shorten of an Overflow must be const, callable as shorten(const FullWindow&), and return the number of "
        "tokens that passages lose, as std::size_t");
    static_assert(
        !members::NamesRotation<O> || Rotates<O>,
        "flashback: rotation() of an Overflow must be const and return Rotation: how the model gets rid of what is dropped");
    if constexpr (Overflow<O>) checked_optional_members<O>();
    return true;
}

}  // namespace detail

/// How many tokens of passages an overflow policy takes away.
template <class O>
constexpr std::size_t shorten_of(const O& overflow, const FullWindow& full) {
    if constexpr (detail::Shortens<O>) {
        return static_cast<std::size_t>(overflow.shorten(full));
    } else {
        return 0;
    }
}

/// How an overflow policy drops.
template <class O>
constexpr Rotation rotation_of(const O& overflow) {
    if constexpr (detail::Rotates<O>) {
        return overflow.rotation();
    } else {
        return {};
    }
}

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

/// Drops the oldest tokens of the text and keeps the keys and values of the rest, at new positions. Evaluated is what stands behind a
/// passage that the layout puts elsewhere, as at a retrieval, and the newest token. Approximate: what is kept saw what was dropped. For models with rotary positions only (RotatingModel).
/// Cost      when the window is full, a copy of the keys and values that stay
/// Source    "context shift" of llama.cpp, with its half of the text
class KeepAndRotate {
public:
    /// `keep` is as in DropOldest.
    /// Throws    Error{contract} if `keep` does not lie in (0, 1]
    constexpr explicit KeepAndRotate(double keep = 0.5) : drops_(keep) {}

    constexpr std::size_t operator()(const FullWindow& full) const noexcept { return drops_(full); }
    constexpr Rotation rotation() const noexcept { return {.moves = true}; }

private:
    DropOldest drops_;
};

/// Attention sinks and a rolling window: the head and the first tokens of the text stay, which attention leans on; of what follows, the
/// oldest tokens go, a few at a time, and the keys and values of the rest move to new positions. Approximate, as KeepAndRotate.
/// Cost      for each `step` tokens that are generated, a copy of the keys and values that stay
/// Source    Xiao et al. 2023, StreamingLLM (arXiv 2309.17453), with 4 sinks; it drops one token at each step
class AttentionSinks {
public:
    /// Throws    Error{contract} if `step` is 0
    constexpr explicit AttentionSinks(std::size_t sinks = 4, std::size_t step = 64) : sinks_(sinks), step_(step) {
        FLASHBACK_ASSERT(step > 0, "a rolling window drops at least 1 token at a time, found 0");
    }

    constexpr std::size_t operator()(const FullWindow& full) const noexcept {
        const std::size_t fixed = full.wanted - full.context;
        if (full.context <= sinks_ + 1 || full.window <= fixed + sinks_) return 0;
        const std::size_t least = full.wanted - full.window;
        const std::size_t most = full.context - sinks_ - 1;
        if (least > most) return 0;
        const std::size_t half = (full.window - fixed - sinks_) / 2;  // so that a window stays, whatever the step
        const std::size_t drop = least + (step_ - 1 < half ? step_ - 1 : half);
        return drop < most ? drop : most;
    }
    constexpr Rotation rotation() const noexcept { return {.moves = true, .sinks = sinks_}; }

private:
    std::size_t sinks_;
    std::size_t step_;
};

/// Cuts passages at their ends, the longest first, until the text fits, so that all of the text stays for longer; when each is down to a
/// token, all are taken away, and another policy goes on. Passages beside the text take no room in the window and stay.
template <class Then = StopWhenFull>
class ShortenPassages {
    static_assert(detail::checked_overflow<members::Unwrapped<Then>>());
    static_assert(!detail::Shortens<members::Unwrapped<Then>>,
                  "flashback: what follows ShortenPassages drops text: it has no passages left to shorten");

public:
    /// `room` is how many tokens more they lose than they must: so many can be generated before they are cut again, which costs a plan.
    constexpr explicit ShortenPassages(std::size_t room = 16, Then then = {}) : room_(room), then_(then) {}

    constexpr std::size_t shorten(const FullWindow& full) const noexcept {
        const std::size_t must = full.wanted - full.window;
        return full.passages < must + room_ ? full.passages : must + room_;
    }
    constexpr std::size_t operator()(const FullWindow& full) const {
        return static_cast<std::size_t>(members::unwrap(then_)(full));
    }
    constexpr Rotation rotation() const { return rotation_of(members::unwrap(then_)); }

    /// For the policies that hold this one: `Then` hears what they hear.
    constexpr void pass_on(detail::News& news, std::type_identity<ShortenPassages>) { news.tell(then_); }
    constexpr bool wants_surprisals() const { return detail::wants_surprisals(then_); }
    constexpr bool wants_attention() const { return detail::wants_attention(then_); }
    constexpr bool looks_at_evaluated() const { return detail::looks_at_evaluated(then_); }

private:
    std::size_t room_;
    Then then_;
};

}  // namespace flashback::inline FLASHBACK_ISA
