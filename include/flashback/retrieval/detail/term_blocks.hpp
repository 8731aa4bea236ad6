/// \file The decoded postings of a term, for one query or for several that look at them together.
#pragma once

#include "flashback/retrieval/detail/index_segment.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

/// Decodes blocks when they are asked for, and holds the newest ones: one is enough for a query that goes forwards; several queries in one
/// window share what the window has.
class TermBlocks {
public:
    TermBlocks(const IndexSegment& segment, const TermEntry& term, std::size_t held)
        : segment_(&segment), term_(&term), entries_(segment.blocks(term)), held_(std::min(held, entries_.size())) {
        segment.read_rest(term, entries_, rest_);
    }

    const TermEntry& term() const noexcept { return *term_; }
    /// The full blocks. What is left behind them is `rest`.
    std::span<const PostingBlockEntry> entries() const noexcept { return entries_; }
    const PostingBlock& rest() const noexcept { return rest_; }

    /// The first passage that a full block can have.
    std::uint32_t first_of(std::size_t b) const noexcept { return b == 0 ? 0 : entries_[b - 1].last + 1; }

    /// A full block, valid until another one is asked for.
    const PostingBlock& passages(std::size_t b) { return slot_of(b).block; }
    const PostingBlock& with_counts(std::size_t b) {
        Slot& slot = slot_of(b);
        if (!slot.counted) segment_->read_counts(*term_, entries_[b], slot.block);
        slot.counted = true;
        return slot.block;
    }

private:
    struct Slot {
        std::size_t number = SIZE_MAX;
        bool counted = false;
        PostingBlock block;
    };

    Slot& slot_of(std::size_t b) {
        Slot& slot = held_[b % held_.size()];
        if (slot.number == b) return slot;
        slot.number = SIZE_MAX;  // in case the block is refused
        slot.counted = false;
        segment_->read_passages(*term_, entries_, b, slot.block);
        slot.number = b;
        return slot;
    }

    const IndexSegment* segment_;
    const TermEntry* term_;
    std::span<const PostingBlockEntry> entries_;
    std::vector<Slot> held_;
    PostingBlock rest_;
};

}  // namespace flashback::inline FLASHBACK_ISA::detail
