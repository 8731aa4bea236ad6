/// \file What tokens are handed to.
#pragma once

#include "flashback/core/members.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/decoder/carried_out_plan.hpp"

#include <concepts>
#include <cstddef>
#include <type_traits>

namespace flashback::inline FLASHBACK_ISA::detail {

/// Whether what is handed the tokens wants to hear which are taken back.
template <class OnToken>
concept HearsRewinds = requires(OnToken& on_token, std::size_t tokens) {
    on_token.rewind(tokens);
};

/// Whether it wants to hear what was reused and evaluated.
template <class OnToken>
concept HearsPlans = requires(OnToken& on_token, const CarriedOutPlan& plan) {
    on_token.planned(plan);
};

/// Refuses, in words, what tokens cannot be handed to.
template <class OnToken>
constexpr bool checked_on_token() {
    using Result = std::invoke_result_t<OnToken&, TokenId>;
    static_assert(std::same_as<std::remove_cvref_t<Result>, bool> || !std::is_scalar_v<std::remove_cvref_t<Result>>,
                  "flashback: on_token(TokenId) must return nothing, or bool: false cancels the generation");
    static_assert(!members::NamesRewind<OnToken> || HearsRewinds<OnToken>,
                  "flashback: rewind of on_token is called as rewind(std::size_t tokens) when tokens are taken back: this one "
                  "cannot be");
    static_assert(
        !members::NamesPlanned<OnToken> || HearsPlans<OnToken>,
        "flashback: planned of on_token is called as planned(const CarriedOutPlan&) when a plan was carried out: this "
        "one cannot be");
    return true;
}

/// Hands a token out; false if the generation is to be cancelled.
template <class OnToken>
bool tell_token(OnToken& on_token, TokenId token) {
    if constexpr (std::convertible_to<std::invoke_result_t<OnToken&, TokenId>, bool>) {
        return on_token(token);
    } else {
        on_token(token);
        return true;
    }
}

/// The newest tokens that were handed out are taken back.
template <class OnToken>
void tell_rewind(OnToken& on_token, std::size_t tokens) {
    if constexpr (HearsRewinds<Unwrapped<OnToken>>) unwrap(on_token).rewind(tokens);
}

}  // namespace flashback::inline FLASHBACK_ISA::detail
