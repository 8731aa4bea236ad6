/// \file BM25: the search engine of In-Context RALM and FlashBack, in process.
#pragma once

#include "flashback/core/retriever.hpp"
#include "flashback/retrieval/passages.hpp"
#include "flashback/text/tokenizer.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// The settings of a BM25 index. The defaults are those of Pyserini and Anserini.
struct Bm25Options {
    std::size_t passage_tokens = 128;  ///< documents are cut into passages of at most this many tokens
    bool passage_head = true;          ///< whether Tokenizer::passage_head stands in front of each: OPT's `</s>`
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
    Bm25Index(std::vector<Document> documents, Tokenizer tokenizer, const Bm25Options& options = {});

    /// Indexes whole documents, for searching by text. Their passages have no tokens.
    /// Throws    Error{contract} for options out of range, or 2^32 passages or pairs of a word and a passage that has it
    explicit Bm25Index(std::vector<Document> documents, const Bm25Options& options = {});

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
    std::vector<Passage> retrieve(const Query& query, std::size_t k) const;

    /// Like `retrieve`, but by text, and with numbers instead of views.
    std::vector<Hit> search(std::string_view text, std::size_t k) const;

private:
    struct Posting {
        std::uint32_t passage;
        float score;  // complete, so that a query only adds (Lù 2024, BM25S)
    };

    void fill(std::vector<Passage>& found, std::string_view text, std::size_t k) const;

    void build(const Bm25Options& options);

    /// The order of equal scores: by document id, then by place in the document.
    void rank_passages();

    Passages passages_;
    std::optional<Tokenizer> tokenizer_;
    std::unordered_map<std::string, std::uint32_t> words_;
    std::vector<std::size_t> first_posting_;  // by word, and one more
    std::vector<Posting> postings_;
    std::vector<std::uint32_t> rank_;
};

static_assert(Retriever<const Bm25Index>);

}  // namespace flashback::inline FLASHBACK_ISA

#if !defined(FLASHBACK_COMPILED_ONCE)
#include "flashback/retrieval/detail/bm25_index.hpp"
#endif
