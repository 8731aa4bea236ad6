/// \file Schedules, queries and methods by their names, for command lines and settings.
///
/// | schedule                                  | is                                                | default constants            |
/// |-------------------------------------------|---------------------------------------------------|------------------------------|
/// | `never`, `once`, `stride:16`              | Never, Once, EveryNTokens                         | tokens 16                    |
/// | `entropy:2.0`, `surprisal:4`, `margin:0.1`| OnEntropy, OnSurprisal, OnMargin                  | threshold 2, 4, 0.1; apart 4 |
/// | `entropy-z:2`, `surprisal-z:2`, `margin-z:2` | OnUnusualEntropy, ...                          | z 2, warm-up 16, apart 4     |
/// | `backoff:16`                              | Backoff                                           | stride 16, most 256          |
/// | `sentence` *                              | EverySentence                                     |                              |
/// | `flare` *, `dragin` *, `etc` *, `ircot` * | Flare, Dragin, Etc, IrCot: methods, with queries of their own | those of their options |
/// | `self-rag(retrieve:5,no-retrieve:6)` *    | ReflectionRatio                                   | delta 0.2                    |
/// | `any(a,b)`, `all(a,b)`                    | AnyOf, AllOf of 1 to 64                           |                              |
/// | `at-most(8,a)`, `budget(4,a)`             | AtMost, WithinBudget                              | look-ahead 16                |
///
/// | query             | is             | default constants |
/// |-------------------|----------------|-------------------|
/// | `last:32`         | LastNTokens    | tokens 32         |
/// | `sentence` *      | LastSentence   | tokens 64         |
/// | `masked:0.4`      | MaskedDraft    | beta 0.4          |
/// | `attention:25` *  | AttentionTopN  | words 25          |
///
/// A number behind a colon, or alone in brackets, is the first constant; others have names: `flare(theta:0.8,beta:0.4,look-ahead:64)`.
/// Names marked * need the text of tokens. Spaces may stand around names, numbers and marks. Brackets are at most 15 deep, and a text
/// has at most 4096 characters, with all constants, too.
#pragma once

#include "flashback/policy/any_method.hpp"
#include "flashback/policy/detail/any_text.hpp"

#include <concepts>
#include <optional>
#include <string_view>
#include <utility>

namespace flashback::inline FLASHBACK_ISA {

/// No text of tokens: names that need one are refused.
struct NoText {};

namespace detail {

AnySchedule read_schedule(std::string_view text, const std::optional<AnyText>& text_of);
AnyQuery read_query(std::string_view text, const std::optional<AnyText>& text_of);
AnyMethod read_method(std::string_view schedule, std::string_view query, const std::optional<AnyText>& text_of);

template <class D>
std::optional<AnyText> text_or_none(D detokenize) {
    static_assert(std::same_as<D, NoText> || GivesText<D>,
                  "flashback: the text_of of a parsed schedule must be callable as text_of(TokenId) and return text");
    if constexpr (GivesText<D>) {
        return std::optional<AnyText>{std::in_place, std::move(detokenize)};
    } else {
        return {};
    }
}

}  // namespace detail

/// The schedule of a text, e.g. "any(stride:64,entropy:3)". Of a method it is the schedule alone. `text_of` gives the text that a token
/// adds, as in StopStrings; copies of the schedule have copies of it.
/// Throws    Error{contract} in a sentence that names the place, what was found there, and what was expected
template <class Detokenize = NoText>
AnySchedule parse_schedule(std::string_view text, Detokenize text_of = {}) {
    return detail::read_schedule(text, detail::text_or_none(std::move(text_of)));
}

/// The query builder of a text, e.g. "last:32". `text_of` as in parse_schedule.
/// Throws    as parse_schedule
template <class Detokenize = NoText>
AnyQuery parse_query(std::string_view text, Detokenize text_of = {}) {
    return detail::read_query(text, detail::text_or_none(std::move(text_of)));
}

/// The method of two texts, for `Policies::method`. Without a text for the query, Flare, Dragin, Etc and IrCot make their own, and what
/// else retrieves has the newest 32 tokens; in `any` and `all` the query is made by the part that retrieves, and if several do, by the
/// one that takes back most. `text()` of the result has both texts with all constants, and parses to the same. `text_of` as in
/// parse_schedule.
/// Throws    as parse_schedule
template <class Detokenize = NoText>
AnyMethod parse_method(std::string_view schedule, std::string_view query = {}, Detokenize text_of = {}) {
    return detail::read_method(schedule, query, detail::text_or_none(std::move(text_of)));
}

}  // namespace flashback::inline FLASHBACK_ISA

#if !defined(FLASHBACK_COMPILED_ONCE)
#include "flashback/policy/detail/build_method.hpp"
#endif
