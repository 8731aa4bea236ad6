/// \file Whether a type has a member of some name, whatever its kind. So a member that is there but does not fit is refused,
/// never ignored.
#pragma once

#include "flashback/core/config.hpp"

#include <concepts>
#include <cstddef>
#include <functional>
#include <ranges>
#include <type_traits>

namespace flashback::inline FLASHBACK_ISA {

namespace detail {

/// Becomes whatever a function wants.
struct Anything {
    template <class T>
    operator T() const;  // NOLINT(*-explicit-*): it is never called
};

}  // namespace detail

/// What concepts, and policies that are made of policies, ask of types.
namespace members {

/// Whether a pointer to member points to a number or an enumeration, which nobody means to call.
template <class Pointer>
inline constexpr bool points_to_number = false;
template <class T, class Number>
inline constexpr bool points_to_number<Number T::*> = std::is_arithmetic_v<Number> || std::is_enum_v<Number>;

/// Defines the concept `Names<Concept>`: the type has a member of that name, of any kind and signature, except a public number.
/// It is found like this: a class that derives from the type and from another owner of the name cannot say which of the two it
/// means. Nothing can derive from a final class or a union. These are asked for a public member that is not overloaded, or that
/// can be called with at most two arguments.
#define FLASHBACK_DETAIL_MEMBER(Concept, name)                                      \
    struct Owner##Concept {                                                         \
        int name;                                                                   \
    };                                                                              \
    template <class T>                                                              \
    struct Or##Concept : T, Owner##Concept {};                                      \
    template <class T>                                                              \
    constexpr bool names_##Concept() {                                              \
        if constexpr (!std::is_class_v<T> && !std::is_union_v<T>) {                 \
            return false;                                                           \
        } else if constexpr (requires { &T::name; }) {                              \
            return !points_to_number<std::remove_cv_t<decltype(&T::name)>>;         \
        } else if constexpr (std::is_final_v<T> || std::is_union_v<T>) {            \
            return requires(T & owner) { owner.name(); }                            \
            || requires(T & owner, detail::Anything any) { owner.name(any); }       \
            || requires(T & owner, detail::Anything any) { owner.name(any, any); }; \
        } else {                                                                    \
            return !requires { &Or##Concept<T>::name; };                            \
        }                                                                           \
    }                                                                               \
    template <class T>                                                              \
    concept Names##Concept = names_##Concept<std::remove_cv_t<T>>()

FLASHBACK_DETAIL_MEMBER(Reset, reset);
FLASHBACK_DETAIL_MEMBER(Beside, beside);
FLASHBACK_DETAIL_MEMBER(Rotation, rotation);
FLASHBACK_DETAIL_MEMBER(MovesText, moves_text);
FLASHBACK_DETAIL_MEMBER(Shorten, shorten);
FLASHBACK_DETAIL_MEMBER(CapitalReset, Reset);
FLASHBACK_DETAIL_MEMBER(Rewind, rewind);
FLASHBACK_DETAIL_MEMBER(CapitalRewind, Rewind);
FLASHBACK_DETAIL_MEMBER(Planned, planned);
FLASHBACK_DETAIL_MEMBER(WantsSurprisals, wants_surprisals);
FLASHBACK_DETAIL_MEMBER(WantsSurprisal, wants_surprisal);
FLASHBACK_DETAIL_MEMBER(WantSurprisals, want_surprisals);
FLASHBACK_DETAIL_MEMBER(WantsAttention, wants_attention);
FLASHBACK_DETAIL_MEMBER(LooksAtEvaluated, looks_at_evaluated);
FLASHBACK_DETAIL_MEMBER(Markers, markers);
FLASHBACK_DETAIL_MEMBER(AtEnd, at_end);

FLASHBACK_DETAIL_MEMBER(Window, window);
FLASHBACK_DETAIL_MEMBER(Head, head);
FLASHBACK_DETAIL_MEMBER(IsEnd, is_end);
FLASHBACK_DETAIL_MEMBER(Tokens, tokens);
FLASHBACK_DETAIL_MEMBER(Fingerprint, fingerprint);
FLASHBACK_DETAIL_MEMBER(Work, work);
FLASHBACK_DETAIL_MEMBER(Attention, attention);
FLASHBACK_DETAIL_MEMBER(Fork, fork);
FLASHBACK_DETAIL_MEMBER(EvaluateAll, evaluate_all);
FLASHBACK_DETAIL_MEMBER(EvaluateEach, evaluate_each);
FLASHBACK_DETAIL_MEMBER(Block, block);
FLASHBACK_DETAIL_MEMBER(See, see);
FLASHBACK_DETAIL_MEMBER(Evict, evict);

FLASHBACK_DETAIL_MEMBER(RetrieveBatch, retrieve_batch);
FLASHBACK_DETAIL_MEMBER(Prefetch, prefetch);
FLASHBACK_DETAIL_MEMBER(Ready, ready);
FLASHBACK_DETAIL_MEMBER(Speculate, speculate);
FLASHBACK_DETAIL_MEMBER(BeginBatch, begin_batch);
FLASHBACK_DETAIL_MEMBER(TakeBatch, take_batch);

FLASHBACK_DETAIL_MEMBER(EmbedQueries, embed_queries);

/// A result that views what lives on: an lvalue, or a range such as std::span that does not own its elements. A vector that is
/// returned by value is neither, and would be gone before it is read.
template <class Result>
concept Borrowed = std::is_lvalue_reference_v<Result> || std::ranges::borrowed_range<Result>;

/// A number of things: an unsigned integer. A signed one could be -1 and would be read as 2^64 - 1.
template <class Result>
concept Count = std::unsigned_integral<std::remove_cvref_t<Result>> && !std::same_as<std::remove_cvref_t<Result>, bool>;

/// A whole number of any type and sign, as other runtimes count: neither 0.5 nor true.
template <class Result>
concept Whole = std::convertible_to<Result, std::size_t> && !std::floating_point<std::remove_cvref_t<Result>> &&
                !std::same_as<std::remove_cvref_t<Result>, bool>;

/// What a value is, or what a std::reference_wrapper refers to.
template <class T>
using Unwrapped = std::remove_reference_t<std::unwrap_reference_t<T>>;

/// The value itself, or what a std::reference_wrapper refers to.
template <class T>
constexpr auto& unwrap(T& value) noexcept {
    return static_cast<std::conditional_t<std::is_const_v<T>, const Unwrapped<std::remove_const_t<T>>, Unwrapped<T>>&>(value);
}

}  // namespace members

namespace detail {

using namespace members;

}  // namespace detail

}  // namespace flashback::inline FLASHBACK_ISA
