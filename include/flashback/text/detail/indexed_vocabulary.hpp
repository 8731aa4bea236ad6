/// \file What all tokenizers know of a vocabulary, and what they check.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/vocabulary.hpp"
#include "flashback/text/detail/token_finder.hpp"

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

/// A vocabulary whose tokens can be found by text. It holds views into itself, so it must not be copied or moved.
class IndexedVocabulary {
public:
    /// Throws    Error{vocabulary} if the vocabulary contradicts itself
    explicit IndexedVocabulary(Vocabulary v) : vocabulary(std::move(v)) {
        check_sizes();
        add_head();
        all.reserve(vocabulary.size());
        normal.reserve(vocabulary.size());
        std::vector<TokenFinder::Entry> marks;
        for (std::size_t i = 0; i < vocabulary.size(); ++i) add_token(i, marks);
        user_defined = TokenFinder{std::move(marks)};
    }
    IndexedVocabulary(const IndexedVocabulary&) = delete;
    IndexedVocabulary& operator=(const IndexedVocabulary&) = delete;
    ~IndexedVocabulary() = default;

    const std::string& piece(TokenId token) const { return vocabulary.pieces[static_cast<std::size_t>(token)]; }
    TokenKind kind(TokenId token) const { return vocabulary.kinds[static_cast<std::size_t>(token)]; }

    /// The token of a text that merging may produce; nothing if there is none.
    std::optional<TokenId> find_normal(std::string_view text) const {
        const auto it = normal.find(text);
        if (it == normal.end()) return {};
        return it->second;
    }

    const Vocabulary vocabulary;
    std::unordered_map<std::string_view, TokenId> all;     ///< every token by its text, the first of several
    std::unordered_map<std::string_view, TokenId> normal;  ///< those that merging may produce
    TokenFinder user_defined;                              ///< finds those that stand for themselves in a text
    std::vector<TokenId> head;                             ///< what stands in front of every text
    std::vector<TokenId> passage_head;                     ///< what stands in front of every passage

private:
    void check_sizes() const {
        const std::size_t n = vocabulary.size();
        if (n == 0) FLASHBACK_THROW(ErrorCode::vocabulary, "the vocabulary has no tokens");
        const bool by_rank = vocabulary.model == "gpt2" || !vocabulary.merges.empty();
        const bool without_scores = by_rank && vocabulary.scores.empty();
        if ((vocabulary.scores.size() != n && !without_scores) || vocabulary.kinds.size() != n) {
            FLASHBACK_THROW(ErrorCode::vocabulary, "the vocabulary has ", n, " tokens, but ", vocabulary.scores.size(),
                            " scores and ", vocabulary.kinds.size(), " kinds");
        }
        const auto check_special = [n](std::string_view name, std::optional<TokenId> id) {
            if (id && (*id < 0 || static_cast<std::size_t>(*id) >= n)) {
                FLASHBACK_THROW(ErrorCode::vocabulary, "the vocabulary of ", n, " tokens names ", *id, " as its ", name,
                                " token");
            }
        };
        check_special("BOS", vocabulary.bos);
        check_special("EOS", vocabulary.eos);
        check_special("unknown", vocabulary.unknown);
    }

    void add_head() {
        if (!vocabulary.add_bos && !vocabulary.bos_in_passages) return;
        if (!vocabulary.bos)
            FLASHBACK_THROW(ErrorCode::vocabulary, "the vocabulary wants BOS in front of every text, but names no BOS token");
        if (vocabulary.add_bos) head.push_back(*vocabulary.bos);
        if (vocabulary.bos_in_passages) passage_head.push_back(*vocabulary.bos);
    }

    void add_token(std::size_t i, std::vector<TokenFinder::Entry>& marks) {
        const std::string& text = vocabulary.pieces[i];
        const auto id = static_cast<TokenId>(i);
        all.emplace(text, id);
        switch (vocabulary.kinds[i]) {
            case TokenKind::normal: normal.emplace(text, id); return;
            case TokenKind::user_defined:
                if (text.empty()) FLASHBACK_THROW(ErrorCode::vocabulary, "the user-defined token ", i, " has no text");
                marks.emplace_back(text, id);
                return;
            case TokenKind::byte:
            case TokenKind::unknown:
            case TokenKind::control:
            case TokenKind::unused: return;
        }
        FLASHBACK_THROW(ErrorCode::vocabulary, "token ", i, " has kind ", unsigned(vocabulary.kinds[i]), ", expected 1 to 6");
    }
};

}  // namespace flashback::inline FLASHBACK_ISA::detail
