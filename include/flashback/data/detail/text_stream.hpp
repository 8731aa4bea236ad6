/// \file The stream of some documents.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/retriever.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/data/text_stream.hpp"
#include "flashback/retrieval/corpus.hpp"
#include "flashback/text/tokenizer.hpp"
#include "flashback/text/unicode.hpp"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

FLASHBACK_DETAIL_ONCE TextStream text_stream(std::span<const Document> documents, const Tokenizer& tokenizer,
                                             std::optional<TokenId> end) {
    TextStream stream;
    for (const Document& document : documents) {
        const bool newline = !end && !document.text.ends_with('\n');
        TokenBuffer tokens = tokenizer.encode(newline ? document.text + '\n' : document.text);
        if (end) tokens.push_back(*end);
        stream.add(document.id, document.title, tokens);
    }
    return stream;
}

FLASHBACK_DETAIL_ONCE void TextStream::add(std::string id, std::string title, TokenSpan tokens) {
    append(tokens_, tokens);
    documents_.push_back({std::move(id), std::move(title), tokens_.size()});
}

FLASHBACK_DETAIL_ONCE std::span<const SourceDocument> TextStream::documents_of(std::size_t begin,
                                                                               std::size_t end) const noexcept {
    if (begin == end) return {};
    const auto first = std::ranges::upper_bound(documents_, begin, {}, &SourceDocument::end);
    auto last = std::ranges::upper_bound(documents_, end - 1, {}, &SourceDocument::end);
    if (last != documents_.end()) ++last;
    return {first, last};
}

FLASHBACK_DETAIL_ONCE bool FromSource::operator()(const Passage& passage, const StrideSource& source) const {
    const auto same = [&](const SourceDocument& document) {
        return same_id(passage, document) || same_title(passage, document);
    };
    return std::ranges::any_of(source.documents, same) || shares_text(passage.tokens, source.tokens);
}

FLASHBACK_DETAIL_ONCE bool FromSource::same_id(const Passage& passage, const SourceDocument& document) {
    if (document.id.empty() || !passage.id.starts_with(document.id)) return false;
    const std::string_view rest = passage.id.substr(document.id.size());
    return rest.empty() || (rest.size() > 1 && rest[0] == '#' && rest.find_first_not_of("0123456789", 1) == rest.npos);
}

FLASHBACK_DETAIL_ONCE bool FromSource::same_title(const Passage& passage, const SourceDocument& document) {
    const std::string key = detail::title_key(document.title);
    return !key.empty() && key == detail::title_key(passage.title);
}

FLASHBACK_DETAIL_ONCE bool FromSource::shares_text(TokenSpan passage, TokenSpan source) const {
    if (run == 0) return false;
    for (std::size_t i = 0; i + run <= passage.size(); ++i) {
        if (has_run(source, passage.subspan(i, run))) return true;
    }
    return false;
}

}  // namespace flashback::inline FLASHBACK_ISA
