/// \file A retriever that remembers answers.
#pragma once

#include "flashback/core/owned_passage.hpp"
#include "flashback/core/retriever.hpp"
#include "flashback/retrieval/detail/held_query.hpp"
#include "flashback/retrieval/detail/held_retriever.hpp"
#include "flashback/retrieval/detail/recently_used.hpp"

#include <cstddef>
#include <memory>
#include <ranges>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// How much a Cached keeps; what was used longest ago goes first.
struct CachedOptions {
    std::size_t entries = 1024;                 ///< the most answers that are kept
    std::size_t bytes = std::size_t{64} << 20;  ///< of texts, tokens and keys; an answer of more is given, but not kept
};

/// What became of the queries of a Cached, and what it holds.
struct CachedCounts {
    std::size_t hits = 0;     ///< queries that had been asked before
    std::size_t misses = 0;   ///< queries that were passed on
    std::size_t entries = 0;  ///< answers that are kept now
    std::size_t bytes = 0;    ///< of these answers
};

/// Answers a query that was asked before, for the same number of passages, without asking again. Two queries are the same if they have
/// the same text, or no text and the same tokens. If answers depend on Query::context, as those of a Reranked do, that must be the same,
/// too. The answer of a fallback (WithTimeout) is not kept. An AnyRetriever inside hides both from it.
///
/// Like all retrievers around retrievers it holds the other one, or refers to it by a `std::ref`; it can be moved, not copied, and belongs
/// to one thread at a time.
template <class R>
class Cached : public detail::HeldRetriever<Cached<R>, R> {
    using Held = detail::HeldRetriever<Cached, R>;
    friend struct detail::PassesHints<Cached, true>;

public:
    /// Keeps answers of `retriever`.
    explicit Cached(R retriever, CachedOptions options = {})
        : Held(std::move(retriever)), kept_(options.entries, options.bytes) {}

    /// What was kept, or what the retriever finds now; valid until the next call.
    /// Throws    what the retriever throws; then nothing is kept
    /// Cost      a copy of the query; for a new one, of the passages and their texts
    std::span<const Passage> retrieve(const Query& query, std::size_t k) {
        detail::write_key(key_, query, k, Held::reads_context);
        const std::shared_ptr<const Answer>* const kept = kept_.find(key_);
        hit_ = kept != nullptr;
        if (hit_) {
            ++hits_;
            standing_ = *kept;
            found_.clear();
            for (const OwnedPassage& passage : *standing_) found_.push_back(passage.view());
        } else {
            ++misses_;
            auto&& range = this->inner().retrieve(query, k);
            found_.assign(std::ranges::begin(range), std::ranges::end(range));
            standing_.reset();  // only now: the query may view it
            if (!Held::fell_back()) keep();
        }
        return found_;
    }

    /// How often it helped, and what it keeps.
    CachedCounts counts() const noexcept { return {hits_, misses_, kept_.size(), kept_.bytes()}; }

    /// Forgets all answers. The last one stays valid until the next call of `retrieve`.
    void clear() noexcept { kept_.clear(); }

    /// Whether the last answer is that of a fallback.
    bool fell_back() const { return !hit_ && Held::fell_back(); }

private:
    using Answer = std::vector<OwnedPassage>;

    void keep() {
        auto answer = std::make_shared<Answer>();
        answer->reserve(found_.size());
        std::size_t bytes = key_.size();
        for (const Passage& passage : found_) {
            answer->emplace_back(passage);
            bytes += sizeof(OwnedPassage) + passage.id.size() + passage.title.size() + passage.text.size() +
                     passage.tokens.size_bytes();
        }
        kept_.keep(key_, std::move(answer), bytes);
    }

    void hint(const Query& query, std::size_t k) {
        detail::write_key(key_, query, k, Held::reads_context);
        kept_already_ = kept_.contains(key_);
        if (!kept_already_) Held::hint(query, k);
    }
    bool hinted() const { return kept_already_ || Held::hinted(); }

    detail::RecentlyUsed<std::shared_ptr<const Answer>> kept_;
    std::shared_ptr<const Answer> standing_;  // what was given last, if it was kept
    std::vector<Passage> found_;
    std::string key_;
    std::size_t hits_ = 0;
    std::size_t misses_ = 0;
    bool hit_ = false;
    bool kept_already_ = false;  // what was prefetched last
};

}  // namespace flashback::inline FLASHBACK_ISA
