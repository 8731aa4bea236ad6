/// \file Porter's algorithm, by libstemmer.
#pragma once

#include "flashback/core/error.hpp"

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include <libstemmer.h>

namespace flashback::inline FLASHBACK_ISA::detail {

/// Whether a consonant follows a vowel: Porter's measure is more than 0.
constexpr bool has_syllable(std::string_view word) noexcept {
    bool after_vowel = false;
    for (const char c : word) {
        const bool vowel =
            std::string_view{"aeiou"}.find(c) != std::string_view::npos || (c == 'y' && !after_vowel && &c != word.data());
        if (after_vowel && !vowel) return true;
        after_vowel = vowel;
    }
    return false;
}

/// Takes endings off English words. A stemmer is for one thread.
///
/// libstemmer keeps to the paper. Porter's own program, and Lucene's, have two rules of step 2 that are wider or new, bli -> ble
/// and logi -> log if m > 0: `possibly` meets `possible`, and `technology` meets `technological`. They are applied in front.
/// Source    Porter 1980, and https://tartarus.org/martin/PorterStemmer: points of difference from the published algorithm
class PorterStemmer {
public:
    PorterStemmer() : stemmer_(sb_stemmer_new("porter", "UTF_8")) {
        if (!stemmer_) FLASHBACK_THROW(ErrorCode::engine, "libstemmer has no memory, or no algorithm 'porter' for UTF-8");
    }

    static PorterStemmer& of_this_thread() {
        thread_local PorterStemmer stemmer;
        return stemmer;
    }

    /// The stem of a word in lower case; valid until the next call. Words of one or two letters stay.
    /// Requires  the word has fewer than 2^31 bytes
    std::string_view stem(std::string_view word) {
        std::size_t letters = 0;
        for (const char c : word) letters += (static_cast<unsigned char>(c) & 0xc0) != 0x80;
        if (letters < 3) return word;
        word = depart(word);
        const auto* bytes = reinterpret_cast<const sb_symbol*>(word.data());
        const sb_symbol* stem = sb_stemmer_stem(stemmer_.get(), bytes, static_cast<int>(word.size()));
        if (stem == nullptr)
            FLASHBACK_THROW(ErrorCode::engine, "libstemmer has no memory for a word of ", word.size(), " bytes");
        return {reinterpret_cast<const char*>(stem), static_cast<std::size_t>(sb_stemmer_length(stemmer_.get()))};
    }

private:
    struct Delete {
        void operator()(sb_stemmer* stemmer) const noexcept { sb_stemmer_delete(stemmer); }
    };

    /// The word after the two rules that libstemmer lacks. Step 1 makes `i` of `y` and `ies`.
    std::string_view depart(std::string_view word) {
        std::string_view stem = word;
        if (stem.ends_with("ies")) {
            stem.remove_suffix(3);
        } else if (stem.ends_with('y') || stem.ends_with('i')) {
            stem.remove_suffix(1);
        } else {
            return word;
        }
        if (stem.ends_with("log") && has_syllable(stem.substr(0, stem.size() - 3))) return stem;
        if (!stem.ends_with("bl") || !has_syllable(stem.substr(0, stem.size() - 2))) return word;
        departed_ = stem;
        departed_ += 'e';
        return departed_;
    }

    std::unique_ptr<sb_stemmer, Delete> stemmer_;
    std::string departed_;
};

}  // namespace flashback::inline FLASHBACK_ISA::detail
