/// \file Text to tokens and back.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/vocabulary.hpp"
#include "flashback/text/detail/byte_level_bpe.hpp"
#include "flashback/text/detail/indexed_vocabulary.hpp"
#include "flashback/text/detail/sentencepiece_bpe.hpp"
#include "flashback/text/normalise.hpp"
#include "flashback/text/unicode.hpp"

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// Turns text into the tokens of a vocabulary and back. It is a value: copies share one immutable state, which several threads
/// may use at once. The vocabulary chooses the algorithm:
///
///     model "llama"   SentencePiece BPE: characters are merged by the scores of tokens, or by the ranks of pairs if the
///                     vocabulary has merges instead of scores; what is left becomes byte tokens
///     model "gpt2"    byte-level BPE: bytes are merged by the ranks of pairs, within the words of a pre-tokenizer, which is
///                     "gpt-2", "llama-bpe" (also called "llama3" or "llama-v3") or "qwen2"
///
/// Control tokens (BOS, marking tokens) never come from text, whatever it spells; put them by id. User-defined tokens are found
/// in a text before anything else, the longest first. Bytes that are not UTF-8 are taken one by one. A text is put into normal
/// form C only if the vocabulary asks for it. Merges that name a piece which is not a normal token are left out: real
/// vocabularies have some that nothing reaches.
/// Requires  a tokenizer that was moved from is only assigned to or destroyed
/// Source    Kudo and Richardson 2018, SentencePiece; Sennrich et al. 2016 and Radford et al. 2019, byte-level BPE; text around
///           user-defined tokens as llama.cpp treats it
class Tokenizer {
public:
    /// Throws    Error{vocabulary} if the vocabulary contradicts itself; Error{unsupported} if its algorithm or its
    ///           pre-tokenizer is not known here
    explicit Tokenizer(Vocabulary vocabulary) : state_(std::make_shared<const State>(std::move(vocabulary))) {}

    const Vocabulary& vocabulary() const noexcept { return state_->index.vocabulary; }

    /// The number of tokens.
    std::size_t size() const noexcept { return vocabulary().size(); }

    /// The tokens that the model wants in front of every text: BOS, or none. Valid as long as a copy of this tokenizer lives.
    TokenSpan head() const noexcept { return state_->index.head; }

    /// The tokens that the model wants in front of every passage that is retrieved: BOS for OPT, else none. Valid as `head` is.
    TokenSpan passage_head() const noexcept { return state_->index.passage_head; }

    /// The id of a token by its text, control tokens included; nothing if there is none.
    std::optional<TokenId> find(std::string_view piece) const {
        const auto it = state_->index.all.find(piece);
        if (it == state_->index.all.end()) return {};
        return it->second;
    }

    /// The id of a token by its text, control tokens included.
    /// Throws    Error{vocabulary} if there is none
    TokenId id(std::string_view piece) const {
        if (const auto found = find(piece)) return *found;
        FLASHBACK_THROW(ErrorCode::vocabulary, "the vocabulary of ", size(), " tokens has no token '", printable(piece), "'");
    }

    /// The text of a token as the vocabulary spells it, e.g. "▁the", "<0x0A>" or "Ġthe".
    /// Throws    Error{contract} for an id that the vocabulary does not have
    const std::string& piece(TokenId token) const { return vocabulary().pieces[index(token)]; }

    /// The tokens of a text, without head.
    /// Throws    Error{vocabulary} for a character that no token, byte token or unknown token covers; with byte-level BPE for a
    ///           byte that has no token
    /// Cost      n log n for n bytes, however long the words are
    std::vector<TokenId> encode(std::string_view text) const;

    /// The bytes that a token adds to a text; nothing for control tokens.
    /// Throws    Error{contract} for an id that the vocabulary does not have
    std::string decode(TokenId token) const {
        std::string out;
        add(out, token);
        return out;
    }

    /// The text that tokens add after other tokens. It may end inside a UTF-8 character; StreamDecoder holds such a rest back.
    /// Throws    Error{contract} for an id that the vocabulary does not have
    std::string decode(TokenSpan tokens) const {
        std::string out;
        for (const TokenId token : tokens) add(out, token);
        return out;
    }

