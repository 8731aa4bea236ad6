/// \file What a tokenizer holds and does.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/vocabulary.hpp"
#include "flashback/text/detail/byte_level_bpe.hpp"
#include "flashback/text/detail/indexed_vocabulary.hpp"
#include "flashback/text/detail/pre_tokenizer.hpp"
#include "flashback/text/detail/sentencepiece_bpe.hpp"
#include "flashback/text/normalise.hpp"
#include "flashback/text/tokenizer.hpp"
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

FLASHBACK_DETAIL_ONCE bool splits_as_llama3(std::string_view pre_tokenizer) noexcept {
    return detail::find_pre_tokenizer(pre_tokenizer) == detail::PreTokenizer::llama_bpe;
}

struct Tokenizer::State {
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

FLASHBACK_DETAIL_ONCE Tokenizer::Tokenizer(Vocabulary vocabulary)
    : state_(std::make_shared<const State>(std::move(vocabulary))) {}

FLASHBACK_DETAIL_ONCE const Vocabulary& Tokenizer::vocabulary() const noexcept { return state_->index.vocabulary; }

FLASHBACK_DETAIL_ONCE std::size_t Tokenizer::size() const noexcept { return vocabulary().size(); }

FLASHBACK_DETAIL_ONCE TokenSpan Tokenizer::head() const noexcept { return state_->index.head; }

FLASHBACK_DETAIL_ONCE TokenSpan Tokenizer::passage_head() const noexcept { return state_->index.passage_head; }

FLASHBACK_DETAIL_ONCE std::optional<TokenId> Tokenizer::find(std::string_view piece) const {
    const auto it = state_->index.all.find(piece);
    if (it == state_->index.all.end()) return {};
    return it->second;
}

FLASHBACK_DETAIL_ONCE TokenId Tokenizer::id(std::string_view piece) const {
    if (const auto found = find(piece)) return *found;
    FLASHBACK_THROW(ErrorCode::vocabulary, "the vocabulary of ", size(), " tokens has no token '", printable(piece), "'");
}

FLASHBACK_DETAIL_ONCE const std::string& Tokenizer::piece(TokenId token) const { return vocabulary().pieces[index(token)]; }

FLASHBACK_DETAIL_ONCE std::string Tokenizer::decode(TokenId token) const {
    std::string out;
    add(out, token);
    return out;
}

FLASHBACK_DETAIL_ONCE std::string Tokenizer::decode(TokenSpan tokens) const {
    std::string out;
    for (const TokenId token : tokens) add(out, token);
    return out;
}

FLASHBACK_DETAIL_ONCE std::string Tokenizer::decode_whole(TokenSpan tokens) const {
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

FLASHBACK_DETAIL_ONCE std::size_t Tokenizer::index(TokenId token) const {
    FLASHBACK_ASSERT(token >= 0 && static_cast<std::size_t>(token) < size(), "token ", token, " is not in the vocabulary of ",
                     size(), " tokens");
    return static_cast<std::size_t>(token);
}

FLASHBACK_DETAIL_ONCE void Tokenizer::add(std::string& out, TokenId token) const {
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

FLASHBACK_DETAIL_ONCE void Tokenizer::encode_raw(std::string_view text, bool at_start, std::vector<TokenId>& out) const {
    const std::string normal = vocabulary().normal_form_c ? normal_form_c(text) : std::string{};
    const std::string_view taken = vocabulary().normal_form_c ? std::string_view{normal} : text;
    std::visit([&](const auto& algorithm) { algorithm.encode(state_->index, taken, at_start, out); }, state_->algorithm);
}

FLASHBACK_DETAIL_ONCE std::vector<TokenId> Tokenizer::encode(std::string_view text) const {
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

FLASHBACK_DETAIL_ONCE std::string StreamDecoder::push(TokenId token) {
    pending_ += tokenizer_.decode(token);
    const std::size_t whole = pending_.size() - incomplete_utf8(pending_);
    std::string out = pending_.substr(0, whole);
    pending_.erase(0, whole);
    return out;
}

}  // namespace flashback::inline FLASHBACK_ISA
