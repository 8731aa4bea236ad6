/// \file The members that a policy may have: calling them, and refusing those that do not fit or would never be called in their
/// slot.
#pragma once

#include "flashback/core/members.hpp"
#include "flashback/core/tokens.hpp"

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <memory>
#include <span>
#include <type_traits>
#include <vector>

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

template <class P>
concept SaysWhetherAttention = requires(const P& policy) {
    { policy.wants_attention() } -> std::same_as<bool>;
};

template <class P>
concept SaysWhetherEvaluated = requires(const P& policy) {
    { policy.looks_at_evaluated() } -> std::same_as<bool>;
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

/// Whether a policy asks for the surprisals of the generated tokens.
template <class P>
constexpr bool wants_surprisals(const P& policy) {
    if constexpr (SaysWhetherSurprisals<Unwrapped<P>>) {
        return unwrap(policy).wants_surprisals();
    } else {
        return false;
    }
}

/// Whether a policy asks for what the model read.
template <class P>
constexpr bool wants_attention(const P& policy) {
    if constexpr (SaysWhetherAttention<Unwrapped<P>>) {
        return unwrap(policy).wants_attention();
    } else {
        return false;
    }
}

/// Whether a policy looks at StepView::evaluated.
template <class P>
constexpr bool looks_at_evaluated(const P& policy) {
    if constexpr (SaysWhetherEvaluated<Unwrapped<P>>) {
        return unwrap(policy).looks_at_evaluated();
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

/// The start of a generation, or a rewind, on its way to all policies: calls `reset()` or `rewind(tokens)` of each that has it.
/// If several std::refs refer to one policy, that is told once.
class News {
public:
    static constexpr News start() { return News{true, 0}; }
    static constexpr News rewind(std::size_t tokens) { return News{false, tokens}; }

    /// Whether a generation starts: a policy that has a memory of its own and passes news on forgets it then.
    constexpr bool starts() const noexcept { return starts_; }

    /// Tells a policy, or what a std::reference_wrapper refers to. A policy that is made of others passes it on, by
    /// `pass_on(news, itself)`: the type shows that it is not the base of a policy with a `reset()` of its own.
    template <class P>
    constexpr void tell(P& policy) {
        using Policy = Unwrapped<P>;
        auto& told = unwrap(policy);
        if constexpr (!std::same_as<P, Policy>) {
            if (!is_first(referred(told))) return;
        }
        if constexpr (requires { told.pass_on(*this, std::type_identity<Policy>{}); }) {
            told.pass_on(*this, std::type_identity<Policy>{});
        } else if (starts_) {
            if constexpr (Resets<Policy>) told.reset();
        } else {
            if constexpr (Rewinds<Policy>) told.rewind(tokens_);
        }
    }

private:
    constexpr News(bool starts, std::size_t tokens) : starts_(starts), tokens_(tokens) {}

    /// Whether this one is told for the first time; it counts as told from now on.
    constexpr bool is_first(Referred one) {
        const std::span few{few_.data(), std::min(count_, few_.size())};
        if (std::ranges::find(few, one) != few.end() || std::ranges::find(more_, one) != more_.end()) return false;
        if (count_ < few_.size()) {
            few_[count_] = one;
        } else {
            more_.push_back(one);
        }
        ++count_;
        return true;
    }

    bool starts_;
    std::size_t tokens_;
    std::size_t count_ = 0;
    std::array<Referred, 16> few_{};  // allocates nothing
    std::vector<Referred> more_;
};

/// `markers()` of a policy, whatever it returns.
template <class P>
concept OffersMarkers = requires(P& policy) {
    policy.markers();
};

/// Which members a slot calls besides those that every slot calls.
enum class Calls { no_more, at_end, markers, both };

template <class P, Calls calls>
concept EndsAreHeard = !NamesAtEnd<P> || calls == Calls::at_end || calls == Calls::both;

template <class P, Calls calls>
concept MarkersAreHeard = !OffersMarkers<P> || calls == Calls::markers || calls == Calls::both;

/// Refuses, in words, optional members that would never be called, or not in the way that is meant.
template <class P, Calls calls = Calls::no_more>
constexpr bool checked_optional_members() {
    static_assert(
        EndsAreHeard<P, calls>,
        "flashback: at_end of a policy is called in the slot of the schedule, and never in this one: an object that fills "
        "several slots is a method, for Policies::method");
    static_assert(
        MarkersAreHeard<P, calls>,
        "flashback: markers() of a policy is called in the slot of the wrapper, and never in this one: an object that fills "
        "several slots is a method, for Policies::method");
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
        !NamesWantsSurprisal<P> && !NamesWantSurprisals<P>,
        "flashback: the optional member of a policy that asks for surprisals is written wants_surprisals(): this one would "
        "never be called");
    static_assert(!NamesWantsAttention<P> || SaysWhetherAttention<P>,
                  "flashback: wants_attention() of a policy must be const and return bool");
    static_assert(!NamesLooksAtEvaluated<P> || SaysWhetherEvaluated<P>,
                  "flashback: looks_at_evaluated() of a policy must be const and return bool");
    static_assert(
        !NamesCapitalReset<P> && !NamesCapitalRewind<P>,
        "flashback: the optional members of a policy are written reset() and rewind(tokens): Reset or Rewind would never be "
        "called");
    return true;
}

/// Whether nothing is spelled almost as an optional member.
template <class P>
concept SpelledRight = !NamesCapitalReset<P> && !NamesCapitalRewind<P> && !NamesWantsSurprisal<P> && !NamesWantSurprisals<P>;

/// Whether the optional members of a policy fit, and are called.
template <class P, Calls calls = Calls::no_more>
concept FitsOptionally = EndsAreHeard<P, calls> && MarkersAreHeard<P, calls> && SpelledRight<P> &&
    (!NamesReset<P> || Resets<P>)&&(!NamesRewind<P> || Rewinds<P>)&&(!NamesWantsSurprisals<P> || SaysWhetherSurprisals<P>)&&(
        !NamesWantsAttention<P> || SaysWhetherAttention<P>)&&(!NamesLooksAtEvaluated<P> || SaysWhetherEvaluated<P>);

}  // namespace flashback::inline FLASHBACK_ISA::detail
