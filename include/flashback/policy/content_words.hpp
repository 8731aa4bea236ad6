/// \file Which tokens say something: content words of English.
#pragma once

#include "flashback/core/members.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/policy/stopping.hpp"

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace flashback::inline FLASHBACK_ISA {

/// Says which tokens count as content words: `counts(token)` gives a bool. Optional: `counts.continues(token)`, a bool too, says whether
/// a token goes on with the word in front of it; without it each token is a word. A word counts if one of its tokens does.
template <class W>
concept ContentWord = std::copy_constructible<W> && requires(members::Unwrapped<W>& counts, TokenId token) {
    { counts(token) } -> std::same_as<bool>;
};

/// Each token is a content word.
struct EveryToken {
    constexpr bool operator()(TokenId /*token*/) const noexcept { return true; }
};

/// English content words, by their text: a letter or a digit, and none of some 150 words that are in every text. That is what can be had
/// without a part-of-speech tagger, which the papers use to keep nouns, adjectives, verbs, proper nouns and numerals. A token whose text
/// begins with a letter or a digit, without a space (or U+2581) in front, continues a word. Bytes that are not ASCII are letters, except
/// general punctuation.
///
/// `Detokenize` is any callable that gives the text that a token adds, as in StopStrings.
/// Source    Su et al. 2024, DRAGIN (arXiv 2403.10081), section 3.1 (the indicator of stop words); the list is ours
template <class Detokenize>
class ContentWords {
    static_assert(detail::GivesText<Detokenize>,
                  "flashback: the detokenizer of ContentWords must be callable as detokenize(TokenId) and return text");

public:
    /// `detokenize(token)` gives the text of a token.
    explicit ContentWords(Detokenize detokenize) : detokenize_(std::move(detokenize)) {}

    /// Whether the token's text is a content word.
    bool operator()(TokenId token) {
        read(token);
        const auto is_part = [](std::string_view text, std::size_t i) { return word_bytes(text, i) > 0; };
        std::size_t first = 0;
        while (first < text_.size() && !is_part(text_, first)) first += bytes_at(text_, first);
        if (first >= text_.size()) return false;
        std::size_t end = text_.size();
        while (end > first && is_ascii(text_[end - 1]) && !is_word_ascii(text_[end - 1])) --end;
        std::string word = text_.substr(first, end - first);
        std::ranges::transform(word, word.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
        return !std::ranges::binary_search(stop_words, std::string_view{word});
    }

    /// Whether the token's text goes on with the word in front of it.
    bool continues(TokenId token) {
        read(token);
        return !text_.empty() && word_bytes(text_, 0) > 0;
    }

private:
    static constexpr bool is_ascii(char c) noexcept { return static_cast<unsigned char>(c) < 0x80; }
    static constexpr bool is_word_ascii(char c) noexcept {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    }
    /// The length of the character that begins there, as its first byte says.
    static constexpr std::size_t bytes_at(std::string_view text, std::size_t i) noexcept {
        const auto byte = static_cast<unsigned char>(text[i]);
        const std::size_t length = byte < 0xc0 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
        return std::min(length, text.size() - i);
    }
    /// The same if it is a letter or a digit, else 0.
    static constexpr std::size_t word_bytes(std::string_view text, std::size_t i) noexcept {
        if (is_ascii(text[i])) return is_word_ascii(text[i]) ? 1 : 0;
        const std::string_view rest = text.substr(i);
        for (const std::string_view punctuation : {"\xc2", "\xe2\x80", "\xe2\x81", "\xe2\x96\x81", "\xe3\x80"})
            if (rest.starts_with(punctuation)) return 0;
        return bytes_at(text, i);
    }

    void read(TokenId token) {
        text_.clear();
        text_ += members::unwrap(detokenize_)(token);
    }

    // In the order of their bytes.
    static constexpr std::string_view stop_words[] = {
        "a",       "about",   "above",    "after",     "again",  "against", "all",     "also",       "am",     "an",    "and",
        "any",     "are",     "aren",     "as",        "at",     "be",      "because", "been",       "before", "being", "below",
        "between", "both",    "but",      "by",        "can",    "cannot",  "could",   "couldn",     "d",      "did",   "didn",
        "do",      "does",    "doesn",    "doing",     "don",    "down",    "during",  "each",       "few",    "for",   "from",
        "further", "had",     "hadn",     "has",       "hasn",   "have",    "haven",   "having",     "he",     "her",   "here",
        "hers",    "herself", "him",      "himself",   "his",    "how",     "i",       "if",         "in",     "into",  "is",
        "isn",     "it",      "its",      "itself",    "just",   "ll",      "m",       "may",        "me",     "might", "more",
        "most",    "must",    "mustn",    "my",        "myself", "no",      "nor",     "not",        "now",    "of",    "off",
        "on",      "once",    "only",     "or",        "other",  "our",     "ours",    "ourselves",  "out",    "over",  "own",
        "re",      "s",       "same",     "shall",     "shan",   "she",     "should",  "shouldn",    "so",     "some",  "such",
        "t",       "than",    "that",     "the",       "their",  "theirs",  "them",    "themselves", "then",   "there", "these",
        "they",    "this",    "those",    "through",   "to",     "too",     "under",   "until",      "up",     "us",    "ve",
        "very",    "was",     "wasn",     "we",        "were",   "weren",   "what",    "when",       "where",  "which", "while",
        "who",     "whom",    "whose",    "why",       "will",   "with",    "won",     "would",      "wouldn", "yet",   "you",
        "your",    "yours",   "yourself", "yourselves"};
    static_assert(std::ranges::is_sorted(stop_words));

    Detokenize detokenize_;
    std::string text_;  // of the token that is asked about
};

}  // namespace flashback::inline FLASHBACK_ISA
