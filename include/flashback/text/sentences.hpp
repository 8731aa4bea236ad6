/// \file Sentences of a text, by Unicode's rules.
#pragma once

#include "flashback/core/tokens.hpp"
#include "flashback/text/detail/sentence_tables.hpp"
#include "flashback/text/unicode.hpp"

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <initializer_list>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>

namespace flashback::inline FLASHBACK_ISA {

namespace detail {

/// The class of a character.
/// Cost      a binary search
constexpr SentenceBreak sentence_break_of(char32_t c) noexcept {
    const auto* it = std::ranges::lower_bound(sentence_break_ranges, c, {}, &SentenceBreakRange::last);
    if (it == std::end(sentence_break_ranges) || it->first > c) return SentenceBreak::other;
    if (it->kind != SentenceBreak::alternating) return it->kind;
    return (c - it->first) % 2 == 0 ? SentenceBreak::upper : SentenceBreak::lower;
}

constexpr bool is_any(SentenceBreak c, std::initializer_list<SentenceBreak> classes) noexcept {
    return std::ranges::find(classes, c) != classes.end();
}
constexpr bool is_paragraph_end(SentenceBreak c) noexcept {
    return is_any(c, {SentenceBreak::separator, SentenceBreak::cr, SentenceBreak::lf});
}
constexpr bool is_sentence_end(SentenceBreak c) noexcept {
    return is_any(c, {SentenceBreak::full_stop, SentenceBreak::terminator});
}

/// Whether a text goes on in small letters: its first letter is one, and no sentence or paragraph ends in front of it.
constexpr bool goes_on_small(std::string_view text) noexcept {
    while (!text.empty()) {
        const CodePoint c = first_code_point(text);
        const SentenceBreak kind = sentence_break_of(c.value);
        if (kind == SentenceBreak::lower) return true;
        if (is_any(kind, {SentenceBreak::other_letter, SentenceBreak::upper}) || is_paragraph_end(kind) ||
            is_sentence_end(kind))
            return false;
        text.remove_prefix(c.bytes);
    }
    return false;
}

/// What stands in front of a place, as far as the rules SB3 to SB11 ask.
class SentenceState {
public:
    /// Whether a sentence ends in front of a character of this class, which `rest` begins with.
    constexpr bool ends_before(SentenceBreak kind, std::string_view rest) const noexcept {
        if (is_paragraph_end(last_)) return last_ != SentenceBreak::cr || kind != SentenceBreak::lf;  // SB3, SB4
        if (after_ == After::nothing || is_any(kind, {SentenceBreak::extend, SentenceBreak::format}))
            return false;  // SB998, SB5
        const bool stop = end_ == SentenceBreak::full_stop;
        if (stop && after_ == After::end && kind == SentenceBreak::number) return false;           // SB6
        if (stop && after_ == After::end && cased_ && kind == SentenceBreak::upper) return false;  // SB7
        if (kind == SentenceBreak::goes_on || is_sentence_end(kind)) return false;                 // SB8a
        if (after_ != After::space && kind == SentenceBreak::close) return false;                  // SB9
        if (kind == SentenceBreak::space || is_paragraph_end(kind)) return false;                  // SB9, SB10
        return !stop || !goes_on_small(rest);                                                      // SB8, SB11
    }

    constexpr void add(SentenceBreak kind) noexcept {
        if (is_any(kind, {SentenceBreak::extend, SentenceBreak::format}) && !is_paragraph_end(last_)) return;  // SB5
        if (is_sentence_end(kind)) {
            cased_ = is_any(last_, {SentenceBreak::upper, SentenceBreak::lower});
            end_ = kind;
            after_ = After::end;
        } else if (after_ != After::nothing && after_ != After::space && kind == SentenceBreak::close) {
            after_ = After::close;
        } else if (after_ != After::nothing && kind == SentenceBreak::space) {
            after_ = After::space;
        } else {
            after_ = After::nothing;
        }
        last_ = kind;
    }

private:
    enum class After : unsigned char { nothing, end, close, space };  // what the newest characters are

