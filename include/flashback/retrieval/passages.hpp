/// \file Documents cut into passages, and tokenised once.
#pragma once

#include "flashback/core/retriever.hpp"
#include "flashback/retrieval/codec.hpp"
#include "flashback/retrieval/cut_document.hpp"
#include "flashback/retrieval/document.hpp"

#include <cstddef>
#include <deque>
#include <string>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// The passages of a collection. It owns the documents and the tokens, and gives views; a text that a document has is not
/// copied.
class Passages {
public:
    /// Cuts documents into passages of at most `most_tokens` tokens, as `cut_document` does.
    /// Throws    as `cut_document`
    /// Cost      tokenises everything once
    Passages(std::vector<Document> documents, const Codec& codec, std::size_t most_tokens);

    /// Takes each document as one passage with its id and without tokens: for searching, not for decoding.
    explicit Passages(std::vector<Document> documents);

    /// The documents that they were cut from.
    const std::vector<Document>& documents() const noexcept { return documents_; }

    /// Number of passages.
    std::size_t size() const noexcept { return entries_.size(); }

    /// A passage, without score; its views are valid as long as this object lives and is not moved. If documents have different
    /// ids, so have their passages.
    /// Requires  i < size()
    Passage operator[](std::size_t i) const;

    /// The number of the document that a passage is from.
    /// Requires  i < size()
    std::size_t document_of(std::size_t i) const noexcept { return entries_[i].document; }

private:
    struct Entry {
        std::size_t document = 0;
        std::size_t begin = 0, length = 0;  // of the text in its document, unless it has one of its own
        std::string own_text;
        std::string id;  // empty: that of the document
        std::vector<TokenId> tokens;
    };

    void add(std::size_t document, const Passage& passage);

    std::vector<Document> documents_;
    std::deque<Entry> entries_;
};

}  // namespace flashback::inline FLASHBACK_ISA

#if !defined(FLASHBACK_COMPILED_ONCE)
#include "flashback/retrieval/detail/passages.hpp"
#endif
