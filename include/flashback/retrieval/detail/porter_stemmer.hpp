/// \file Porter's algorithm, by libstemmer.
#pragma once

#include "flashback/core/error.hpp"

#include <cstddef>
#include <memory>
#include <string_view>

#include <libstemmer.h>

namespace flashback::inline FLASHBACK_ISA::detail {

/// Takes endings off English words. A stemmer is for one thread.
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

    std::unique_ptr<sb_stemmer, Delete> stemmer_;
};

}  // namespace flashback::inline FLASHBACK_ISA::detail
