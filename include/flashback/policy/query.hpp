/// \file What to search for.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/retriever.hpp"
#include "flashback/policy/detail/optional_members.hpp"
#include "flashback/policy/step_view.hpp"

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <string>
#include <string_view>
#include <type_traits>

namespace flashback::inline FLASHBACK_ISA {

namespace detail {

/// What a query builder may return.
template <class Result>
concept QueryResult = std::same_as<std::remove_cvref_t<Result>, Query> || std::convertible_to<Result, TokenSpan> ||
    std::convertible_to<Result, std::string_view>;

}  // namespace detail

/// Makes the query of a retrieval: `builder(step)` gives a Query whose views stay valid until the next call. It may also give
/// tokens or text, even by value: a TokenSpan, a TokenBuffer, a std::string. The optional members are those of a
/// RetrievalSchedule.
template <class B>
concept QueryBuilder = requires(B& builder, const StepView& step) {
    { builder(step) } -> detail::QueryResult;
};

/// A query that owns its tokens and its text, so that it outlives what it was made from.
struct OwnedQuery {
    TokenBuffer tokens;  ///< of the query; may be empty
    std::string text;    ///< if not empty, it takes the place of the tokens

    /// The query; valid until this one changes.
    Query view() const noexcept { return {tokens, text}; }

    /// Becomes a copy of what a query builder gave.
    template <detail::QueryResult Result>
    void assign(const Result& result) {
        tokens.clear();
        text.clear();
        if constexpr (std::same_as<Result, Query>) {
            append(tokens, result.tokens);
            text = result.text;
        } else if constexpr (std::convertible_to<const Result&, TokenSpan>) {
            append(tokens, result);
        } else {
            text = std::string_view{result};
        }
    }
};

namespace detail {

template <class B>
concept FittingQuery = QueryBuilder<B> && FitsOptionally<B>;

/// Refuses, in words, what is no QueryBuilder.
template <class B>
constexpr bool checked_query() {
    static_assert(QueryBuilder<B>,
                  "flashback: a QueryBuilder must be callable as builder(const StepView&) and return Query, tokens or text");
    if constexpr (QueryBuilder<B>) checked_optional_members<B>();
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
