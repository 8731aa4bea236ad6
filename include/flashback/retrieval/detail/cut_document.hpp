/// \file A document, cut into passages.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/function_ref.hpp"
#include "flashback/core/retriever.hpp"
#include "flashback/retrieval/codec.hpp"
#include "flashback/retrieval/cut_document.hpp"
#include "flashback/retrieval/detail/cut_passage.hpp"
#include "flashback/text/unicode.hpp"

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>

namespace flashback::inline FLASHBACK_ISA {
namespace detail {

inline std::string_view trimmed(std::string_view text) noexcept {
    const std::size_t begin = text.find_first_not_of(white_space);
    return begin == text.npos ? std::string_view{} : text.substr(begin, text.find_last_not_of(white_space) + 1 - begin);
}

/// What stands in front of each passage but the first: the title and a line break, or nothing.
struct TitleLine {
    std::string text = {};
    TokenBuffer tokens = {};
};

/// The title line of a document, in at most `most` tokens.
inline TitleLine title_line(const Document& document, const Codec& codec, std::size_t most) {
    if (document.title.empty() || !document.text.starts_with(document.title)) return {};
    TitleLine line{document.title + '\n'};
    line.tokens = codec.encode(line.text);
    if (line.tokens.size() <= most) return line;
    const std::vector<TokenId> title = codec.encode(document.title);
    for (std::size_t count = std::min(most, title.size()); count > 0; --count) {
        const std::string decoded = codec.decode(TokenSpan{title}.first(count));
        const std::string_view whole = trimmed(std::string_view{decoded}.substr(0, decoded.size() - incomplete_utf8(decoded)));
        if (whole.empty()) break;
        line.text = std::string{whole} + '\n';
        line.tokens = codec.encode(line.text);
        if (line.tokens.size() <= most) return line;
    }
    return {};
}

/// Finds in a document what its tokens say.
class SaidInDocument {
public:
    SaidInDocument(std::string_view document, const DecodedTokens& tokens)
        : document_(document), said_(tokens.text(0, tokens.size())) {
        equal_ = equal_bytes(said_);
        if (!said_.starts_with(' ')) return;
        const std::size_t behind_space = equal_bytes(said_.substr(1));  // many tokenizers put a space in front of a text
        if (behind_space > equal_) {
            equal_ = behind_space;
            added_ = 1;
        }
    }

    /// The same bytes as `part`, in the document if they stand there.
    /// Requires  `part` views what the tokens say
    std::string_view place(std::string_view part) const noexcept {
        const auto begin = static_cast<std::size_t>(part.data() - said_.data());
        if (begin < added_ || begin - added_ + part.size() > equal_) return part;
        return document_.substr(begin - added_, part.size());
    }

private:
    std::size_t equal_bytes(std::string_view said) const noexcept {
        const std::size_t most = std::min(said.size(), document_.size());
        const auto end = std::mismatch(said.begin(), said.begin() + static_cast<std::ptrdiff_t>(most), document_.begin()).first;
        return static_cast<std::size_t>(end - said.begin());
    }

    std::string_view document_;
    std::string_view said_;
    std::size_t added_ = 0;  // bytes in front of the text
    std::size_t equal_ = 0;  // bytes of the document that are the same, from its beginning on
};

/// Whether an id ends in `#` and digits, so that it looks like that of one passage of several.
inline bool is_numbered(std::string_view id) noexcept {
    const std::size_t last = id.find_last_not_of("0123456789");
    return last != id.npos && id[last] == '#' && last + 1 < id.size();
}

}  // namespace detail

FLASHBACK_DETAIL_ONCE void cut_document(const Document& document, const Codec& codec, std::size_t most_tokens,
                                        FunctionRef<void(const Passage&)> on_passage) {
    FLASHBACK_ASSERT(codec.encode && codec.decode,
                     "to cut a document takes a codec that encodes and decodes, found one without");
    FLASHBACK_ASSERT(most_tokens > codec.head.size(), "a passage needs at least ", codec.head.size() + 1,
                     " token, found a limit of ", most_tokens);
    const detail::DecodedTokens all{codec.encode(document.text), codec};
    const detail::SaidInDocument said{document.text, all};
    const std::size_t room = most_tokens - codec.head.size();
    detail::TitleLine title;
    std::string id, text;
    TokenBuffer tokens;
    std::size_t begin = all.skip_white(0);
    for (std::size_t number = 1; begin < all.size(); ++number) {
        const std::size_t next = detail::passage_end(all, begin, room - title.tokens.size());
        std::size_t end = next;
        while (detail::is_white(all[end - 1])) --end;
        const std::size_t following = all.skip_white(next);
        const bool only = number == 1 && following == all.size();

        id = document.id;
        if (!only || detail::is_numbered(id)) id += '#' + std::to_string(number);
        tokens = codec.head;
        append(tokens, title.tokens);
        append(tokens, all.tokens(begin, end));
        std::string_view body = said.place(detail::trimmed(all.text(begin, end)));
        if (!title.text.empty()) {
            text = title.text;
            text += body;
            body = text;
        }
        on_passage({.id = id, .title = document.title, .text = body, .tokens = tokens});

        if (number == 1 && !only) title = detail::title_line(document, codec, room / 4);
        begin = following;
    }
}

}  // namespace flashback::inline FLASHBACK_ISA
