/// \file English text as terms: stemmed, and without words that say nothing.
///
/// It needs libstemmer; CMake: link `flashback::english`. The umbrella does not include this header, because libstemmer may be
/// absent.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/function_ref.hpp"
#include "flashback/retrieval/analyzer.hpp"
#include "flashback/retrieval/detail/porter_stemmer.hpp"
#include "flashback/retrieval/detail/words_in_text.hpp"

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>

namespace flashback::inline FLASHBACK_ISA {

/// English as Lucene's EnglishAnalyzer reads it ("english").
///
/// 1. A word is letters, marks, digits and `_`. Between two letters stand also `'` `.` `:` and a middle dot, between two digits
///    `'` `.` `,` and `;`. So `don't`, `u.s.a` and `3.14` are one word each, and `C++` is `c`.
/// 2. `'s` at the end goes; upper case becomes lower case; 33 words that are in every text go.
/// 3. Porter's algorithm, as in his own program, takes endings off words of three letters and more.
///
/// Scripts without spaces, equivalent texts, invisible characters, long terms and bytes that are not UTF-8: as WordAnalyzer.
/// Cost      some 200 ns for a word; a stemmer for each thread
/// Source    Unicode Standard Annex 29, rules WB4 to WB13b; Porter 1980, An algorithm for suffix stripping
class EnglishAnalyzer {
public:
    /// Throws    Error{engine} if libstemmer lacks the algorithm or memory
    void analyze(std::string_view text, FunctionRef<void(std::string_view)> on_term) const {
        detail::PorterStemmer& stemmer = detail::PorterStemmer::of_this_thread();
        detail::RunWriter writer;
        detail::TextRun run;
        std::string stem;  // a copy: `on_term` may analyse as well
        for (std::size_t at = 0; detail::next_run<detail::JoinedWords>(text, at, run);) {
            const std::string_view all = writer.write(text.substr(run.begin, run.end - run.begin), run.ascii);
            if (run.dense) {
                detail::for_each_pair(all, on_term);
                continue;
            }
            const std::string_view word = without_possessive(detail::cut_term(all));
            if (std::ranges::binary_search(stop_words, word)) continue;
            stem = stemmer.stem(word);
            on_term(stem);
        }
    }

    /// What an index remembers it by.
    static constexpr std::string_view name() noexcept { return "english"; }

private:
    static constexpr std::string_view stop_words[] = {"a",    "an",   "and",  "are",  "as",   "at",    "be",   "but",   "by",
                                                      "for",  "if",   "in",   "into", "is",   "it",    "no",   "not",   "of",
                                                      "on",   "or",   "such", "that", "the",  "their", "then", "there", "these",
                                                      "they", "this", "to",   "was",  "will", "with"};

    static constexpr std::string_view without_possessive(std::string_view word) noexcept {
        for (const std::string_view end : {"'s", "\u2019s", "\uff07s"}) {
            if (word.ends_with(end)) return word.substr(0, word.size() - end.size());
        }
        return word;
    }
};

static_assert(Analyzer<EnglishAnalyzer>);

}  // namespace flashback::inline FLASHBACK_ISA
