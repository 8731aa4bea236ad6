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
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// A document, by the names under which a corpus may know it.
struct SourceDocument {
    std::string id;       ///< its id, as its corpus has it
    std::string title;    ///< may be empty
    std::size_t end = 0;  ///< the place after its last token in the stream
};

/// Documents as tokens, one after the other.
class TextStream {
public:
    /// Puts a document at the end.
    void add(std::string id, std::string title, TokenSpan tokens);

    /// The tokens of all documents, one after another.
    TokenSpan tokens() const noexcept { return tokens_; }
    /// Where each document lies in the tokens.
    std::span<const SourceDocument> documents() const noexcept { return documents_; }

    /// The documents that have a token in [begin, end).
    /// Requires  begin <= end <= tokens().size()
    /// Cost      the logarithm of the number of documents
    std::span<const SourceDocument> documents_of(std::size_t begin, std::size_t end) const noexcept;

private:
    TokenBuffer tokens_;
    std::vector<SourceDocument> documents_;
};

/// The stream of some documents. Each is tokenised by itself and followed by `end`; if there is no `end`, by a newline, unless
/// it ends with one.
/// Throws    Error{vocabulary} if a document cannot be tokenised
TextStream text_stream(std::span<const Document> documents, const Tokenizer& tokenizer, std::optional<TokenId> end = {});

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

/// What a passage must not come from.
struct StrideSource {
    std::span<const SourceDocument> documents;  ///< documents that a token of the context or of the stride is from
    TokenSpan tokens;                           ///< of the context, of the stride, and some tokens after it
};

/// What the passages of the tokens [begin, end) of a text, context and stride, must not come from.
/// Requires  begin <= end <= text.tokens().size()
inline StrideSource stride_source(const TextStream& text, std::size_t begin, std::size_t end) {
    constexpr std::size_t behind = 64;  // a passage that begins within the stride is known by what comes after it
    const TokenSpan tokens = text.tokens().subspan(begin);
    return {text.documents_of(begin, end), tokens.first(std::min(end - begin + behind, tokens.size()))};
}

/// Tells whether a passage comes from a document of a stride. It is known in three ways:
/// - by its id: that of the document, or `id#number` as Passages writes it;
/// - by its title, without case, blanks and quotation marks;
/// - by its text, if it has `run` tokens in a row in common with the context, the stride and what comes next.
///
/// Titles alone are not enough: one FOLDOC document in ten has several, and collections give different ones.
/// Cost      a comparison for each pair of a token of the passage and one of the source
/// Source    FlashBack (arXiv 2405.04065), data_prepare.py of the official code, for titles
struct FromSource {
    std::size_t run = 16;  ///< 0: texts are not compared

    bool operator()(const Passage& passage, const StrideSource& source) const;

private:
    static bool same_id(const Passage& passage, const SourceDocument& document);
    static bool same_title(const Passage& passage, const SourceDocument& document);
    bool shares_text(TokenSpan passage, TokenSpan source) const;
};

}  // namespace flashback::inline FLASHBACK_ISA

#if !defined(FLASHBACK_COMPILED_ONCE)
#include "flashback/data/detail/text_stream.hpp"
#endif
