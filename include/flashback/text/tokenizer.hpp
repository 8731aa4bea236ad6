/// \file Text to tokens and back.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/vocabulary.hpp"
#include "flashback/text/detail/sentencepiece_bpe.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// Turns text into the tokens of a vocabulary and back. A value: copies share one immutable state, which threads may use at
/// once.
///
/// Control tokens (BOS, marking tokens) never come from text, whatever it spells; put them by id.
/// Source    Kudo and Richardson 2018, SentencePiece; text around user-defined tokens as llama.cpp treats it
class Tokenizer {
public:
    /// Throws    Error{vocabulary} if the vocabulary contradicts itself; Error{unsupported} if its algorithm is not known here
    explicit Tokenizer(Vocabulary vocabulary) : state_(std::make_shared<const State>(std::move(vocabulary))) {}

    const Vocabulary& vocabulary() const noexcept { return state_->vocabulary; }

    /// The number of tokens.
    std::size_t size() const noexcept { return vocabulary().size(); }

    /// The tokens that the model wants in front of every text: BOS, or none. Valid as long as a copy of this tokenizer lives.
    TokenSpan head() const noexcept { return state_->head; }

    /// The id of a token by its text, control tokens included; nothing if there is none.
    std::optional<TokenId> find(std::string_view piece) const {
        const auto it = state_->all.find(piece);
        if (it == state_->all.end()) return {};
        return it->second;
    }

    /// The id of a token by its text, control tokens included.
    /// Throws    Error{vocabulary} if there is none
    TokenId id(std::string_view piece) const {
        if (const auto found = find(piece)) return *found;
        FLASHBACK_THROW(ErrorCode::vocabulary, "the vocabulary of ", size(), " tokens has no token '", piece, "'");
    }

    /// The text of a token as the vocabulary spells it, e.g. "▁the" or "<0x0A>".
    /// Throws    Error{contract} for an id that the vocabulary does not have
    const std::string& piece(TokenId token) const { return vocabulary().pieces[index(token)]; }

    /// The tokens of a text, without head.
    /// Throws    Error{vocabulary} for a character that no token, byte token or unknown token covers
    /// Cost      n log n for n characters
    std::vector<TokenId> encode(std::string_view text) const;

    /// The bytes that a token adds to a text; nothing for control tokens.
    /// Throws    Error{contract} for an id that the vocabulary does not have
    std::string decode(TokenId token) const {
        std::string out;
        add(out, token);
        return out;
    }

    /// The text that tokens add behind other tokens. It may end inside a UTF-8 character; StreamDecoder holds that back.
    /// Throws    Error{contract} for an id that the vocabulary does not have
    std::string decode(TokenSpan tokens) const {
        std::string out;
        for (const TokenId token : tokens) add(out, token);
        return out;
    }

    /// The text of tokens that are a whole text, without head: the inverse of `encode`, without the spaces that it put in
    /// front. Two things do not come back: U+2581, which pieces use for a space, and what became the unknown token.
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
        explicit State(Vocabulary v);

        Vocabulary vocabulary;
        std::unordered_map<std::string_view, TokenId> all;     ///< every token by its text
        std::unordered_map<std::string_view, TokenId> normal;  ///< those that merging may produce
        std::array<std::vector<TokenId>, 256> user_defined;    ///< by first byte, the longest first
        std::array<TokenId, 256> bytes;                        ///< byte tokens; -1 where there is none
        std::vector<TokenId> head;
    };

    static constexpr std::string_view space_mark = "\xe2\x96\x81";  // U+2581, which stands for a space in pieces

    std::size_t index(TokenId token) const {
        FLASHBACK_ASSERT(token >= 0 && static_cast<std::size_t>(token) < size(), "token ", token,
                         " is not in the vocabulary of ", size(), " tokens");
        return static_cast<std::size_t>(token);
    }

    void add(std::string& out, TokenId token) const;
    std::optional<TokenId> user_defined_at(std::string_view text) const;
    void encode_raw(std::string_view text, bool at_start, std::vector<TokenId>& out) const;

    std::shared_ptr<const State> state_;
};

/// Decodes tokens one at a time and gives whole UTF-8 characters only.
class StreamDecoder {
public:
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

    /// What is left at the end of a text: bytes of a character that never became complete.
    std::string finish() { return std::exchange(pending_, {}); }

private:
    Tokenizer tokenizer_;
    std::string pending_;
};

