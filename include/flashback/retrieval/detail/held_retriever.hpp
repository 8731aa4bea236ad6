/// \file What every retriever around a retriever has: the one that it holds, and what it passes on.
#pragma once

#include "flashback/core/retriever.hpp"

#include <concepts>
#include <cstddef>
#include <utility>

namespace flashback::inline FLASHBACK_ISA::detail {

template <class R>
concept TellsContext = requires {
    { R::reads_context } -> std::convertible_to<bool>;
};

template <class R>
concept TellsMemory = requires {
    { R::remembers_queries } -> std::convertible_to<bool>;
};

template <class R>
concept TellsFallback = requires(const R& retriever) {
    { retriever.fell_back() } -> std::same_as<bool>;
};

/// Whether the answers of a retriever depend on Query::context: it says so by `static constexpr bool reads_context = true`.
template <class R>
constexpr bool reads_context_of() {
    if constexpr (TellsContext<R>) {
        return R::reads_context;
    } else {
        return false;
    }
}

/// Whether the answers of a retriever depend on the queries before: it says so by `static constexpr bool remembers_queries = true`.
template <class R>
constexpr bool remembers_queries_of() {
    if constexpr (TellsMemory<R>) {
        return R::remembers_queries;
    } else {
        return false;
    }
}

/// Whether the last answer of a retriever was a stand-in for one that came too late: it says so by `bool fell_back() const`.
template <class R>
bool fell_back_of(const R& retriever) {
    if constexpr (TellsFallback<R>) {
        return retriever.fell_back();
    } else {
        return false;
    }
}

/// The members `prefetch` and `ready` of a wrapper, if what it holds has them. A class of its own, because a member that is there but
/// cannot be called is refused.
/// Requires  `Self`, whose friend this is, has hint(query, k) and hinted() const
template <class Self, bool Prefetches>
struct PassesHints {};

template <class Self>
struct PassesHints<Self, true> {
    /// Lets what is held begin a search.
    void prefetch(const Query& query, std::size_t k) { static_cast<Self&>(*this).hint(query, k); }
    /// Whether what was prefetched is there.
    bool ready() const { return static_cast<const Self&>(*this).hinted(); }
};

/// A retriever, or a std::reference_wrapper of one that lives elsewhere, and what a wrapper passes on from it.
template <class Self, class R>
class HeldRetriever : public PassesHints<Self, PrefetchingRetriever<members::Unwrapped<R>>> {
    static_assert(checked_retriever<members::Unwrapped<R>>());

public:
    /// Whether answers depend on Query::context.
    static constexpr bool reads_context = reads_context_of<members::Unwrapped<R>>();
    /// Whether answers depend on the queries before.
    static constexpr bool remembers_queries = remembers_queries_of<members::Unwrapped<R>>();

    /// The tokens that models of the retriever have evaluated, ever.
    std::size_t work() const { return work_of(inner()); }
    /// Whether the last answer is that of a fallback (WithTimeout).
    bool fell_back() const { return fell_back_of(inner()); }

protected:
    explicit HeldRetriever(R retriever) : retriever_(std::move(retriever)) {}

    auto& inner() noexcept { return members::unwrap(retriever_); }
    const auto& inner() const noexcept { return members::unwrap(retriever_); }

    void hint(const Query& query, std::size_t k) { inner().prefetch(query, k); }
    bool hinted() const { return inner().ready(); }

private:
    R retriever_;
};

}  // namespace flashback::inline FLASHBACK_ISA::detail
