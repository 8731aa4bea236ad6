/// \file The postings of a term of a query, window by window.
#pragma once

#include "flashback/retrieval/detail/bm25_formula.hpp"
#include "flashback/retrieval/detail/index_segment.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>

namespace flashback::inline FLASHBACK_ISA::detail {

/// What a posting adds to the score of its passage, in units of the query; at least 1, so that a passage with a term is found. It is never more
/// than the weight, and there is no sum that a compiler could fuse with the product.
inline std::uint32_t contribution(float weight, std::uint32_t count, float norm) noexcept {
    const auto tf = static_cast<float>(count);
    return std::max(1u, static_cast<std::uint32_t>(weight * (tf / (tf + norm))));
}

/// Goes through the postings of a term, forwards only.
class TermCursor {
public:
    /// `weight`: units of the query for an impact of 1. `excess`: how much more an impact can be than what the segment says, because the
    /// formula has changed since.
    TermCursor(const IndexSegment& segment, const TermEntry& term, const LengthNorms& norms, float weight, double excess)
        : segment_(&segment),
          term_(&term),
          blocks_(segment.blocks(term)),
          norms_(&norms),
          weight_(weight),
          units_per_step_(static_cast<double>(weight) * excess * rounding / impact_steps) {
        segment.read_rest(term, blocks_, rest_);
    }

    /// The most that a passage in [begin, end) can get; 0 if none of them has the term. Windows come in their order.
    std::uint32_t bound(std::uint32_t begin, std::uint32_t end) {
        while (next_ < blocks_.size() && blocks_[next_].last < begin) ++next_;
        std::uint16_t most = 0;
        std::size_t b = next_;
        for (; b < blocks_.size() && first_of(b) < end; ++b) most = std::max(most, blocks_[b].impact);
        if (b == blocks_.size()) {
            while (rest_at_ < rest_.size && rest_.passages[rest_at_] < begin) ++rest_at_;
            if (rest_at_ < rest_.size && rest_.passages[rest_at_] < end) most = std::max(most, term_->impact);
        }
        if (most == 0) return 0;
        return static_cast<std::uint32_t>(std::ceil(std::min(units_per_step_ * most, static_cast<double>(weight_)))) + 1;
    }

    /// Adds what the passages in [begin, end) get to their scores.
    void add(std::uint32_t begin, std::uint32_t end, std::uint32_t* scores) {
        const std::span<const std::uint32_t> lengths = segment_->lengths();
        const auto add_block = [&](const PostingBlock& block) {
            const auto* from = std::lower_bound(block.passages.data(), block.passages.data() + block.size, begin);
            for (auto i = static_cast<std::size_t>(from - block.passages.data()); i < block.size && block.passages[i] < end;
                 ++i) {
                const std::uint32_t passage = block.passages[i];
                scores[passage - begin] += contribution(weight_, block.counts[i], (*norms_)[lengths[passage]]);
            }
        };
        std::size_t b = next_;
        for (; b < blocks_.size() && first_of(b) < end; ++b) {
            load(b);
            load_counts();
            add_block(held_);
        }
        if (b == blocks_.size()) add_block(rest_);
    }

    /// What one passage gets. Passages come in their order within a window.
    std::uint32_t of(std::uint32_t passage) {
        while (next_ < blocks_.size() && blocks_[next_].last < passage) ++next_;
        const bool full = next_ < blocks_.size();
        if (full) load(next_);
        const PostingBlock& block = full ? held_ : rest_;
        const auto* from = block.passages.data();
        const auto* found = std::lower_bound(from, from + block.size, passage);
        if (found == from + block.size || *found != passage) return 0;
        if (full) load_counts();
        return contribution(weight_, block.counts[static_cast<std::size_t>(found - from)],
                            (*norms_)[segment_->lengths()[passage]]);
    }

private:
    std::uint32_t first_of(std::size_t b) const noexcept { return b == 0 ? 0 : blocks_[b - 1].last + 1; }
    void load(std::size_t b) {
        if (held_block_ == b) return;
        held_block_ = SIZE_MAX;  // in case the block is refused
        segment_->read_passages(*term_, blocks_, b, held_);
        held_block_ = b;
        counts_held_ = false;
    }
    void load_counts() {
        if (counts_held_) return;
        segment_->read_counts(*term_, blocks_[held_block_], held_);
        counts_held_ = true;
    }

    const IndexSegment* segment_;
    const TermEntry* term_;
    std::span<const PostingBlockEntry> blocks_;
    const LengthNorms* norms_;
    /// More than a contribution, and the norms of another formula, can gain by being rounded to float.
    static constexpr double rounding = 1 + 1e-6;
    float weight_;
    double units_per_step_;
    std::size_t next_ = 0;  // the first block that may matter
    std::size_t held_block_ = SIZE_MAX;
    bool counts_held_ = false;
    std::size_t rest_at_ = 0;
    PostingBlock held_;
    PostingBlock rest_;
};

}  // namespace flashback::inline FLASHBACK_ISA::detail
