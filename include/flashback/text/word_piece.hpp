/// \file BERT's tokenizer.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/tokens.hpp"

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// The tokens of BERT's tokenizer and how it cuts texts into words. The defaults are those of its models without capitals.
struct WordPieceVocabulary {
    /// The text of each token, by id. "##" in front means that it goes on within a word. A token without text is never found.
    std::vector<std::string> pieces = {};
    std::string cls = "[CLS]";               ///< the token in front of a text
    std::string separator = "[SEP]";         ///< the token after it
    std::string unknown = "[UNK]";           ///< the token of a word that cannot be cut into pieces
    bool lower_case = true;                  ///< whether capitals become small
    std::optional<bool> strip_accents = {};  ///< whether accents are taken off letters; by default if they become small
    bool split_cjk = true;                   ///< whether each Chinese character is a word
    std::size_t longest_word = 100;          ///< a word of more characters is unknown
};

/// Turns text into the tokens of a BERT model. It is a value: copies share one immutable state, which several threads may use at
/// once.
///
/// Control characters and bytes that are not UTF-8 are left out. White space, punctuation and, if the vocabulary says so,
/// Chinese characters end a word; the latter two are words of their own. Capitals become small and accents are taken off, if the
/// vocabulary says so. Then the longest piece that a word begins with is taken, again and again. If none fits, the whole word is
/// unknown. The tokens in front of and after a text never come from text, whatever it spells.
/// Requires  a tokenizer that was moved from is only assigned to or destroyed
/// Source    Devlin et al. 2019, BERT, and google-research/bert, tokenization.py; Wu et al. 2016, Google's neural machine
///           translation system, section 4.1
class WordPiece {
public:
    /// Throws    Error{vocabulary} if a token comes twice, or the three special ones are not all there
    explicit WordPiece(WordPieceVocabulary vocabulary);

    /// What it was made from.
    const WordPieceVocabulary& vocabulary() const noexcept;

    /// The number of tokens.
    std::size_t size() const noexcept;

    /// Appends the tokens of a text: `cls`, as many as fit into `most` together with the other two, and `separator`. Gives
    /// whether some had to be left out.
    /// Throws    Error{contract} for `most` below 2
    /// Cost      n bytes take n · p steps for pieces of up to p bytes; no more is read than what fits
    bool encode(std::string_view text, std::size_t most, std::vector<TokenId>& out) const;

    /// All tokens of a text, with `cls` and `separator`.
    std::vector<TokenId> encode(std::string_view text) const;

private:
    struct State;

    std::shared_ptr<const State> state_;
};

}  // namespace flashback::inline FLASHBACK_ISA

#if !defined(FLASHBACK_COMPILED_ONCE)
#include "flashback/text/detail/word_piece.hpp"
#endif
