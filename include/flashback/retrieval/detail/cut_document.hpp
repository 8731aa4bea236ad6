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
#include <optional>
#include <string>
#include <string_view>
#include <vector>

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

/// Where a document has what its tokens say. A tokenizer may add a space in front of a text, or of a part of one; whatever else
/// differs is not found, nor is the token after that.
class PlacesInDocument {
public:
    PlacesInDocument(std::string_view document, const DecodedTokens& tokens) : document_(document) {
        starts_.reserve(tokens.size());
        ends_.reserve(tokens.size());
        misses_.reserve(tokens.size() + 1);
        misses_.push_back(0);
        for (std::size_t i = 0; i < tokens.size(); ++i) add(tokens[i]);
    }

    /// What the document has for the tokens in [begin, end), if it has them all.
    /// Requires  begin < end
    std::optional<std::string_view> find(std::size_t begin, std::size_t end) const {
        if (misses_[begin] != misses_[end]) return {};
        return document_.substr(starts_[begin], ends_[end - 1] - starts_[begin]);
    }

private:
    void add(std::string_view said) {
        const std::string_view rest = document_.substr(at_);
        const bool added = !rest.starts_with(said) && said.starts_with(' ');
        if (added) said.remove_prefix(1);
        const bool found = rest.starts_with(said);
        starts_.push_back(at_);
        if (found) {
            at_ += said.size();
        } else if (said.size() >= shortest) {
            const std::size_t again = rest.substr(0, window).find(said);
            if (again != rest.npos) at_ += again + said.size();
        }
        ends_.push_back(at_);
        misses_.push_back(misses_.back() + !found);
    }

    // After a difference: the first token of some length that comes soon.
    static constexpr std::size_t shortest = 3;
    static constexpr std::size_t window = 64;

    std::string_view document_;
    std::size_t at_ = 0;
    std::vector<std::size_t> starts_, ends_;
    std::vector<std::size_t> misses_;  // tokens before this one that were not found
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
    const detail::PlacesInDocument places{document.text, all};
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
        std::string_view body = detail::trimmed(places.find(begin, end).value_or(all.text(begin, end)));
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
