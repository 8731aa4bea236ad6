/// \file Building a BM25 index in memory, and searching any.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/retriever.hpp"
#include "flashback/retrieval/bm25.hpp"
#include "flashback/retrieval/cut_document.hpp"
#include "flashback/retrieval/detail/bm25_formula.hpp"
#include "flashback/retrieval/detail/bm25_parts.hpp"
#include "flashback/retrieval/detail/build_segments.hpp"
#include "flashback/retrieval/detail/search_segment.hpp"
#include "flashback/retrieval/detail/top_passages.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {
namespace detail {

/// The terms of a query, each once, in the order of their first places, with how often they stand there.
class QueryTerms {
public:
    struct Term {
        std::string word;
        double count;
    };

    QueryTerms(const AnyAnalyzer& analyzer, std::string_view text) {
        const auto add = [this](std::string_view word) {
            const auto found = numbers_.try_emplace(std::string{word}, terms_.size());
            if (found.second) terms_.push_back({std::string{word}, 0});
            ++terms_[found.first->second].count;
        };
        analyzer.analyze(text, add);
    }

    const std::vector<Term>& terms() const noexcept { return terms_; }

private:
    std::unordered_map<std::string, std::size_t> numbers_;
    std::vector<Term> terms_;
};

/// A query whose terms were looked up in all segments.
struct Bm25Query {
    std::vector<std::vector<WeightedTerm>> terms;  // of each segment
    double units = 0;                              // of a score of 1: all terms together give less than 2^31

    Bm25Query(const Bm25Parts& parts, std::string_view text) : terms(parts.segments.size()) {
        const QueryTerms asked{parts.analyzer, text};
        struct Found {
            std::size_t segment, number;
            const TermEntry* term;
        };
        std::vector<Found> found;
        std::vector<double> weights;
        double sum = 0;
        for (const QueryTerms::Term& its : asked.terms()) {
            double having = 0;
            for (std::size_t s = 0; s < terms.size(); ++s) {
                const TermEntry* term = parts.segments[s].segment->find(its.word);
                if (term == nullptr) continue;
                found.push_back({s, weights.size(), term});
                having += term->count;
            }
            weights.push_back(its.count * inverse_frequency(static_cast<double>(parts.first_passage.back()), having));
            if (having > 0) sum += weights.back();
        }
        units = sum == 0 ? 1 : std::exp2(30 - std::ceil(std::log2(sum)));
        for (const Found& its : found)
            terms[its.segment].push_back({its.term, static_cast<float>(weights[its.number] * units)});
    }
};

/// The best passages for each of some queries, in one go through the segments.
inline std::vector<std::vector<ScoredPassage>> best_passages(const Bm25Parts& parts, std::span<const Bm25Query> queries,
                                                             std::size_t k, Bm25Index::Accept accept) {
    std::vector<TopPassages> tops;
    tops.reserve(queries.size());
    for (std::size_t q = 0; q < queries.size(); ++q)
        tops.emplace_back(parts.segments, std::min(k, parts.first_passage.back()), accept);
    std::vector<SegmentSearch> searches;
    for (std::uint32_t s = 0; s < parts.segments.size(); ++s) {
        searches.clear();
        for (std::size_t q = 0; q < queries.size(); ++q)
            searches.push_back(
                {{parts.segments[s].segment, s, &parts.norms, parts.excess[s], queries[q].terms[s]}, k, &tops[q]});
        search_segment(searches);
    }
    std::vector<std::vector<ScoredPassage>> best;
    best.reserve(tops.size());
    for (TopPassages& top : tops) best.push_back(top.sorted());
    return best;
}

/// Passages as the answer to a query.
inline std::vector<Passage> answer_of(const Bm25Parts& parts, const Bm25Query& query, std::span<const ScoredPassage> best) {
    std::vector<Passage> found;
    found.reserve(best.size());
    for (const ScoredPassage& its : best) {
        found.push_back(parts.segments[its.segment].segment->passage(its.passage));
        found.back().score = static_cast<float>(its.score / query.units);
    }
    return found;
}

inline std::string text_of_query(const Bm25Parts& parts, const Query& query) {
    if (!query.text.empty() || query.tokens.empty()) return std::string{query.text};
    FLASHBACK_ASSERT(parts.codec && parts.codec->decode,
                     "an index without a codec cannot read a query of tokens, expected text");
    return parts.codec->decode(query.tokens);
}

/// An index in memory.
inline std::shared_ptr<const Bm25Parts> build_parts(std::vector<Document> documents, const Codec* codec,
                                                    const Bm25Options& options) {
    check_formula(options.formula);
    {
        std::unordered_set<std::string_view> ids;
        for (const Document& document : documents) {
            if (!ids.insert(document.id).second)
                FLASHBACK_THROW(ErrorCode::corpus, "two documents have the id '", printable(document.id),
                                "', expected different ones");
        }
    }
    auto parts = std::make_shared<Bm25Parts>();
    parts->analyzer = options.analyzer;
    if (codec != nullptr) parts->codec = *codec;
    parts->executor = options.executor;
    for (std::vector<std::byte>& segment :
         build_segments(documents, {&options.analyzer, codec, options.passage_tokens, options.formula}, options.executor))
        parts->held.emplace_back(std::move(segment), "segment in memory");
    parts->complete(options.formula);
    return parts;
}

}  // namespace detail

