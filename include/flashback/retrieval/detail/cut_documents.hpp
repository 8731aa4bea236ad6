/// \file Documents, cut into passages.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/retriever.hpp"
#include "flashback/retrieval/corpus.hpp"
#include "flashback/retrieval/detail/cut_passage.hpp"
#include "flashback/retrieval/passages.hpp"
#include "flashback/text/tokenizer.hpp"

#include <cstddef>
#include <deque>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

FLASHBACK_DETAIL_ONCE Passages::Passages(std::vector<Document> documents, const Tokenizer& tokenizer, std::size_t most_tokens,
                                         TokenSpan head)
    : documents_(std::move(documents)) {
    FLASHBACK_ASSERT(most_tokens > head.size(), "a passage needs at least ", head.size() + 1, " token, found a limit of ",
                     most_tokens);
    for (std::size_t d = 0; d < documents_.size(); ++d) cut(d, tokenizer, most_tokens - head.size(), head);
}

FLASHBACK_DETAIL_ONCE Passages::Passages(std::vector<Document> documents) : documents_(std::move(documents)) {
    for (std::size_t d = 0; d < documents_.size(); ++d) entries_.push_back({d, documents_[d].id, documents_[d].text, {}});
}

FLASHBACK_DETAIL_ONCE Passage Passages::operator[](std::size_t i) const {
    const Entry& entry = entries_[i];
    return {.id = entry.id, .title = documents_[entry.document].title, .text = entry.text, .tokens = entry.tokens};
}

FLASHBACK_DETAIL_ONCE void Passages::cut(std::size_t document, const Tokenizer& tokenizer, std::size_t most_tokens,
                                         TokenSpan head) {
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
        entries_.push_back({document, documents_[document].id, tokenizer.decode_whole(passage), {head.begin(), head.end()}});
        append(entries_.back().tokens, passage);
        begin = next;
    }
    if (entries_.size() - first_entry < 2) return;
    for (std::size_t i = first_entry; i < entries_.size(); ++i) entries_[i].id += '#' + std::to_string(i - first_entry + 1);
}

}  // namespace flashback::inline FLASHBACK_ISA
