/// \file A retriever that compares vectors of texts.
#pragma once

#include "flashback/core/embedder.hpp"
#include "flashback/core/error.hpp"
#include "flashback/core/retriever.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/dense/vector_index.hpp"
#include "flashback/dense/vector_store.hpp"
#include "flashback/fwd.hpp"

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// Numbered passages: Passages, a vector of Passage, or a type of yours with `size()` and `operator[]`. What a passage views
/// lives as long as the source.
template <class S>
concept PassageSource = requires(const S& source, std::size_t i) {
    { source.size() } -> std::convertible_to<std::size_t>;
    { source[i] } -> std::convertible_to<Passage>;
};

/// For retrievers that are asked for texts only.
struct NoDecode {};

/// The vectors of the texts of passages, in their order.
/// Requires  texts_together > 0: so many are embedded in one call
/// Throws    what the embedder throws; as VectorStore::add
template <Embedder E, PassageSource Source>
VectorStore embed_passages(E& embedder, const Source& passages, const VectorOptions& options = {},
                           std::size_t texts_together = 32) {
    static_assert(checked_embedder<E>());
    FLASHBACK_ASSERT(texts_together > 0, "passages are embedded 0 at a time, expected at least 1");
    const std::size_t dimension = embedder.dimension();
    VectorStore vectors{dimension, options};
    std::vector<std::string_view> texts;
    std::vector<float> some;
    for (std::size_t i = 0; i < passages.size(); i += texts_together) {
        texts.clear();
        for (std::size_t j = i; j < std::min<std::size_t>(passages.size(), i + texts_together); ++j)
            texts.push_back(static_cast<Passage>(passages[j]).text);
        some.assign(texts.size() * dimension, 0.0f);
        embedder.embed(std::span<const std::string_view>{texts}, std::span{some});
        vectors.add(some);
    }
    return vectors;
}

/// Embeds a query and finds the passages whose vectors fit it best; passage i has vector i of the index. It satisfies
/// Retriever. It refers to the embedder, the index and the passages, which must outlive it.
///
///     const VectorStore vectors = embed_passages(encoder, passages);      // or VectorStore::open
///     const ExactIndex index{std::move(vectors)};
///     DenseRetriever retriever{encoder, index, passages, [&](TokenSpan tokens) { return tokenizer.decode(tokens); }};
///
/// `decode(tokens)` gives the text of a query that has tokens only.
/// Source    Karpukhin et al. 2020, Dense passage retrieval for open-domain question answering, section 3.1
template <class EmbedderT, class Index, class Source, class Decode>
class DenseRetriever {
    static_assert(checked_embedder<EmbedderT>());
    static_assert(
        VectorIndex<Index>,
        "flashback: the index of a DenseRetriever must be a VectorIndex, as ExactIndex is: size(), dimension(), search, "
        "search_batch");
    static_assert(PassageSource<Source>,
                  "flashback: the passages of a DenseRetriever must have size() and operator[], which gives a Passage");
    static_assert(
        std::same_as<Decode, NoDecode> ||
            requires(const Decode& decode, TokenSpan tokens) {
                { decode(tokens) } -> std::convertible_to<std::string>;
            },
        "flashback: decode of a DenseRetriever must take a TokenSpan and return a string");

public:
    /// Throws    Error{contract} if the vectors of the embedder and of the index have not one dimension, or if there are not as
    ///           many passages as vectors
    DenseRetriever(EmbedderT& embedder, const Index& index, const Source& passages, Decode decode = {})
        : embedder_(&embedder), index_(&index), passages_(&passages), decode_(std::move(decode)) {
        const std::size_t dimension = embedder.dimension();
        FLASHBACK_ASSERT(dimension == index.dimension(), "an embedder gives vectors of dimension ", dimension,
                         ", but those of the index have ", index.dimension());
        const std::size_t count = passages.size();
        FLASHBACK_ASSERT(count == index.size(), "an index of ", index.size(), " vectors for ", count, " passages");
    }

    /// The best k passages; none for an empty query. What they view lives as long as the passages do.
    /// Throws    Error{contract} for a query of tokens without a decode, or if the index finds what it does not have; what the
    ///           embedder and the index throw
    std::vector<Passage> retrieve(const Query& query, std::size_t k) {
        return std::move(retrieve_batch({&query, 1}, k).front());
    }

    /// The answers to several queries, which are embedded in one call.
    /// Throws    as `retrieve`
    std::vector<std::vector<Passage>> retrieve_batch(std::span<const Query> queries, std::size_t k) {
        std::vector<std::string> decoded(queries.size());
        std::vector<std::string_view> texts;
        std::vector<std::size_t> asks;  // by text: the query
        for (std::size_t q = 0; q < queries.size(); ++q) {
            const std::string_view text = text_of(queries[q], decoded[q]);
            if (text.empty() || k == 0) continue;
            texts.push_back(text);
            asks.push_back(q);
        }
        std::vector<std::vector<Passage>> found(queries.size());
        if (texts.empty()) return found;
        std::vector<float> vectors(texts.size() * index_->dimension());
        embed_queries(*embedder_, std::span<const std::string_view>{texts}, std::span{vectors});
        const std::vector<std::vector<DenseHit>> answers = index_->search_batch(vectors, k);
        for (std::size_t i = 0; i < asks.size(); ++i) {
            for (const DenseHit& hit : answers[i]) {
                FLASHBACK_ASSERT(hit.row < index_->size(), "an index of ", index_->size(), " vectors found vector ", hit.row);
                found[asks[i]].push_back((*passages_)[hit.row]);
                found[asks[i]].back().score = hit.score;
            }
        }
        return found;
    }

    /// The tokens that the embedder has evaluated, ever; 0 if it does not count.
    std::size_t work() const { return work_of(*embedder_); }

private:
    std::string_view text_of(const Query& query, std::string& decoded) const {
        if (!query.text.empty() || query.tokens.empty()) return query.text;
        if constexpr (std::same_as<Decode, NoDecode>) {
            FLASHBACK_THROW(ErrorCode::contract, "a dense retriever without a decode cannot read a query of tokens");
        } else {
            return decoded = decode_(query.tokens);
        }
    }

    EmbedderT* embedder_;
    const Index* index_;
    const Source* passages_;
    FLASHBACK_NO_UNIQUE_ADDRESS Decode decode_;
};

}  // namespace flashback::inline FLASHBACK_ISA
