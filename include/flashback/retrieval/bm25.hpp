/// \file BM25: the search engine of In-Context RALM and FlashBack, in process.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/retriever.hpp"
#include "flashback/retrieval/passages.hpp"
#include "flashback/text/unicode.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// The settings of a BM25 index. The defaults are those of Pyserini and Anserini.
struct Bm25Options {
    std::size_t passage_tokens = 128;  ///< documents are cut into passages of at most so many tokens
    bool document_head = true;         ///< whether Tokenizer::document_head stands in front of each: OPT's `</s>`
    double k1 = 0.9;                   ///< >= 0: how soon more occurrences of a word stop counting
    double b = 0.4;                    ///< in [0, 1]: how much a passage is marked down for being long
};

/// An index over passages that scores a query q against a passage d as
///
///     sum over words w of q:  ln(1 + (N - n + 0.5) / (n + 0.5)) · tf / (tf + k1 (1 - b + b |d| / average |d|))
///
/// Here n of N passages have the word, and d has it tf times. A word that the query repeats counts each time. Words are runs of
/// Unicode letters, marks and digits in lower case. There is no stemming and there are no stop words. The index is immutable,
/// so several threads may search at once. It satisfies Retriever.
/// Source    Robertson and Zaragoza 2009, The probabilistic relevance framework, section 3.4; this idf, and no factor k1 + 1,
///           as in Lucene 8 and later
class Bm25Index {
public:
    /// Cuts documents into passages and indexes them.
    /// Throws    Error{contract} for options out of range, and if there are 2^32 passages, or as many pairs of a word and a
    ///           passage that has it; Error{vocabulary} if a document cannot be tokenised
    Bm25Index(std::vector<Document> documents, Tokenizer tokenizer, const Bm25Options& options = {})
        : passages_(std::move(documents), tokenizer, options.passage_tokens,
                    options.document_head ? tokenizer.document_head() : TokenSpan{}),
          tokenizer_(std::move(tokenizer)) {
        build(options);
    }

    /// Indexes whole documents, for searching by text. Their passages have no tokens.
    /// Throws    Error{contract} for options out of range, and if there are 2^32 passages, or as many pairs of a word and a
    ///           passage that has it
    explicit Bm25Index(std::vector<Document> documents, const Bm25Options& options = {}) : passages_(std::move(documents)) {
        build(options);
    }

    const Passages& passages() const noexcept { return passages_; }

    /// A passage by its number, and its score.
    struct Hit {
        std::size_t passage;
        double score;
    };

    /// The best k passages that share a word with the query. If scores are equal, the order is by document id, then by place in
    /// the document. The views are valid as long as this index lives.
    /// Throws    Error{contract} for a query of tokens if the index has no tokenizer
    /// Cost      one addition for each posting of each word of the query
    std::vector<Passage> retrieve(const Query& query, std::size_t k) const {
        std::vector<Passage> found;
        if (!query.text.empty() || query.tokens.empty()) {
            fill(found, query.text, k);
        } else {
            FLASHBACK_ASSERT(tokenizer_.has_value(),
                             "an index of whole documents has no tokenizer to read a query of tokens with");
            fill(found, tokenizer_->decode(query.tokens), k);
        }
        return found;
    }

    /// Like `retrieve`, but by text, and with numbers instead of views.
    std::vector<Hit> search(std::string_view text, std::size_t k) const {
        std::vector<double> scores(passages_.size(), 0.0);
        std::vector<std::uint32_t> touched;
        for_each_word(text, [&](std::string_view word) {
            const auto it = words_.find(std::string{word});
            if (it == words_.end()) return;
            for (std::size_t p = first_posting_[it->second]; p < first_posting_[it->second + 1]; ++p) {
                const Posting& posting = postings_[p];
                if (scores[posting.passage] == 0) touched.push_back(posting.passage);
                scores[posting.passage] += posting.score;
            }
        });
        const auto better = [&](std::uint32_t x, std::uint32_t y) {
            return scores[x] != scores[y] ? scores[x] > scores[y] : rank_[x] < rank_[y];
        };
        const std::size_t count = std::min(k, touched.size());
        std::ranges::partial_sort(touched, touched.begin() + static_cast<std::ptrdiff_t>(count), better);
        std::vector<Hit> hits;
        hits.reserve(count);
        for (std::size_t i = 0; i < count; ++i) hits.push_back({touched[i], scores[touched[i]]});
        return hits;
    }

private:
    struct Posting {
        std::uint32_t passage;
        float score;  // complete, so that a query only adds (Lù 2024, BM25S)
    };

