/// \file What the policies need of a search engine: queries, passages, and the concept Retriever.
#pragma once

#include "flashback/core/members.hpp"
#include "flashback/core/tokens.hpp"

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <ranges>
#include <span>
#include <string_view>

namespace flashback::inline FLASHBACK_ISA {

/// What is searched for: text, or tokens that the retriever turns into text if it needs that.
struct Query {
    TokenSpan tokens = {};       ///< ids of the model's vocabulary
    std::string_view text = {};  ///< if not empty, it takes the place of the tokens
    TokenSpan context =
        {};  ///< the whole text that it was made for, less what is about to be taken back; the decoder fills it in
};

/// A piece of a document that fits into a model's window. What it views stays valid until the next call of `retrieve`.
struct Passage {
    std::string_view id = {};     ///< as the retriever names it
    std::string_view title = {};  ///< of its document; may be empty
    std::string_view text = {};   ///< what it says; may be empty if it has tokens
    TokenSpan tokens = {};        ///< the text, tokenised once when it was indexed
    float score = 0;              ///< how well it fits the query; comparable within one answer only
};

namespace detail {

/// An answer of a search.
template <class Range>
concept PassageRange = std::ranges::contiguous_range<Range> && std::ranges::sized_range<Range> &&
    std::same_as<std::ranges::range_value_t<Range>, Passage>;

}  // namespace detail

/// A search engine.
///
/// | expression            | result                        | meaning                                             |
/// |-----------------------|-------------------------------|-----------------------------------------------------|
/// | `r.retrieve(query, k)`| contiguous range of `Passage` | at most k passages, the best first; empty if none    |
///
/// A passage views its tokens and texts. They must live until the next call, also if the range itself is returned by value.
///
/// Optional members. If one is there but does not fit, a decoder refuses it by name:
///
/// | expression                     | result                      | meaning                                                  |
/// |--------------------------------|-----------------------------|----------------------------------------------------------|
/// | `r.retrieve_batch(queries, k)` | contiguous range of answers | the answers to a span of queries, in their order         |
/// | `r.prefetch(query, k)`         |                             | a hint: this will be asked soon, the search may begin    |
/// | `r.ready()`                    | `bool`                      | whether what was prefetched is there                     |
/// | `r.speculate(query, k)`        | contiguous range of `Passage` | a guess at what `retrieve` will find, without a search; valid until the next guess |
/// | `r.begin_batch(queries, k)`    |                             | begins to search for a span of queries, which are copied, and returns; of two batches the first is given up |
/// | `r.take_batch()`               | contiguous range of answers | waits for the answers to that span, in its order         |
/// | `r.work()`                     | `std::size_t`               | tokens that models of its own have evaluated, ever: they enter the statistics |
template <class R>
concept Retriever = requires(R& retriever, const Query& query, std::size_t k) {
    { retriever.retrieve(query, k) } -> detail::PassageRange;
};

/// A retriever that answers several queries at once, which is cheaper than one after the other.
template <class R>
concept BatchRetriever = Retriever<R> && requires(R& retriever, std::span<const Query> queries, std::size_t k) {
    { retriever.retrieve_batch(queries, k) } -> std::ranges::contiguous_range;
    requires detail::PassageRange<std::ranges::range_reference_t<decltype(retriever.retrieve_batch(queries, k))>>;
};

/// A retriever that can begin a search before its answer is needed.
template <class R>
concept PrefetchingRetriever = Retriever<R> && requires(R& retriever, const R& fixed, const Query& query, std::size_t k) {
    retriever.prefetch(query, k);
    { fixed.ready() } -> std::same_as<bool>;
};

/// A retriever that can guess, without a search, what it will find: from what it has found before.
template <class R>
concept SpeculatingRetriever = Retriever<R> && requires(R& retriever, const Query& query, std::size_t k) {
    { retriever.speculate(query, k) } -> detail::PassageRange;
};

/// A retriever that searches for several queries while its caller does something else.
template <class R>
concept AsynchronousRetriever = Retriever<R> && requires(R& retriever, std::span<const Query> queries, std::size_t k) {
    retriever.begin_batch(queries, k);
    { retriever.take_batch() } -> std::ranges::contiguous_range;
    requires detail::PassageRange<std::ranges::range_reference_t<decltype(retriever.take_batch())>>;
};

/// Something that counts the tokens that it has evaluated, ever: a model, or a retriever with a model of its own.
template <class T>
concept CountsWork = requires(const T& worker) {
    { worker.work() } -> members::Count;
};

/// Refuses, in words, what is no Retriever, and what it has that does not fit; it never returns false.
template <class R>
constexpr bool checked_retriever() {
    static_assert(Retriever<R>,
                  "flashback: a Retriever must have retrieve(const Query&, std::size_t k) and return a contiguous range of "
                  "Passage, such as a vector or a span");
    static_assert(
        !members::NamesRetrieveBatch<R> || BatchRetriever<R>,
        "flashback: retrieve_batch of a Retriever must take (std::span<const Query>, std::size_t k) and return a range of "
        "ranges of Passage");
    static_assert((!members::NamesPrefetch<R> && !members::NamesReady<R>) || PrefetchingRetriever<R>,
                  "flashback: a Retriever with prefetch or ready must have both: prefetch(const Query&, std::size_t k), and "
                  "ready() const, which returns bool");
    static_assert(
        !members::NamesSpeculate<R> || SpeculatingRetriever<R>,
        "flashback: speculate of a Retriever must take (const Query&, std::size_t k) and return a contiguous range of "
        "Passage, as retrieve does");
    static_assert((!members::NamesBeginBatch<R> && !members::NamesTakeBatch<R>) || AsynchronousRetriever<R>,
                  "flashback: a Retriever with begin_batch or take_batch must have both: begin_batch(std::span<const Query>, "
                  "std::size_t k), and take_batch(), which returns a range of ranges of Passage");
    static_assert(
        !members::NamesWork<R> || CountsWork<R>,
        "flashback: work() of a Retriever must be const and return std::size_t: the tokens that it has evaluated, ever");
    return true;
}

/// The retriever of a closed book: it finds nothing.
struct NoPassages {
    /// Finds nothing.
    static std::span<const Passage> retrieve(const Query& /*query*/, std::size_t /*k*/) noexcept { return {}; }
};

/// What a model or a retriever has evaluated, ever; 0 if it does not count.
template <class T>
constexpr std::size_t work_of(const T& worker) {
    if constexpr (CountsWork<T>) {
        return static_cast<std::size_t>(worker.work());
    } else {
        return 0;
    }
}

}  // namespace flashback::inline FLASHBACK_ISA