FLASHBACK_DETAIL_ONCE Bm25Index::Bm25Index(std::vector<Document> documents, const Codec& codec, const Bm25Options& options)
    : parts_(detail::build_parts(std::move(documents), &codec, options)) {}

FLASHBACK_DETAIL_ONCE Bm25Index::Bm25Index(std::vector<Document> documents, const Bm25Options& options)
    : parts_(detail::build_parts(std::move(documents), nullptr, options)) {}

FLASHBACK_DETAIL_ONCE std::size_t Bm25Index::size() const noexcept {
    return parts_->first_passage.back() - parts_->gone_passages;
}
FLASHBACK_DETAIL_ONCE std::size_t Bm25Index::documents() const noexcept { return parts_->documents - parts_->gone_documents; }
FLASHBACK_DETAIL_ONCE std::size_t Bm25Index::search_bytes() const noexcept {
    std::size_t bytes = 0;
    for (const detail::LiveSegment& its : parts_->segments) bytes += its.segment->search_bytes();
    return bytes;
}

FLASHBACK_DETAIL_ONCE std::vector<Passage> Bm25Index::retrieve(const Query& query, std::size_t k, Accept accept) const {
    const detail::Bm25Query looked_up{*parts_, detail::text_of_query(*parts_, query)};
    return detail::answer_of(*parts_, looked_up, detail::best_passages(*parts_, {&looked_up, 1}, k, accept)[0]);
}

FLASHBACK_DETAIL_ONCE std::vector<std::vector<Passage>> Bm25Index::retrieve_batch(std::span<const Query> queries,
                                                                                  std::size_t k) const {
    constexpr std::size_t most_together = 16;  // queries whose blocks and scores stay in a cache
    std::vector<std::vector<Passage>> answers(queries.size());
    const std::size_t groups = std::max((queries.size() + most_together - 1) / most_together,
                                        std::min(parts_->executor.concurrency(), queries.size()));
    parts_->executor.run(groups, [&](std::size_t group) {
        const std::size_t begin = queries.size() * group / groups;
        const std::size_t end = queries.size() * (group + 1) / groups;
        std::vector<detail::Bm25Query> looked_up;
        for (std::size_t i = begin; i < end; ++i) looked_up.emplace_back(*parts_, detail::text_of_query(*parts_, queries[i]));
        const auto best = detail::best_passages(*parts_, looked_up, k, {});
        for (std::size_t i = begin; i < end; ++i)
            answers[i] = detail::answer_of(*parts_, looked_up[i - begin], best[i - begin]);
    });
    return answers;
}

FLASHBACK_DETAIL_ONCE std::vector<Bm25Index::Hit> Bm25Index::search(std::string_view text, std::size_t k, Accept accept) const {
    const detail::Bm25Query looked_up{*parts_, text};
    const auto best = detail::best_passages(*parts_, {&looked_up, 1}, k, accept);
    std::vector<Hit> hits;
    for (const detail::ScoredPassage& its : best[0])
        hits.push_back({parts_->first_passage[its.segment] + its.passage, its.score / looked_up.units});
    return hits;
}

FLASHBACK_DETAIL_ONCE void Bm25Index::for_each_passage(FunctionRef<void(const Passage&)> on_passage) const {
    for (const detail::LiveSegment& its : parts_->segments) {
        for (std::size_t p = 0; p < its.segment->passages(); ++p) {
            if (!its.deletions->has(its.segment->document_of(p))) on_passage(its.segment->passage(p));
        }
    }
}

FLASHBACK_DETAIL_ONCE Passage Bm25Index::operator[](std::size_t passage) const {
    const std::size_t s = parts_->segment_of(passage);
    return parts_->segments[s].segment->passage(passage - parts_->first_passage[s]);
}

FLASHBACK_DETAIL_ONCE std::string_view Bm25Index::document_of(std::size_t passage) const {
    const std::size_t s = parts_->segment_of(passage);
    const detail::IndexSegment& its = *parts_->segments[s].segment;
    return its.document_id(its.document_of(passage - parts_->first_passage[s]));
}

}  // namespace flashback::inline FLASHBACK_ISA
