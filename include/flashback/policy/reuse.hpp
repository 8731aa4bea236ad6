/// \file How much of a KV cache is kept when the context changes.
#pragma once

#include "flashback/core/members.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/policy/detail/optional_members.hpp"

#include <concepts>
#include <cstddef>

namespace flashback::inline FLASHBACK_ISA {

/// Says how many positions of a cache are kept: `reuse(held, wanted)`, as std::size_t, at most `common_prefix(held, wanted)`.
/// Callable when const.
///
/// An optional const `moves_text()`, as bool, says whether text moves, too: what was written behind passages that leave keeps its keys and
/// values, at new positions (RotatingModel). This is approximate: they are those of a text that saw these passages. The other optional
/// members are those of a RetrievalSchedule.
template <class R>
concept KVReuse = requires(const R& reuse, TokenSpan held, TokenSpan wanted) {
    { reuse(held, wanted) } -> members::Count;
};

namespace detail {

template <class R>
concept SaysWhetherTextMoves = requires(const R& reuse) {
    { reuse.moves_text() } -> std::same_as<bool>;
};

template <class R>
concept FittingReuse = KVReuse<R> &&(!members::NamesMovesText<R> || SaysWhetherTextMoves<R>)&&FitsOptionally<R>;

/// Refuses, in words, what is no KVReuse.
template <class R>
constexpr bool checked_reuse() {
    static_assert(
        KVReuse<R>,
        "flashback: a KVReuse must be callable, when const, as reuse(TokenSpan held, TokenSpan wanted) and return std::size_t");
    static_assert(
        !members::NamesMovesText<R> || SaysWhetherTextMoves<R>,
        "flashback: moves_text() of a KVReuse must be const and return bool: whether what was written behind passages "
        "that leave keeps its keys and values");
    if constexpr (KVReuse<R>) checked_optional_members<R>();
    return true;
}

}  // namespace detail

/// Whether a reuse policy moves text.
template <class R>
constexpr bool moves_text_of(const R& reuse) {
    if constexpr (detail::SaysWhetherTextMoves<R>) {
        return reuse.moves_text();
    } else {
        return false;
    }
}

/// Keeps all that is valid: keys and values at position i depend on the tokens 0..i alone.
struct KeepCommonPrefix {
    constexpr std::size_t operator()(TokenSpan held, TokenSpan wanted) const noexcept { return common_prefix(held, wanted); }
};

/// Keeps all that is valid, and what was written behind passages when these leave: its keys are turned to the new positions, its values
/// stay. So a stride is evaluated once, and not again without the passages that it was written behind. Approximate: it keeps what it saw of
/// them. Where nothing stands behind a passage, in front of the text or beside it, it is KeepCommonPrefix; so it is in branches. For
/// models with rotary positions only (RotatingModel).
/// Cost      at a retrieval, a copy of the keys and values that move, in place of their evaluation
/// Source    ours; keys that are turned back: Xiao et al. 2023, StreamingLLM (arXiv 2309.17453), section 3.2
struct KeepAndMoveText {
    constexpr std::size_t operator()(TokenSpan held, TokenSpan wanted) const noexcept { return common_prefix(held, wanted); }
    constexpr bool moves_text() const noexcept { return true; }
};

/// Keeps nothing, at every plan: the baseline to measure reuse against.
struct RecomputeAll {
    constexpr std::size_t operator()(TokenSpan /*held*/, TokenSpan /*wanted*/) const noexcept { return 0; }
};

}  // namespace flashback::inline FLASHBACK_ISA