inline Tokenizer::State::State(Vocabulary v) : vocabulary(std::move(v)) {
    const std::size_t n = vocabulary.size();
    if (vocabulary.model != "llama") {
        FLASHBACK_THROW(ErrorCode::unsupported, "the vocabulary asks for the tokenizer '", detail::printable(vocabulary.model),
                        "', expected 'llama' (SentencePiece BPE)");
    }
    if (n == 0) FLASHBACK_THROW(ErrorCode::vocabulary, "the vocabulary has no tokens");
    if (vocabulary.scores.size() != n || vocabulary.kinds.size() != n) {
        FLASHBACK_THROW(ErrorCode::vocabulary, "the vocabulary has ", n, " tokens, but ", vocabulary.scores.size(),
                        " scores and ", vocabulary.kinds.size(), " kinds");
    }
    const auto check_special = [n](std::string_view name, std::optional<TokenId> id) {
        if (id && (*id < 0 || static_cast<std::size_t>(*id) >= n)) {
            FLASHBACK_THROW(ErrorCode::vocabulary, "the vocabulary of ", n, " tokens names ", *id, " as its ", name, " token");
        }
    };
    check_special("BOS", vocabulary.bos);
    check_special("EOS", vocabulary.eos);
    check_special("unknown", vocabulary.unknown);
    if (vocabulary.add_bos) {
        if (!vocabulary.bos)
            FLASHBACK_THROW(ErrorCode::vocabulary, "the vocabulary wants BOS in front of every text, but names no BOS token");
        head.push_back(*vocabulary.bos);
    }

    bytes.fill(-1);
    all.reserve(n);
    normal.reserve(n);
    for (std::size_t i = 0; i < n; ++i) {
        const std::string& piece = vocabulary.pieces[i];
        const auto id = static_cast<TokenId>(i);
        all.emplace(piece, id);
        if (std::isnan(vocabulary.scores[i]))
            FLASHBACK_THROW(ErrorCode::vocabulary, "the score of token ", i, " is not a number");
        switch (vocabulary.kinds[i]) {
            case TokenKind::normal: normal.emplace(piece, id); break;
            case TokenKind::user_defined:
                if (piece.empty()) FLASHBACK_THROW(ErrorCode::vocabulary, "the user-defined token ", i, " has no text");
                user_defined[static_cast<unsigned char>(piece[0])].push_back(id);
                break;
            case TokenKind::byte: {
                constexpr std::string_view digits = "0123456789ABCDEF";
                const bool well_formed = piece.size() == 6 && piece.starts_with("<0x") && piece[5] == '>' &&
                                         digits.find(piece[3]) != digits.npos && digits.find(piece[4]) != digits.npos;
                if (!well_formed)
                    FLASHBACK_THROW(ErrorCode::vocabulary, "the byte token ", i, " is not spelled <0x00> to <0xFF>");
                bytes[digits.find(piece[3]) * 16 + digits.find(piece[4])] = id;
                break;
            }
            case TokenKind::unknown:
            case TokenKind::control:
            case TokenKind::unused: break;
            default:
                FLASHBACK_THROW(ErrorCode::vocabulary, "token ", i, " has kind ", unsigned(vocabulary.kinds[i]),
                                ", expected 1 to 6");
        }
    }
    for (auto& ids : user_defined) {
        std::ranges::stable_sort(ids, std::greater{},
                                 [&](TokenId id) { return vocabulary.pieces[static_cast<std::size_t>(id)].size(); });
    }
}

inline void Tokenizer::add(std::string& out, TokenId token) const {
    const std::string& text = vocabulary().pieces[index(token)];
    switch (vocabulary().kinds[index(token)]) {
        case TokenKind::byte: out += static_cast<char>(std::stoi(text.substr(3, 2), nullptr, 16)); return;
        case TokenKind::control:
        case TokenKind::unused: return;
        case TokenKind::unknown: out += " \xe2\x81\x87 "; return;  // U+2047, as SentencePiece shows it
        case TokenKind::user_defined: out += text; return;
        case TokenKind::normal: break;
    }
    for (std::string_view rest = text; !rest.empty();) {
        const std::size_t mark = rest.find(space_mark);
        out += rest.substr(0, mark);
        if (mark == rest.npos) return;
        out += ' ';
        rest.remove_prefix(mark + space_mark.size());
    }
}

inline std::optional<TokenId> Tokenizer::user_defined_at(std::string_view text) const {
    for (const TokenId id : state_->user_defined[static_cast<unsigned char>(text[0])]) {
        if (text.starts_with(vocabulary().pieces[static_cast<std::size_t>(id)])) return id;
    }
    return {};
}

inline void Tokenizer::encode_raw(std::string_view text, bool at_start, std::vector<TokenId>& out) const {
    std::string marked;
    marked.reserve(text.size() + text.size() / 2);
    if (at_start && vocabulary().add_space_prefix) marked += space_mark;
    for (const char c : text) {
        if (c == ' ') {
            marked += space_mark;
        } else {
            marked += c;
        }
    }
    const auto score = [&](std::string_view piece) -> const float* {
        const auto it = state_->normal.find(piece);
        return it == state_->normal.end() ? nullptr : &vocabulary().scores[static_cast<std::size_t>(it->second)];
    };
    detail::sentencepiece_merge(marked, score, [&](std::string_view piece) {
        if (const auto it = state_->normal.find(piece); it != state_->normal.end()) {
            out.push_back(it->second);
            return;
        }
        for (const char c : piece) {
            const TokenId byte = state_->bytes[static_cast<unsigned char>(c)];
            if (byte >= 0) {
                out.push_back(byte);
            } else if (vocabulary().unknown) {
                out.push_back(*vocabulary().unknown);
                return;  // one for the whole character
            } else {
                FLASHBACK_THROW(ErrorCode::vocabulary, "the vocabulary of ", size(), " tokens covers the byte ",
                                unsigned{static_cast<unsigned char>(c)},
                                " in no way: it has no byte token and no unknown token for it");
            }
        }
    });
}

inline std::vector<TokenId> Tokenizer::encode(std::string_view text) const {
    std::vector<TokenId> out;
    bool at_start = true;
    for (std::size_t begin = 0, at = 0; at <= text.size(); ++at) {
        const auto special = at < text.size() ? user_defined_at(text.substr(at)) : std::nullopt;
        if (!special && at < text.size()) continue;
        if (at > begin) {
            encode_raw(text.substr(begin, at - begin), at_start, out);
            at_start = false;
        }
        if (!special) break;
        out.push_back(*special);
        at_start = true;
        begin = at + piece(*special).size();
        at = begin - 1;
    }
    return out;
}

}  // namespace flashback::inline FLASHBACK_ISA
