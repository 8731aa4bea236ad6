/// \file What to search for.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/retriever.hpp"
#include "flashback/policy/step_view.hpp"

#include <algorithm>
#include <concepts>
#include <cstddef>

namespace flashback::inline FLASHBACK_ISA {

/// Makes the query of a retrieval: `builder(step)` gives a Query whose views stay valid until the next call.
template <class B>
concept QueryBuilder = requires(B& builder, const StepView& step) {
    { builder(step) } -> std::convertible_to<Query>;
};

namespace detail {

/// Refuses, in words, what is no QueryBuilder.
template <class B>
constexpr bool checked_query() {
    static_assert(QueryBuilder<B>, "flashback: a QueryBuilder must be callable as builder(const StepView&) and return Query");
    return true;
}

}  // namespace detail

/// The newest `count` tokens of the context, or all of them if there are fewer; a draft that is taken back is not among them.
/// Source    Ram et al. 2023, In-Context RALM, section 3.2 (query length l); FlashBack uses l = 32
class LastNTokens {
public:
    /// Throws    Error{contract} if the count is 0
    constexpr explicit LastNTokens(std::size_t count = 32) : count_(count) {
        FLASHBACK_ASSERT(count > 0, "LastNTokens needs a query of at least 1 token, found 0");
    }

    constexpr Query operator()(const StepView& step) const noexcept {
        const TokenSpan kept = step.kept();
        return {kept.last(std::min(count_, kept.size()))};
    }

private:
    std::size_t count_;
};

}  // namespace flashback::inline FLASHBACK_ISA