    void fill(std::vector<Passage>& found, std::string_view text, std::size_t k) const {
        for (const Hit& hit : search(text, k)) {
            found.push_back(passages_[hit.passage]);
            found.back().score = static_cast<float>(hit.score);
        }
    }

    void build(const Bm25Options& options) {
        FLASHBACK_ASSERT(options.k1 >= 0 && std::isfinite(options.k1), "k1 of BM25 must be a number >= 0, found ", options.k1);
        FLASHBACK_ASSERT(options.b >= 0 && options.b <= 1, "b of BM25 must lie in [0, 1], found ", options.b);
        FLASHBACK_ASSERT(passages_.size() < UINT32_MAX, "an index holds fewer than 2^32 passages, found ", passages_.size());

        struct Occurrence {
            std::uint32_t word, passage, count;
        };
        std::vector<Occurrence> occurrences;
        std::vector<double> lengths(passages_.size());
        std::vector<std::uint32_t> last_occurrence;  // by word: the newest of `occurrences`
        for (std::uint32_t p = 0; p < passages_.size(); ++p) {
            const std::size_t first = occurrences.size();
            for_each_word(passages_[p].text, [&](std::string_view text) {
                const auto word =
                    words_.try_emplace(std::string{text}, static_cast<std::uint32_t>(words_.size())).first->second;
                if (word == last_occurrence.size()) last_occurrence.push_back(UINT32_MAX);
                const std::uint32_t last = last_occurrence[word];
                if (last != UINT32_MAX && last >= first) {
                    ++occurrences[last].count;
                } else {
                    FLASHBACK_ASSERT(occurrences.size() < UINT32_MAX,
                                     "an index holds fewer than 2^32 pairs of a word and a passage, found more in passage ", p,
                                     " of ", passages_.size());
                    last_occurrence[word] = static_cast<std::uint32_t>(occurrences.size());
                    occurrences.push_back({word, p, 1});
                }
                ++lengths[p];
            });
        }

        first_posting_.assign(words_.size() + 1, 0);
        for (const Occurrence& o : occurrences) ++first_posting_[o.word + 1];
        std::partial_sum(first_posting_.begin(), first_posting_.end(), first_posting_.begin());
        std::vector<std::size_t> next(first_posting_.begin(), first_posting_.end() - 1);
        const double n_passages = static_cast<double>(passages_.size());
        const double average = std::max(1.0, std::accumulate(lengths.begin(), lengths.end(), 0.0)) / std::max(1.0, n_passages);
        postings_.resize(occurrences.size());
        for (const Occurrence& o : occurrences) {
            const double n = static_cast<double>(first_posting_[o.word + 1] - first_posting_[o.word]);
            const double idf = std::log1p((n_passages - n + 0.5) / (n + 0.5));
            const double tf = o.count;
            const double norm = options.k1 * (1 - options.b + options.b * lengths[o.passage] / average);
            postings_[next[o.word]++] = {o.passage, static_cast<float>(idf * tf / (tf + norm))};
        }
        rank_passages();
    }

    /// The order of equal scores: by document id, then by place in the document.
    void rank_passages() {
        std::vector<std::uint32_t> order(passages_.size());
        std::iota(order.begin(), order.end(), 0u);
        std::ranges::sort(order, [&](std::uint32_t x, std::uint32_t y) {
            const std::size_t dx = passages_.document_of(x);
            const std::size_t dy = passages_.document_of(y);
            return dx != dy ? passages_.documents()[dx].id < passages_.documents()[dy].id : x < y;
        });
        rank_.resize(order.size());
        for (std::uint32_t i = 0; i < order.size(); ++i) rank_[order[i]] = i;
    }

    Passages passages_;
    std::optional<Tokenizer> tokenizer_;
    std::unordered_map<std::string, std::uint32_t> words_;
    std::vector<std::size_t> first_posting_;  // by word, and one more
    std::vector<Posting> postings_;
    std::vector<std::uint32_t> rank_;
};

static_assert(Retriever<const Bm25Index>);

}  // namespace flashback::inline FLASHBACK_ISA
