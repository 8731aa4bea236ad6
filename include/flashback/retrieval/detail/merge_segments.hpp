/// \file Several segments of an index made one.
#pragma once

#include "flashback/retrieval/detail/bm25_formula.hpp"
#include "flashback/retrieval/detail/deletions.hpp"
#include "flashback/retrieval/detail/index_segment.hpp"
#include "flashback/retrieval/detail/segment_writer.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

/// Calls `on_posting(passage, count)` for all postings of a term, in order.
template <class OnPosting>
void for_each_posting(const IndexSegment& segment, const TermEntry& term, PostingBlock& block, const OnPosting& on_posting) {
    const std::span<const PostingBlockEntry> blocks = segment.blocks(term);
    const auto give = [&] {
        for (std::size_t i = 0; i < block.size; ++i) on_posting(block.passages[i], block.counts[i]);
    };
    for (std::size_t b = 0; b < blocks.size(); ++b) {
        segment.read_passages(term, blocks, b, block);
        segment.read_counts(term, blocks[b], block);
        give();
    }
    segment.read_rest(term, blocks, block);
    give();
}

/// Writes what is left of some segments, in their order, as one.
/// Throws    Error{format} if one is damaged
/// Cost      reads and writes everything once; memory for the tables of the new segment
inline void merge_segments(std::span<const LiveSegment> segments, const Bm25Formula& formula, IndexSink sink) {
    constexpr std::uint32_t gone = UINT32_MAX;
    SegmentWriter writer{sink, formula};
    std::vector<std::vector<std::uint32_t>> number(segments.size());  // of each passage, in the new segment
    std::uint32_t next = 0;
    for (std::size_t s = 0; s < segments.size(); ++s) {
        const IndexSegment& from = *segments[s].segment;
        number[s].assign(from.passages(), gone);
        std::uint32_t document = UINT32_MAX;
        for (std::size_t p = 0; p < from.passages(); ++p) {
            const std::uint32_t its = from.document_of(p);
            if (segments[s].deletions->has(its)) continue;
            if (its != document) writer.document(from.document_id(its), from.title(its));
            document = its;
            const Passage passage = from.passage(p);
            writer.passage(from.has_own_id(p) ? passage.id : std::string_view{}, passage.text, passage.tokens,
                           from.lengths()[p]);
            number[s][p] = next++;
        }
    }
    writer.begin_terms();
    std::vector<std::size_t> at(segments.size(), 0);  // the next term of each segment
    PostingBlock block;
    for (;;) {
        bool any = false;
        std::string_view least;
        for (std::size_t s = 0; s < segments.size(); ++s) {
            const IndexSegment& from = *segments[s].segment;
            if (at[s] == from.terms().size()) continue;
            const std::string_view word = from.word(from.terms()[at[s]]);
            if (!any || word < least) least = word;
            any = true;
        }
        if (!any) break;
        bool begun = false;
        for (std::size_t s = 0; s < segments.size(); ++s) {
            const IndexSegment& from = *segments[s].segment;
            if (at[s] == from.terms().size() || from.word(from.terms()[at[s]]) != least) continue;
            for_each_posting(from, from.terms()[at[s]++], block, [&](std::uint32_t passage, std::uint32_t count) {
                if (number[s][passage] == gone) return;
                if (!begun) writer.term(least);
                begun = true;
                writer.posting(number[s][passage], count);
            });
        }
        if (begun) writer.end_term();
    }
    writer.finish();
}

}  // namespace flashback::inline FLASHBACK_ISA::detail