    SentenceBreak last_ = SentenceBreak::other;
    SentenceBreak end_ = SentenceBreak::other;  // full_stop or terminator
    After after_ = After::nothing;
    bool cased_ = false;  // whether a cased letter is in front of `end_`
};

}  // namespace detail

/// Where the sentence ends that begins at `from`: there the next one begins, or the text ends. What follows a sentence, such as
/// quotes and spaces, is part of it. Bytes that are not UTF-8 count as other characters.
/// Requires  a sentence begins at `from`, which is at most the length of the text
/// Cost      two looks at each character of the sentence, at most, and one at what follows it
/// Source    Unicode Standard Annex 29 (version 15.0), section 5, rules SB1 to SB998
constexpr std::size_t next_sentence(std::string_view text, std::size_t from) noexcept {
    detail::SentenceState state;
    for (std::size_t at = from; at < text.size();) {
        const std::string_view rest = text.substr(at);
        const CodePoint c = first_code_point(rest);
        const detail::SentenceBreak kind = detail::sentence_break_of(c.value);
        if (at > from && state.ends_before(kind, rest)) return at;
        state.add(kind);
        at += c.bytes;
    }
    return text.size();
}

/// The sentences of a text, one after the other: a range of std::string_view. Together they are the text.
/// Requires  the text outlives it
class Sentences {
public:
    /// Goes over the sentences of a text.
    class Iterator {
    public:
        /// A sentence with the blanks behind it.
        using value_type = std::string_view;
        /// What the standard asks of an iterator; nobody takes a distance.
        using difference_type = std::ptrdiff_t;

        constexpr Iterator() noexcept = default;
        /// The sentence that begins at a byte.
        constexpr Iterator(std::string_view text, std::size_t begin) noexcept
            : text_(text), begin_(begin), end_(next_sentence(text, begin)) {}
        /// The sentence.
        constexpr std::string_view operator*() const noexcept { return text_.substr(begin_, end_ - begin_); }
        /// Goes to the next sentence.
        constexpr Iterator& operator++() noexcept { return *this = {text_, end_}; }
        constexpr Iterator operator++(int) noexcept {
            const Iterator old = *this;
            ++*this;
            return old;
        }
        constexpr bool operator==(const Iterator& other) const noexcept { return begin_ == other.begin_; }

    private:
        std::string_view text_;
        std::size_t begin_ = 0;
        std::size_t end_ = 0;
    };

    /// The sentences of a text, which must outlive them.
    constexpr explicit Sentences(std::string_view text) noexcept : text_(text) {}
    /// The first sentence.
    constexpr Iterator begin() const noexcept { return {text_, 0}; }
    /// Behind the last sentence.
    constexpr Iterator end() const noexcept { return {text_, text_.size()}; }

private:
    std::string_view text_;
};

/// Says whether a sentence ends with the newest token of a text, by Unicode's rules: a SentenceRule for policies. Whether a full stop
/// ends a sentence depends on what follows, which is taken to be a space and a capital letter; only right behind a digit it ends
/// none, since "3." may go on to "3.14". A line break in the newest token ends a sentence as well.
///
/// `Detokenize` is any callable that gives the text that a token adds.
/// Cost      the text of the newest 32 tokens
/// Source    Unicode Standard Annex 29 (version 15.0), section 5
template <class Detokenize>
class SentenceByText {
    static_assert(
        requires(Detokenize & detokenize, TokenId token) {
            { detokenize(token) } -> std::convertible_to<std::string_view>;
        },
        "flashback: the detokenizer of SentenceByText must be callable as detokenize(TokenId) and return text");

public:
    /// `detokenize(token)` gives the text of a token.
    explicit SentenceByText(Detokenize detokenize) : detokenize_(std::move(detokenize)) {}

    bool operator()(TokenSpan context) {
        constexpr std::size_t newest = 32;
        text_.clear();
        std::size_t begin = 0;  // of the newest token
        for (const TokenId token : context.last(std::min(newest, context.size()))) {
            begin = text_.size();
            text_ += std::string_view{detokenize_(token)};
        }
        const std::size_t length = text_.size();
        if (has_line_break(begin)) return true;
        if (length >= 2 && text_[length - 1] == '.' && text_[length - 2] >= '0' && text_[length - 2] <= '9') return false;
        text_ += " A";
        for (std::size_t end = 0; end < length;) {
            end = next_sentence(text_, end);
            if (end >= length) return end < text_.size();
        }
        return false;
    }

private:
    bool has_line_break(std::size_t from) const {
        for (std::string_view rest = std::string_view{text_}.substr(from); !rest.empty();) {
            const CodePoint c = first_code_point(rest);
            if (detail::is_paragraph_end(detail::sentence_break_of(c.value))) return true;
            rest.remove_prefix(c.bytes);
        }
        return false;
    }

    Detokenize detokenize_;
    std::string text_;
};

}  // namespace flashback::inline FLASHBACK_ISA
