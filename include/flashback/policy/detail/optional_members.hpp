/// \file The members that a policy of any slot may have: calling them, and refusing those that do not fit.
#pragma once

#include "flashback/core/members.hpp"
#include "flashback/core/tokens.hpp"

#include <concepts>
#include <cstddef>
#include <memory>
#include <type_traits>

namespace flashback::inline FLASHBACK_ISA::detail {

template <class P>
concept Resets = requires(P& policy) {
    policy.reset();
};

template <class P>
concept Rewinds = requires(P& policy, std::size_t tokens) {
    policy.rewind(tokens);
};

template <class P>
concept SaysWhetherSurprisals = requires(const P& policy) {
    { policy.wants_surprisals() } -> std::same_as<bool>;
};

/// A callable with one signature. It can be tried with other arguments without compiling its body.
template <class F>
concept OneSignature = std::is_pointer_v<F> || std::is_function_v<F> || requires {
    &F::operator();
};

/// A callable that takes its last argument, to which it should write, by value or const.
template <class F, class... Args>
concept WritesToACopy = OneSignature<F> && requires(const F& call, const Args&... args, const TokenBuffer& out) {
    call(args..., out);
};

/// What a callable that writes to an argument may return: no tokens, because nobody would read them.
template <class Result>
concept GivesNoTokens = std::is_lvalue_reference_v<Result> || !std::convertible_to<Result, TokenSpan>;

/// Calls `reset()` of a policy, or of what a std::reference_wrapper refers to, if it has that.
template <class P>
constexpr void reset_policy(P& policy) {
    if constexpr (Resets<Unwrapped<P>>) unwrap(policy).reset();
}

/// Tells a policy, if it wants to hear of it, that the newest tokens were taken back.
template <class P>
constexpr void rewind_policy(P& policy, std::size_t tokens) {
    if constexpr (Rewinds<Unwrapped<P>>) unwrap(policy).rewind(tokens);
}

/// Whether a policy asks for the surprisals of the generated tokens.
template <class P>
constexpr bool wants_surprisals(const P& policy) {
    if constexpr (SaysWhetherSurprisals<Unwrapped<P>>) {
        return unwrap(policy).wants_surprisals();
    } else {
        return false;
    }
}

/// Which object is referred to. The first member of an object is at the same address, but of another type.
struct Referred {
    const void* object = nullptr;
    const void* type = nullptr;
    constexpr bool operator==(const Referred&) const = default;
};
template <class T>
inline constexpr char type_tag = 0;
template <class T>
constexpr Referred referred(T& object) {
    if constexpr (std::is_function_v<T>) {
        return {};  // has no members to call
    } else {
        return {std::addressof(object), &type_tag<std::remove_const_t<T>>};
    }
}

/// Refuses, in words, optional members that would never be called, or not in the way that is meant.
template <class P>
constexpr bool checked_optional_members() {
    static_assert(
        !NamesReset<P> || Resets<P>,
        "flashback: reset of a policy is called as reset(), without arguments, at the start of each generation: this one "
        "cannot be");
    static_assert(
        !NamesRewind<P> || Rewinds<P>,
        "flashback: rewind of a policy is called as rewind(std::size_t tokens) when tokens are taken back: this one cannot be");
    static_assert(!NamesWantsSurprisals<P> || SaysWhetherSurprisals<P>,
                  "flashback: wants_surprisals() of a policy must be const and return bool");
    static_assert(
        !NamesCapitalReset<P> && !NamesCapitalRewind<P>,
        "flashback: the optional members of a policy are written reset() and rewind(tokens): Reset or Rewind would never be "
        "called");
    return true;
}

/// Whether the optional members of a policy fit.
template <class P>
concept FitsOptionally = (!NamesReset<P> || Resets<P>)&&(!NamesRewind<P> || Rewinds<P>)&&(
    !NamesWantsSurprisals<P> || SaysWhetherSurprisals<P>)&&(!NamesCapitalReset<P> && !NamesCapitalRewind<P>);

}  // namespace flashback::inline FLASHBACK_ISA::detail
