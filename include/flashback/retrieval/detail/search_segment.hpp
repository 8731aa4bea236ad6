/// \file Scoring the passages of a segment: all of them, or only those that can still be among the best.
#pragma once

#include "flashback/retrieval/detail/bm25_formula.hpp"
#include "flashback/retrieval/detail/index_segment.hpp"
#include "flashback/retrieval/detail/merge_segments.hpp"
#include "flashback/retrieval/detail/term_blocks.hpp"
#include "flashback/retrieval/detail/term_cursor.hpp"
#include "flashback/retrieval/detail/top_passages.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

/// A term of a query that a segment has.
struct WeightedTerm {
    const TermEntry* term;
    float weight;
};

/// What one search knows about one segment.
struct SegmentQuery {
    const IndexSegment* segment;
    std::uint32_t number;  // of the segment
    const LengthNorms* norms;
    double excess;
    std::span<const WeightedTerm> terms;
};

/// Term after term over the whole segment: for queries of very many terms, and if nearly everything is asked for.
inline void score_all(const SegmentQuery& query, TopPassages& top) {
    std::vector<std::uint32_t> scores(query.segment->passages(), 0);
    const std::span<const std::uint32_t> lengths = query.segment->lengths();
    PostingBlock block;
    for (const WeightedTerm& its : query.terms) {
        for_each_posting(*query.segment, *its.term, block, [&](std::uint32_t passage, std::uint32_t count) {
            scores[passage] += contribution(its.weight, count, (*query.norms)[lengths[passage]]);
        });
    }
    for (std::uint32_t passage = 0; passage < scores.size(); ++passage) {
        if (scores[passage] >= top.threshold()) top.offer(scores[passage], query.number, passage);
    }
}

/// MaxScore in windows: the terms that together cannot lift a passage to the threshold are looked up only for passages that the others have
/// lifted far enough. Bounds are the largest impacts of the blocks that overlap the window.
/// Source    Turtle and Flood 1995, Query evaluation: strategies and optimizations; Ding and Suel 2011, Faster top-k document retrieval
///           using block-max indexes
class WindowedSearch {
public:
    static constexpr std::uint32_t window = 4096;
    using Scores = std::array<std::uint32_t, window>;  // 0 between two calls

    /// `blocks_of(term)` gives the postings of a term.
    template <class BlocksOf>
    WindowedSearch(const SegmentQuery& query, const BlocksOf& blocks_of) : query_(query) {
        cursors_.reserve(query.terms.size());
        for (const WeightedTerm& its : query.terms)
            cursors_.emplace_back(blocks_of(*its.term), query.segment->lengths(), *query.norms, its.weight, query.excess);
        bounds_.resize(cursors_.size());
    }

    /// Offers what is among the best in [begin, end), a window or the end of the passages. Windows come in their order.
    void offer(std::uint32_t begin, std::uint32_t end, Scores& scores, TopPassages& top) {
        for (std::uint32_t c = 0; c < cursors_.size(); ++c) bounds_[c] = {cursors_[c].bound(begin, end), 0, c};
        std::ranges::sort(
            bounds_, [](const Bound& a, const Bound& b) { return a.most != b.most ? a.most < b.most : a.cursor < b.cursor; });
        std::uint32_t sum = 0;
        for (Bound& bound : bounds_) bound.up_to = sum += bound.most;
        const std::uint32_t threshold = top.threshold();
        if (sum < threshold) return;
        // Terms that are too little without the others. Half of the threshold is the bound, because to look a term up for a passage costs
        // several times as much as to add a posting.
        std::size_t optional = 0;
        while (bounds_[optional].up_to < threshold - threshold / 2) ++optional;
        for (std::size_t i = optional; i < bounds_.size(); ++i) cursors_[bounds_[i].cursor].add(begin, end, scores.data());
        take_candidates(begin, end, threshold - (optional == 0 ? 0 : bounds_[optional - 1].up_to), scores);
        for (std::size_t i = optional; i > 0 && !candidates_.empty(); --i) {
            TermCursor& cursor = cursors_[bounds_[i - 1].cursor];
            const std::uint32_t still = bounds_[i - 1].up_to;
            std::erase_if(candidates_, [&](const Candidate& its) { return its.score + still < threshold; });
            for (Candidate& its : candidates_) its.score += cursor.of(its.passage);
        }
        for (const Candidate& its : candidates_) {
            if (its.score >= top.threshold()) top.offer(its.score, query_.number, its.passage);
        }
    }

private:
    static constexpr std::size_t stripe = 16;
    struct Bound {
        std::uint32_t most, up_to;  // what the term adds at most; and with all terms before it
        std::uint32_t cursor;
    };
    struct Candidate {
        std::uint32_t passage, score;
    };

    /// Takes the passages that have at least `least`, and clears the scores.
    void take_candidates(std::uint32_t begin, std::uint32_t end, std::uint32_t least, Scores& scores) {
        candidates_.clear();
        const std::size_t count = end - begin;
        for (std::size_t first = 0; first < count; first += stripe) {
            std::uint32_t most = 0;
            for (std::size_t i = 0; i < stripe; ++i) most = std::max(most, scores[first + i]);
            if (most == 0) continue;
            if (most >= least) {
                for (std::size_t i = first; i < first + stripe; ++i) {
                    if (scores[i] >= least) candidates_.push_back({begin + static_cast<std::uint32_t>(i), scores[i]});
                }
            }
            std::fill_n(scores.data() + first, stripe, 0u);
        }
    }

    SegmentQuery query_;
    std::vector<TermCursor> cursors_;
    std::vector<Bound> bounds_;
    std::vector<Candidate> candidates_;
};

/// A query to a segment, and its best so far.
struct SegmentSearch {
    SegmentQuery query;
    std::size_t k;
    TopPassages* top;

    /// Whether leaving out pays.
    bool prunes() const noexcept {
        constexpr std::size_t many_terms = 256;
        return query.terms.size() <= many_terms && k <= query.segment->passages() / 16;
    }
};

/// Offers, for some queries to one segment, the passages that can be among the best. They go through the windows together, and share the
/// blocks of postings that they decode.
inline void search_segment(std::span<const SegmentSearch> searches) {
    std::unordered_map<const TermEntry*, TermBlocks> blocks;
    std::vector<WindowedSearch> windowed;
    std::vector<TopPassages*> tops;
    // Blocks of one window: its postings of a term are 4,096 at most. A query alone needs none but the newest.
    const std::size_t held = searches.size() == 1 ? 1 : WindowedSearch::window / block_postings + 2;
    std::uint64_t passages = 0;
    for (const SegmentSearch& its : searches) {
        if (its.query.terms.empty() || its.k == 0) continue;
        if (!its.prunes()) {
            score_all(its.query, *its.top);
            continue;
        }
        const IndexSegment& segment = *its.query.segment;
        passages = segment.passages();
        windowed.emplace_back(its.query, [&](const TermEntry& term) -> TermBlocks& {
            return blocks.try_emplace(&term, segment, term, held).first->second;
        });
        tops.push_back(its.top);
    }
    WindowedSearch::Scores scores{};
    for (std::uint64_t begin = 0; begin < passages; begin += WindowedSearch::window) {
        const std::uint64_t end = std::min<std::uint64_t>(begin + WindowedSearch::window, passages);
        for (std::size_t i = 0; i < windowed.size(); ++i)
            windowed[i].offer(static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(end), scores, *tops[i]);
    }
}

}  // namespace flashback::inline FLASHBACK_ISA::detail
