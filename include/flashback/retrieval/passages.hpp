/// \file Documents cut into passages, and tokenised once.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/retriever.hpp"
#include "flashback/retrieval/corpus.hpp"
#include "flashback/retrieval/detail/cut_passage.hpp"
#include "flashback/text/tokenizer.hpp"

#include <cstddef>
#include <deque>
#include <string>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// The passages of a collection. It owns the documents, their tokens and the texts, and gives views.
class Passages {
public:
    /// Cuts documents into passages of at most `most_tokens` tokens: at the end of a sentence if there is one in the last
    /// quarter, else between two words there. The tokens of `head` stand in front of each and count (e.g.
    /// Tokenizer::passage_head).
    /// Throws    Error{contract} unless `most_tokens` is more than the head has; Error{vocabulary} if a document cannot be
    ///           tokenised
    /// Cost      tokenises everything once
    Passages(std::vector<Document> documents, const Tokenizer& tokenizer, std::size_t most_tokens, TokenSpan head = {});

    /// Takes each document as one passage without tokens: for searching, not for decoding.
    explicit Passages(std::vector<Document> documents);

    const std::vector<Document>& documents() const noexcept { return documents_; }

    /// Number of passages.
    std::size_t size() const noexcept { return entries_.size(); }

    /// A passage, without score; its views are valid as long as this object lives. The id is that of the document if it has no
    /// other passage, else `id#1`, `id#2`, ...
    /// Requires  i < size()
    Passage operator[](std::size_t i) const;

    /// The number of the document that a passage is from.
    /// Requires  i < size()
    std::size_t document_of(std::size_t i) const noexcept { return entries_[i].document; }

private:
    struct Entry {
        std::size_t document;
        std::string id;
        std::string text;
        std::vector<TokenId> tokens;
    };

    void cut(std::size_t document, const Tokenizer& tokenizer, std::size_t most_tokens, TokenSpan head);

    std::vector<Document> documents_;
    std::deque<Entry> entries_;
};

}  // namespace flashback::inline FLASHBACK_ISA

#if !defined(FLASHBACK_COMPILED_ONCE)
#include "flashback/retrieval/detail/cut_documents.hpp"
#endif
