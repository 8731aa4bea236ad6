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
#include <string_view>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// The passages of a collection. It owns the documents, their tokens and the texts, and gives views.
class Passages {
public:
    /// Cuts documents into passages of at most `most_tokens` tokens: at the end of a sentence if there is one in the last
    /// quarter, else between two words there. The tokens of `head` stand in front of each and count (e.g.
    /// Tokenizer::document_head).
    /// Throws    Error{contract} unless `most_tokens` is more than the head has; Error{vocabulary} if a document cannot be
    ///           tokenised
    /// Cost      tokenises everything once
    Passages(std::vector<Document> documents, const Tokenizer& tokenizer, std::size_t most_tokens, TokenSpan head = {})
        : documents_(std::move(documents)) {
        FLASHBACK_ASSERT(most_tokens > head.size(), "a passage needs at least ", head.size() + 1, " token, found a limit of ",
                         most_tokens);
        for (std::size_t d = 0; d < documents_.size(); ++d) cut(d, tokenizer, most_tokens - head.size(), head);
    }

    /// Takes each document as one passage without tokens: for searching, not for decoding.
    explicit Passages(std::vector<Document> documents) : documents_(std::move(documents)) {
        for (std::size_t d = 0; d < documents_.size(); ++d) entries_.push_back({d, documents_[d].id, documents_[d].text, {}});
    }

    const std::vector<Document>& documents() const noexcept { return documents_; }

    /// Number of passages.
    std::size_t size() const noexcept { return entries_.size(); }

    /// A passage, without score; its views are valid as long as this object lives. The id is that of the document if it has no
    /// other passage, else `id#1`, `id#2`, ...
    /// Requires  i < size()
    Passage operator[](std::size_t i) const {
        const Entry& entry = entries_[i];
        return {.id = entry.id, .title = documents_[entry.document].title, .text = entry.text, .tokens = entry.tokens};
    }

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

    void cut(std::size_t document, const Tokenizer& tokenizer, std::size_t most_tokens, TokenSpan head) {
        const std::vector<TokenId> tokens = tokenizer.encode(documents_[document].text);
        const auto white = [&](std::size_t i) { return detail::is_white(tokenizer.decode(tokens[i])); };
        const std::size_t first_entry = entries_.size();
        for (std::size_t begin = 0;;) {
            while (begin < tokens.size() && white(begin)) ++begin;
            if (begin == tokens.size()) break;
            const std::size_t next = detail::passage_end(tokenizer, tokens, begin, most_tokens);
            std::size_t end = next;
            while (white(end - 1)) --end;
            const TokenSpan passage = TokenSpan{tokens}.subspan(begin, end - begin);
            entries_.push_back(
                {document, documents_[document].id, tokenizer.decode_whole(passage), {head.begin(), head.end()}});
            append(entries_.back().tokens, passage);
            begin = next;
        }
        if (entries_.size() - first_entry < 2) return;
        for (std::size_t i = first_entry; i < entries_.size(); ++i) entries_[i].id += '#' + std::to_string(i - first_entry + 1);
    }

    std::vector<Document> documents_;
    std::deque<Entry> entries_;
};

}  // namespace flashback::inline FLASHBACK_ISA