    /// The text of tokens that are a whole text, without head. It is the inverse of `encode`, and leaves out the space that
    /// `encode` put in front. With SentencePiece two things do not come back: U+2581, which pieces use for a space, and what
    /// became the unknown token. With byte-level BPE all bytes of the text come back, or of its normal form if the vocabulary
    /// asks for one.
    /// Throws    Error{contract} for an id that the vocabulary does not have
    std::string decode_whole(TokenSpan tokens) const {
        std::string out;
        bool at_start = vocabulary().add_space_prefix;
        for (const TokenId token : tokens) {
            const std::size_t before = out.size();
            add(out, token);
            const bool user_defined = vocabulary().kinds[index(token)] == TokenKind::user_defined;
            if (at_start && !user_defined && out.size() > before && out[before] == ' ') out.erase(before, 1);
            at_start = vocabulary().add_space_prefix && user_defined;
        }
        return out;
    }

private:
    struct State {
        using Algorithm = std::variant<detail::SentencePieceBpe, detail::ByteLevelBpe>;

        explicit State(Vocabulary v) : index(known(std::move(v))), algorithm(algorithm_of(index)) {}

        /// The vocabulary, if it names an algorithm that is known.
        static Vocabulary known(Vocabulary v) {
            if (v.model == "llama" || v.model == "gpt2") return v;
            FLASHBACK_THROW(ErrorCode::unsupported, "the vocabulary asks for the tokenizer '", printable(v.model),
                            "', expected 'llama' (SentencePiece BPE) or 'gpt2' (byte-level BPE)");
        }
        static Algorithm algorithm_of(const detail::IndexedVocabulary& index) {
            if (index.vocabulary.model == "gpt2") return detail::ByteLevelBpe{index};
            return detail::SentencePieceBpe{index};
        }

        detail::IndexedVocabulary index;
        Algorithm algorithm;
    };

    std::size_t index(TokenId token) const {
        FLASHBACK_ASSERT(token >= 0 && static_cast<std::size_t>(token) < size(), "token ", token,
                         " is not in the vocabulary of ", size(), " tokens");
        return static_cast<std::size_t>(token);
    }

    void add(std::string& out, TokenId token) const {
        switch (vocabulary().kinds[index(token)]) {
            case TokenKind::control:
            case TokenKind::unused: return;
            case TokenKind::user_defined: out += piece(token); return;
            case TokenKind::normal:
            case TokenKind::unknown:
            case TokenKind::byte: break;
        }
        std::visit([&](const auto& algorithm) { algorithm.decode(state_->index, token, out); }, state_->algorithm);
    }

    void encode_raw(std::string_view text, bool at_start, std::vector<TokenId>& out) const {
        const std::string normal = vocabulary().normal_form_c ? normal_form_c(text) : std::string{};
        const std::string_view taken = vocabulary().normal_form_c ? std::string_view{normal} : text;
        std::visit([&](const auto& algorithm) { algorithm.encode(state_->index, taken, at_start, out); }, state_->algorithm);
    }

    std::shared_ptr<const State> state_;
};

/// Decodes tokens one at a time and gives only whole UTF-8 characters.
class StreamDecoder {
public:
    /// Starts at the beginning of a text.
    explicit StreamDecoder(Tokenizer tokenizer) : tokenizer_(std::move(tokenizer)) {}

    /// The characters that the token completes.
    /// Throws    Error{contract} for an id that the vocabulary does not have
    std::string push(TokenId token) {
        pending_ += tokenizer_.decode(token);
        const std::size_t whole = pending_.size() - incomplete_utf8(pending_);
        std::string out = pending_.substr(0, whole);
        pending_.erase(0, whole);
        return out;
    }

    /// What is left at the end of a text: the bytes of a character that was never completed.
    std::string finish() { return std::exchange(pending_, {}); }

private:
    Tokenizer tokenizer_;
    std::string pending_;
};

inline std::vector<TokenId> Tokenizer::encode(std::string_view text) const {
    std::vector<TokenId> out;
    const auto marks = state_->index.user_defined.find(text);
    bool at_start = true;
    std::size_t begin = 0;
    const auto encode_up_to = [&](std::size_t end) {
        if (end == begin) return;
        encode_raw(text.substr(begin, end - begin), at_start, out);
        at_start = false;
    };
    for (auto mark = marks.rbegin(); mark != marks.rend(); ++mark) {
        if (mark->at < begin) continue;  // within the one before
        encode_up_to(mark->at);
        out.push_back(mark->token);
        at_start = true;
        begin = mark->at + piece(mark->token).size();
    }
    encode_up_to(text.size());
    return out;
}

}  // namespace flashback::inline FLASHBACK_ISA
