/// \file What dense retrieval needs of a model: the concept Embedder.
#pragma once

#include "flashback/core/config.hpp"
#include "flashback/core/members.hpp"

#include <concepts>
#include <cstddef>
#include <span>
#include <string_view>

namespace flashback::inline FLASHBACK_ISA {

/// Something that turns texts into vectors. Texts that mean the same have a large dot product.
///
/// | expression             | result                      | meaning                                                                |
/// |------------------------|-----------------------------|------------------------------------------------------------------------|
/// | `e.dimension()`        | converts to `std::size_t`   | floats of each vector; it never changes                                |
/// | `e.embed(texts, out)`  |                             | the vectors of passages; `out.size() == texts.size() * e.dimension()`, row by row |
///
/// Optional member. If it is there but does not fit, it is refused by name:
///
/// | expression                    | meaning                                                                       |
/// |-------------------------------|-------------------------------------------------------------------------------|
/// | `e.embed_queries(texts, out)` | the same for queries, if they are read in another way, e.g. after "query: "    |
///
/// The vector of a text must not depend on the other texts of the call.
template <class E>
concept Embedder = requires(E& e, const E& fixed, std::span<const std::string_view> texts, std::span<float> out) {
    { fixed.dimension() } -> std::convertible_to<std::size_t>;  // floats of each vector
    e.embed(texts, out);                                        // out.size() == texts.size() * dimension(), row by row
};

/// An embedder that reads queries in another way than passages.
template <class E>
concept QueryEmbedder = Embedder<E> && requires(E& e, std::span<const std::string_view> texts, std::span<float> out) {
    e.embed_queries(texts, out);
};

/// Refuses, in words, what is no Embedder, and what it has that does not fit; it never returns false.
template <class E>
constexpr bool checked_embedder() {
    static_assert(Embedder<E>,
                  "flashback: an Embedder must have dimension() const, which returns std::size_t, and "
                  "embed(std::span<const std::string_view> texts, std::span<float> out)");
    static_assert(!members::NamesEmbedQueries<E> || QueryEmbedder<E>,
                  "flashback: embed_queries of an Embedder must take (std::span<const std::string_view> texts, "
                  "std::span<float> out), as embed does");
    return true;
}

/// The vectors of queries: `embed_queries` if the embedder has it, else `embed`. What is no Embedder is refused.
/// Shape     out (texts.size(), e.dimension())
template <class E>
constexpr void embed_queries(E& e, std::span<const std::string_view> texts, std::span<float> out) {
    static_assert(checked_embedder<E>());
    if constexpr (QueryEmbedder<E>) {
        e.embed_queries(texts, out);
    } else {
        e.embed(texts, out);
    }
}

}  // namespace flashback::inline FLASHBACK_ISA
