/// \file A retriever whose batches are searched while its caller does something else.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/retriever.hpp"
#include "flashback/retrieval/detail/held_query.hpp"
#include "flashback/retrieval/detail/held_retriever.hpp"
#include "flashback/retrieval/detail/search_thread.hpp"

#include <cstddef>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// Gives a retriever `begin_batch` and `take_batch`: a batch is searched in a thread of its own, in one call of `retrieve_batch` if the
/// retriever has that, else one query after the other. `retrieve` waits for a batch that is being searched, and searches in the thread
/// of its caller.
///
/// Nothing can stop a search that has begun, so the end of this object waits for it, and no thread is left behind.
/// Requires  while a batch is searched, nobody else uses the retriever, nor what it refers to (a model, a pool of threads); unless several
///           threads may
/// Source    Zhang et al. 2024, RaLMSpec (arXiv 2401.14021): asynchronous verification
template <class R>
class Asynchronous {
    static_assert(checked_retriever<members::Unwrapped<R>>());

public:
    /// Whether answers depend on Query::context.
    static constexpr bool reads_context = detail::reads_context_of<members::Unwrapped<R>>();
    /// Whether answers depend on the queries before.
    static constexpr bool remembers_queries = detail::remembers_queries_of<members::Unwrapped<R>>();

    /// Starts the thread.
    /// Throws    std::system_error if no thread can be started
    explicit Asynchronous(R retriever) : search_(std::make_unique<detail::SearchThread<R>>(std::move(retriever))) {}

    /// What the retriever finds, valid until the next call.
    /// Throws    what the retriever throws
    auto retrieve(const Query& query, std::size_t k) -> decltype(auto) {
        search_->wait();
        return search_->retriever().retrieve(query, k);
    }

    /// Begins to search for a batch; waits first for one that is being searched, and gives up its answers.
    /// Cost      a copy of the queries
    void begin_batch(std::span<const Query> queries, std::size_t k) {
        search_->wait();
        search_->begin_batch(queries, k);
        begun_ = true;
    }

    /// Waits for the batch that was begun last and gives its answers, in the order of the queries; valid until the next call.
    /// Throws    what the retriever threw, also after the first answers; Error{contract} if no batch was begun
    /// Cost      a copy of the passages and their texts, in the thread that searches
    std::span<const std::vector<Passage>> take_batch() {
        FLASHBACK_ASSERT(begun_, "take_batch gives the answers to a batch, but none was begun");
        begun_ = false;
        search_->wait();
        answer_ = search_->take();
        found_.resize(answer_.batch.size());
        for (std::size_t i = 0; i < found_.size(); ++i) {
            found_[i].clear();
            for (const OwnedPassage& passage : answer_.batch[i]) found_[i].push_back(passage.view());
        }
        return found_;
    }

    /// The tokens that models of the retriever have evaluated, ever; those of a batch count when it ends.
    std::size_t work() const { return search_->work(); }

private:
    detail::ThreadAnswer answer_;
    std::vector<std::vector<Passage>> found_;
    bool begun_ = false;
    std::unique_ptr<detail::SearchThread<R>> search_;  // it stays where it is if this object moves
};

}  // namespace flashback::inline FLASHBACK_ISA
