/// \file A passage that outlives the answer that it came from.
#pragma once

#include "flashback/core/retriever.hpp"

#include <string>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// A copy of a passage and of all that it views.
struct OwnedPassage {
    OwnedPassage() = default;
    /// Copies a passage.
    explicit OwnedPassage(const Passage& passage)
        : id(passage.id),
          title(passage.title),
          text(passage.text),
          tokens(passage.tokens.begin(), passage.tokens.end()),
          score(passage.score) {}

    /// The passage; valid until this copy moves.
    Passage view() const noexcept { return {id, title, text, tokens, score}; }

    std::string id;      ///< as the retriever names it
    std::string title;   ///< of its document; may be empty
    std::string text;    ///< what it says; may be empty
    TokenBuffer tokens;  ///< the same as ids; may be empty
    float score = 0;     ///< as the retriever gave it
};

}  // namespace flashback::inline FLASHBACK_ISA
