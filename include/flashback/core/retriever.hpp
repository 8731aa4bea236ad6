/// \file What the policies need of a search engine: queries, passages, and the concept Retriever.
#pragma once

#include "flashback/core/tokens.hpp"

#include <concepts>
#include <cstddef>
#include <ranges>
#include <string_view>

namespace flashback::inline FLASHBACK_ISA {

/// What is searched for: text, or tokens that the retriever turns into text where it needs it.
struct Query {
    TokenSpan tokens;
    std::string_view text = {};  ///< if not empty, it takes the place of the tokens
};

/// A piece of a document that fits into a model's window. All views stay valid as long as the retriever lives.
struct Passage {
    std::string_view id;
    std::string_view title;
    std::string_view text;
    TokenSpan tokens;  ///< the text, tokenised once when it was indexed
    float score = 0;   ///< how well it fits the query; comparable within one answer only
};

/// A search engine.
///
/// | expression            | result                        | meaning                                             |
/// |-----------------------|-------------------------------|-----------------------------------------------------|
/// | `r.retrieve(query, k)`| contiguous range of `Passage` | at most k passages, the best first; empty if none    |
template <class R>
concept Retriever = requires(R& retriever, const Query& query, std::size_t k) {
    { retriever.retrieve(query, k) } -> std::ranges::contiguous_range;
    requires std::same_as<std::ranges::range_value_t<decltype(retriever.retrieve(query, k))>, Passage>;
};

/// The retriever of a closed book: it finds nothing.
struct NoDocuments {
    static std::span<const Passage> retrieve(const Query& /*query*/, std::size_t /*k*/) noexcept { return {}; }
};

}  // namespace flashback::inline FLASHBACK_ISA
