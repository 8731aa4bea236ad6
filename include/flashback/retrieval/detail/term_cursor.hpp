/// \file The postings of a term of a query, window by window.
#pragma once

#include "flashback/retrieval/detail/bm25_formula.hpp"
#include "flashback/retrieval/detail/index_segment.hpp"
#include "flashback/retrieval/detail/term_blocks.hpp"

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
    TermCursor(TermBlocks& blocks, std::span<const std::uint32_t> lengths, const LengthNorms& norms, float weight,
               double excess)
        : blocks_(&blocks),
          lengths_(lengths),
          norms_(&norms),
          weight_(weight),
          units_per_step_(static_cast<double>(weight) * excess * rounding / impact_steps) {}

    /// The most that a passage in [begin, end) can get; 0 if none of them has the term. Windows come in their order.
    std::uint32_t bound(std::uint32_t begin, std::uint32_t end) {
        const std::span<const PostingBlockEntry> entries = blocks_->entries();
        while (next_ < entries.size() && entries[next_].last < begin) ++next_;
        std::uint16_t most = 0;
        std::size_t b = next_;
        for (; b < entries.size() && blocks_->first_of(b) < end; ++b) most = std::max(most, entries[b].impact);
        if (b == entries.size()) {
            const PostingBlock& rest = blocks_->rest();
            while (rest_at_ < rest.size && rest.passages[rest_at_] < begin) ++rest_at_;
            if (rest_at_ < rest.size && rest.passages[rest_at_] < end) most = std::max(most, blocks_->term().impact);
        }
        if (most == 0) return 0;
        return static_cast<std::uint32_t>(std::ceil(std::min(units_per_step_ * most, static_cast<double>(weight_)))) + 1;
    }

    /// Adds what the passages in [begin, end) get to their scores.
    void add(std::uint32_t begin, std::uint32_t end, std::uint32_t* scores) {
        const auto add_block = [&](const PostingBlock& block) {
            const auto* from = std::lower_bound(block.passages.data(), block.passages.data() + block.size, begin);
            for (auto i = static_cast<std::size_t>(from - block.passages.data()); i < block.size && block.passages[i] < end;
                 ++i) {
                const std::uint32_t passage = block.passages[i];
                scores[passage - begin] += contribution(weight_, block.counts[i], (*norms_)[lengths_[passage]]);
            }
        };
        const std::size_t full = blocks_->entries().size();
        std::size_t b = next_;
        for (; b < full && blocks_->first_of(b) < end; ++b) add_block(blocks_->with_counts(b));
        if (b == full) add_block(blocks_->rest());
    }

    /// What one passage gets. Passages come in their order within a window.
    std::uint32_t of(std::uint32_t passage) {
        const std::span<const PostingBlockEntry> entries = blocks_->entries();
        while (next_ < entries.size() && entries[next_].last < passage) ++next_;
        const bool full = next_ < entries.size();
        const PostingBlock& block = full ? blocks_->passages(next_) : blocks_->rest();
        const auto* from = block.passages.data();
        const auto* found = std::lower_bound(from, from + block.size, passage);
        if (found == from + block.size || *found != passage) return 0;
        const PostingBlock& counted = full ? blocks_->with_counts(next_) : block;
        return contribution(weight_, counted.counts[static_cast<std::size_t>(found - from)], (*norms_)[lengths_[passage]]);
    }

private:
    /// More than a contribution, and the norms of another formula, can gain by being rounded to float.
    static constexpr double rounding = 1 + 1e-6;

    TermBlocks* blocks_;
    std::span<const std::uint32_t> lengths_;
    const LengthNorms* norms_;
    float weight_;
    double units_per_step_;
    std::size_t next_ = 0;  // the first block that may matter
    std::size_t rest_at_ = 0;
};

}  // namespace flashback::inline FLASHBACK_ISA::detail
