/// \file The passages of documents, kept.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/retriever.hpp"
#include "flashback/retrieval/cut_document.hpp"
#include "flashback/retrieval/passages.hpp"

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

FLASHBACK_DETAIL_ONCE Passages::Passages(std::vector<Document> documents, const Codec& codec, std::size_t most_tokens)
    : documents_(std::move(documents)) {
    FLASHBACK_ASSERT(most_tokens > codec.head.size(), "a passage needs at least ", codec.head.size() + 1,
                     " token, found a limit of ", most_tokens);
    for (std::size_t d = 0; d < documents_.size(); ++d) {
        const auto keep = [this, d](const Passage& passage) { add(d, passage); };
        cut_document(documents_[d], codec, most_tokens, keep);
    }
}

FLASHBACK_DETAIL_ONCE Passages::Passages(std::vector<Document> documents) : documents_(std::move(documents)) {
    for (std::size_t d = 0; d < documents_.size(); ++d) entries_.push_back({d, 0, documents_[d].text.size(), {}, {}, {}});
}

FLASHBACK_DETAIL_ONCE Passage Passages::operator[](std::size_t i) const {
    const Entry& entry = entries_[i];
    const Document& document = documents_[entry.document];
    const std::string_view said = std::string_view{document.text}.substr(entry.begin, entry.length);
    return {.id = entry.id.empty() ? document.id : entry.id,
            .title = document.title,
            .text = entry.own_text.empty() ? said : entry.own_text,
            .tokens = entry.tokens};
}

FLASHBACK_DETAIL_ONCE void Passages::add(std::size_t document, const Passage& passage) {
    const std::string& whole = documents_[document].text;
    const std::less_equal<const char*> up_to;  // a total order, whatever the two point into
    const bool within = up_to(whole.data(), passage.text.data()) &&
                        up_to(passage.text.data() + passage.text.size(), whole.data() + whole.size());
    Entry& entry = entries_.emplace_back();
    entry.document = document;
    entry.begin = within ? static_cast<std::size_t>(passage.text.data() - whole.data()) : 0;
    entry.length = within ? passage.text.size() : 0;
    if (!within) entry.own_text = passage.text;
    if (passage.id != documents_[document].id) entry.id = passage.id;
    entry.tokens.assign(passage.tokens.begin(), passage.tokens.end());
}

}  // namespace flashback::inline FLASHBACK_ISA
