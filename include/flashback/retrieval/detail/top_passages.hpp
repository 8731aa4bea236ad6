/// \file The best passages of some segments for a query.
#pragma once

#include "flashback/core/function_ref.hpp"
#include "flashback/core/retriever.hpp"
#include "flashback/retrieval/detail/deletions.hpp"
#include "flashback/retrieval/detail/index_segment.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

/// A passage of a segment with its score, in units of the query. Sums of whole numbers do not depend on their order: so what is left out
/// on the way to the best passages does not change a bit of them.
struct ScoredPassage {
    std::uint32_t score;
    std::uint32_t segment;
    std::uint32_t passage;
};

/// The best k so far. If scores are equal, the order is by document id, then by place in the document.
class TopPassages {
public:
    using Accept = FunctionRef<bool(const Passage&)>;

    TopPassages(std::span<const LiveSegment> segments, std::size_t k, Accept accept)
        : segments_(segments), k_(k), accept_(accept) {}

    /// What a passage must reach at least to be taken.
    std::uint32_t threshold() const noexcept { return best_.size() < k_ ? 1 : std::max(1u, best_.front().score); }

    void offer(std::uint32_t score, std::uint32_t segment, std::uint32_t passage) {
        const ScoredPassage found{score, segment, passage};
        const auto before = [this](const ScoredPassage& a, const ScoredPassage& b) { return better(a, b); };
        if (best_.size() == k_ && (k_ == 0 || !better(found, best_.front()))) return;
        const LiveSegment& its = segments_[segment];
        if (its.deletions->any() && its.deletions->has(its.segment->document_of(passage))) return;
        if (accept_ && !accept_(its.segment->passage(passage))) return;
        if (best_.size() == k_) {
            std::ranges::pop_heap(best_, before);
            best_.pop_back();
        }
        best_.push_back(found);
        std::ranges::push_heap(best_, before);
    }

    /// The best first. Nothing can be offered after that.
    std::vector<ScoredPassage> sorted() {
        std::ranges::sort_heap(best_, [this](const ScoredPassage& a, const ScoredPassage& b) { return better(a, b); });
        return std::move(best_);
    }

private:
    bool better(const ScoredPassage& a, const ScoredPassage& b) const {
        if (a.score != b.score) return a.score > b.score;
        const IndexSegment& of_a = *segments_[a.segment].segment;
        const IndexSegment& of_b = *segments_[b.segment].segment;
        const std::string_view id_a = of_a.document_id(of_a.document_of(a.passage));
        const std::string_view id_b = of_b.document_id(of_b.document_of(b.passage));
        if (id_a != id_b) return id_a < id_b;
        return a.segment != b.segment ? a.segment < b.segment : a.passage < b.passage;
    }

    std::span<const LiveSegment> segments_;
    std::size_t k_;
    Accept accept_;
    std::vector<ScoredPassage> best_;  // a heap with the worst in front
};

}  // namespace flashback::inline FLASHBACK_ISA::detail
