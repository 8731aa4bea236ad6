/// \file Turns documents into a segment of an index.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/retriever.hpp"
#include "flashback/retrieval/detail/bm25_formula.hpp"
#include "flashback/retrieval/detail/segment_writer.hpp"
#include "flashback/retrieval/detail/term_table.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <string_view>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

/// Collects the terms of passages, and writes texts to a SegmentWriter meanwhile.
class SegmentBuilder {
public:
    SegmentBuilder(IndexSink sink, const Bm25Formula& formula) : writer_(sink, formula) {}

    void document(std::string_view id, std::string_view title) { writer_.document(id, title); }

    /// Adds a passage to the newest document. `each_term(on_term)` gives its terms.
    template <class EachTerm>
    void passage(std::string_view id, std::string_view text, TokenSpan tokens, const EachTerm& each_term) {
        const std::size_t first = occurrences_.size();
        std::uint32_t length = 0;
        each_term([&](std::string_view word) {
            if (word.empty()) return;
            ++length;
            const std::uint32_t term = terms_.add(word);
            if (term == newest_.size()) newest_.push_back(none);
            const std::size_t newest = newest_[term];
            if (newest != none && newest >= first) {
                ++occurrences_[newest].count;
            } else {
                newest_[term] = occurrences_.size();
                occurrences_.push_back({term, passages_, 1});
            }
        });
        writer_.passage(id, text, tokens, length);
        ++passages_;
    }

    void finish() {
        writer_.begin_terms();
        std::vector<std::size_t> begin(terms_.size() + 1, 0);
        for (const Occurrence& its : occurrences_) ++begin[its.term + 1];
        std::partial_sum(begin.begin(), begin.end(), begin.begin());
        std::vector<std::size_t> next(begin.begin(), begin.end() - 1);
        std::vector<Posting> postings(occurrences_.size());
        for (const Occurrence& its : occurrences_) postings[next[its.term]++] = {its.passage, its.count};
        std::vector<std::uint32_t> order(terms_.size());
        std::iota(order.begin(), order.end(), 0u);
        std::ranges::sort(order, {}, [&](std::uint32_t term) { return terms_[term]; });
        for (const std::uint32_t term : order) {
            writer_.term(terms_[term]);
            for (std::size_t i = begin[term]; i < begin[term + 1]; ++i) writer_.posting(postings[i].passage, postings[i].count);
            writer_.end_term();
        }
        writer_.finish();
    }

private:
    static constexpr std::size_t none = SIZE_MAX;
    struct Posting {
        std::uint32_t passage, count;
    };
    struct Occurrence {
        std::uint32_t term, passage, count;
    };

    SegmentWriter writer_;
    TermTable terms_;
    std::vector<Occurrence> occurrences_;
    std::vector<std::size_t> newest_;  // by term: its newest occurrence
    std::uint32_t passages_ = 0;
};

}  // namespace flashback::inline FLASHBACK_ISA::detail
