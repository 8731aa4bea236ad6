/// \file A passage that outlives the answer that it came from.
#pragma once

#include "flashback/core/retriever.hpp"

#include <string>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// A copy of a passage and of all that it views.
struct OwnedPassage {
    OwnedPassage() = default;
    explicit OwnedPassage(const Passage& passage)
        : id(passage.id),
          title(passage.title),
          text(passage.text),
          tokens(passage.tokens.begin(), passage.tokens.end()),
          score(passage.score) {}

    /// The passage; valid until this copy moves.
    Passage view() const noexcept { return {id, title, text, tokens, score}; }

    std::string id;
    std::string title;
    std::string text;
    TokenBuffer tokens;
    float score = 0;
};

}  // namespace flashback::inline FLASHBACK_ISA
