/// \file How much of a KV cache is kept when the context changes.
#pragma once

#include "flashback/core/tokens.hpp"
#include "flashback/policy/detail/optional_members.hpp"

#include <concepts>
#include <cstddef>

namespace flashback::inline FLASHBACK_ISA {

/// Says how many positions of a cache are kept: `reuse(held, wanted)`, as std::size_t, at most `common_prefix(held, wanted)`.
/// Callable when const. The optional members are those of a RetrievalSchedule.
template <class R>
concept KVReuse = requires(const R& reuse, TokenSpan held, TokenSpan wanted) {
    { reuse(held, wanted) } -> members::Count;
};

namespace detail {

template <class R>
concept FittingReuse = KVReuse<R> && FitsOptionally<R>;

/// Refuses, in words, what is no KVReuse.
template <class R>
constexpr bool checked_reuse() {
    static_assert(
        KVReuse<R>,
        "flashback: a KVReuse must be callable, when const, as reuse(TokenSpan held, TokenSpan wanted) and return std::size_t");
    if constexpr (KVReuse<R>) checked_optional_members<R>();
    return true;
}

}  // namespace detail

/// Keeps all that is valid: keys and values at position i depend on the tokens 0..i alone.
struct KeepCommonPrefix {
    constexpr std::size_t operator()(TokenSpan held, TokenSpan wanted) const noexcept { return common_prefix(held, wanted); }
};

/// Keeps nothing, at every plan: the baseline to measure reuse against.
struct RecomputeAll {
    constexpr std::size_t operator()(TokenSpan /*held*/, TokenSpan /*wanted*/) const noexcept { return 0; }
};

}  // namespace flashback::inline FLASHBACK_ISA
