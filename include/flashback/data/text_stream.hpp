/// \file Several documents as one sequence of tokens, which knows the document of each token.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/retriever.hpp"
#include "flashback/core/tokens.hpp"
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

/// A document, by the names under which a corpus may know it.
struct SourceDocument {
    std::string id;
    std::string title;
    std::size_t end = 0;  ///< the place after its last token in the stream
};

/// Documents as tokens, one after the other.
class TextStream {
public:
    /// Puts a document at the end.
    void add(std::string id, std::string title, TokenSpan tokens) {
        append(tokens_, tokens);
        documents_.push_back({std::move(id), std::move(title), tokens_.size()});
    }

    TokenSpan tokens() const noexcept { return tokens_; }
    std::span<const SourceDocument> documents() const noexcept { return documents_; }

    /// The documents that have a token in [begin, end).
    /// Requires  begin <= end <= tokens().size()
    /// Cost      the logarithm of the number of documents
    std::span<const SourceDocument> documents_of(std::size_t begin, std::size_t end) const noexcept {
        if (begin == end) return {};
        const auto first = std::ranges::upper_bound(documents_, begin, {}, &SourceDocument::end);
        auto last = std::ranges::upper_bound(documents_, end - 1, {}, &SourceDocument::end);
        if (last != documents_.end()) ++last;
        return {first, last};
    }

private:
    TokenBuffer tokens_;
    std::vector<SourceDocument> documents_;
};

/// The stream of some documents. Each is tokenised by itself and followed by `end`; if there is no `end`, by a newline, unless
/// it ends with one.
/// Throws    Error{vocabulary} if a document cannot be tokenised
inline TextStream text_stream(std::span<const Document> documents, const Tokenizer& tokenizer,
                              std::optional<TokenId> end = {}) {
    TextStream stream;
    for (const Document& document : documents) {
        const bool newline = !end && !document.text.ends_with('\n');
        TokenBuffer tokens = tokenizer.encode(newline ? document.text + '\n' : document.text);
        if (end) tokens.push_back(*end);
        stream.add(document.id, document.title, tokens);
    }
    return stream;
}

namespace detail {

/// A title without case, blanks and quotation marks, which collections spell in different ways.
inline std::string title_key(std::string_view title) {
    std::string key;
    while (!title.empty()) {
        const CodePoint c = first_code_point(title);
        title.remove_prefix(c.bytes);
        if (c.value > ' ' && c.value != '"' && c.value != 0xa0) append_utf8(key, to_lower(c.value));
    }
    return key;
}

}  // namespace detail

/// Whether tokens stand somewhere in others, in one piece.
inline bool has_run(TokenSpan tokens, TokenSpan run) {
    return std::search(tokens.begin(), tokens.end(), run.begin(), run.end()) != tokens.end();  // not ranges::search: clang 14
}

/// What a passage must not be from.
struct StrideSource {
    std::span<const SourceDocument> documents;  ///< documents that a token of the context or of the stride is from
    TokenSpan tokens;                           ///< of the context, of the stride, and some tokens after it
};

/// Tells whether a passage comes from a document of a stride. It is known in three ways:
/// - by its id: that of the document, or `id#number` as Passages writes it;
/// - by its title, without case, blanks and quotation marks;
/// - by its text, if it has `run` tokens in a row in common with the context, the stride and what comes next.
///
/// Titles alone are not enough: one document in ten of FOLDOC has several, and collections give different ones.
/// Cost      a comparison for each pair of a token of the passage and one of the source
/// Source    FlashBack (arXiv 2405.04065), data_prepare.py of the official code, for titles
struct FromSource {
    std::size_t run = 16;  ///< 0: texts are not compared

    bool operator()(const Passage& passage, const StrideSource& source) const {
        const auto same = [&](const SourceDocument& document) {
            return same_id(passage, document) || same_title(passage, document);
        };
        return std::ranges::any_of(source.documents, same) || shares_text(passage.tokens, source.tokens);
    }

private:
    static bool same_id(const Passage& passage, const SourceDocument& document) {
        if (document.id.empty() || !passage.id.starts_with(document.id)) return false;
        const std::string_view rest = passage.id.substr(document.id.size());
        return rest.empty() || (rest.size() > 1 && rest[0] == '#' && rest.find_first_not_of("0123456789", 1) == rest.npos);
    }
    static bool same_title(const Passage& passage, const SourceDocument& document) {
        const std::string key = detail::title_key(document.title);
        return !key.empty() && key == detail::title_key(passage.title);
    }
    bool shares_text(TokenSpan passage, TokenSpan source) const {
        if (run == 0) return false;
        for (std::size_t i = 0; i + run <= passage.size(); ++i) {
            if (has_run(source, passage.subspan(i, run))) return true;
        }
        return false;
    }
};

}  // namespace flashback::inline FLASHBACK_ISA
