/// \file Any text of tokens.
#pragma once

#include "flashback/core/tokens.hpp"
#include "flashback/policy/any_policy.hpp"

#include <concepts>
#include <string>
#include <type_traits>
#include <utility>

namespace flashback::inline FLASHBACK_ISA::detail {

struct TextCall {
    template <class D>
    static std::string call(D& detokenize, TokenId token) {
        if constexpr (std::same_as<std::remove_cvref_t<decltype(detokenize(token))>, char>) {
            return std::string(1, detokenize(token));
        } else {
            return std::string{detokenize(token)};
        }
    }
};

/// Any callable that gives the text of tokens.
class AnyText {
public:
    template <class D>
        requires(!std::same_as<D, AnyText>)
    explicit AnyText(D detokenize) : held_(std::move(detokenize)) {}
    std::string operator()(TokenId token) const { return held_.call(token); }

private:
    ErasedPolicy<TextCall, std::string, TokenId> held_;
};

}  // namespace flashback::inline FLASHBACK_ISA::detail
