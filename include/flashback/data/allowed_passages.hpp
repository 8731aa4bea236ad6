/// \file A retriever that gives nothing away: no passages from the documents of the text that is predicted.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/retriever.hpp"
#include "flashback/data/text_stream.hpp"

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <ranges>
#include <span>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// Gives only passages that are allowed: `forbidden(passage, source)` tells which are not. They are cut to `most` tokens. It refers to
/// retriever and predicate, which must outlive it; a const retriever may be referred to by several threads.
template <class R, class Forbidden>
class AllowedPassages {
    static_assert(std::predicate<const Forbidden&, const Passage&, const StrideSource&>,
                  "flashback: what is forbidden must be said by forbidden(const Passage&, const StrideSource&)");

public:
    /// Passages of `retriever` for a stride of `source`, without those of which `forbidden(passage, source)` is true. `most`
    /// is the greatest k.
    AllowedPassages(R& retriever, const Forbidden& forbidden, std::size_t most, const StrideSource& source)
        : retriever_(&retriever), forbidden_(&forbidden), most_(most), source_(source) {}

    /// The best k that are allowed, or fewer; valid until the next call.
    /// Throws    Error{contract} for passages without tokens; what the retriever throws
    /// Cost      one search; if too many candidates are forbidden, another search for four times as many
    /// Source    FlashBack (arXiv 2405.04065), data_prepare.py of the official code, which takes 2k candidates and no more
    std::span<const Passage> retrieve(const Query& query, std::size_t k) {
        constexpr std::size_t most_candidates = std::size_t{1} << 24;
        found_.clear();
        if (k == 0) return found_;
        for (std::size_t candidates = first_candidates(k);; candidates *= 4) {
            found_.clear();
            auto&& range = retriever_->retrieve(query, candidates);
            for (const Passage& passage : range) {
                if (found_.size() == k) break;
                if ((*forbidden_)(passage, source_)) continue;
                FLASHBACK_ASSERT(!passage.tokens.empty(), "the passage '", printable(passage.id),
                                 "' has no tokens, expected a retriever that tokenises its passages");
                found_.push_back(passage);
                found_.back().tokens = passage.tokens.first(std::min(passage.tokens.size(), most_));
            }
            if (found_.size() == k || std::ranges::size(range) < candidates || candidates >= most_candidates) return found_;
        }
    }

    /// A hint that this will be asked soon: the first search for it may begin. Nothing if the retriever does not prefetch.
    void prefetch(const Query& query, std::size_t k) {
        if constexpr (PrefetchingRetriever<R>) {
            if (k > 0) retriever_->prefetch(query, first_candidates(k));
        }
    }
    /// Whether what was prefetched is there; true if the retriever does not prefetch.
    bool ready() const {
        if constexpr (PrefetchingRetriever<R>) {
            return std::as_const(*retriever_).ready();
        } else {
            return true;
        }
    }

private:
    static std::size_t first_candidates(std::size_t k) { return std::max<std::size_t>(2 * k, 8); }

    R* retriever_;
    const Forbidden* forbidden_;
    std::size_t most_;
    StrideSource source_;
    std::vector<Passage> found_;
};

}  // namespace flashback::inline FLASHBACK_ISA
