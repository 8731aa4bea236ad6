/// \file A retriever without some of its passages.
#pragma once

#include "flashback/core/retriever.hpp"
#include "flashback/retrieval/detail/held_retriever.hpp"

#include <concepts>
#include <cstddef>
#include <ranges>
#include <span>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// Gives only the passages for which `keep(passage)` is true. If fewer than k of the first k are, it asks again for twice as many, and so
/// on: until k are, the retriever has no more, or it was asked for `most`.
template <class R, class Keep>
class Filtered : public detail::HeldRetriever<Filtered<R, Keep>, R> {
    static_assert(std::predicate<Keep&, const Passage&>,
                  "flashback: the predicate of Filtered must be callable as keep(const Passage&) and return bool");
    using Held = detail::HeldRetriever<Filtered, R>;
    friend struct detail::PassesHints<Filtered, true>;

public:
    /// `most` bounds how many passages the retriever is asked for; a k beyond it is asked for once.
    Filtered(R retriever, Keep keep, std::size_t most = 1024)
        : Held(std::move(retriever)), keep_(std::move(keep)), most_(most) {}

    /// The best k passages that pass, or fewer; valid until the next call.
    /// Requires  the query does not view the last answer
    /// Throws    what retriever and predicate throw
    /// Cost      at most log2(most / k) + 2 searches
    std::span<const Passage> retrieve(const Query& query, std::size_t k) {
        found_.clear();
        if (k == 0) return found_;
        for (std::size_t depth = k;; depth = depth > most_ / 2 ? most_ : depth * 2) {
            auto&& range = this->inner().retrieve(query, depth);
            found_.clear();
            for (const Passage& passage : range) {
                if (found_.size() < k && keep_(passage)) found_.push_back(passage);
            }
            if (found_.size() == k || std::ranges::size(range) < depth || depth >= most_) return found_;
        }
    }

private:
    Keep keep_;
    std::size_t most_;
    std::vector<Passage> found_;
};

}  // namespace flashback::inline FLASHBACK_ISA
