/// \file Queries that outlive what they were made from, and what makes two queries, or two passages, the same.
#pragma once

#include "flashback/core/retriever.hpp"

#include <algorithm>
#include <cstddef>
#include <string>

namespace flashback::inline FLASHBACK_ISA::detail {

/// A copy of a query and of all that it views.
class HeldQuery {
public:
    void assign(const Query& query) {
        tokens_.assign(query.tokens.begin(), query.tokens.end());
        text_ = query.text;
        context_.assign(query.context.begin(), query.context.end());
    }

    /// The query; valid until this copy changes.
    Query view() const noexcept { return {tokens_, text_, context_}; }

private:
    TokenBuffer tokens_;
    std::string text_;
    TokenBuffer context_;
};

/// Whether two queries ask for the same: the text, or the tokens if there is none; and the context, if answers depend on it.
template <bool WithContext>
struct SameQuery {
    bool operator()(const Query& a, const Query& b) const {
        if (a.text != b.text || (a.text.empty() && !std::ranges::equal(a.tokens, b.tokens))) return false;
        return !WithContext || std::ranges::equal(a.context, b.context);
    }
};

inline void add_bytes(std::string& key, TokenSpan tokens) {
    key.append(reinterpret_cast<const char*>(tokens.data()), tokens.size_bytes());
}

inline void add_bytes(std::string& key, std::size_t number) {
    key.append(reinterpret_cast<const char*>(&number), sizeof number);
}

/// Writes bytes that are equal if two queries are the same, and ask for as many passages.
inline void write_key(std::string& key, const Query& query, std::size_t k, bool with_context) {
    key.assign(query.text.empty() ? "i" : "t");
    add_bytes(key, k);
    if (with_context) {
        add_bytes(key, query.context.size());
        add_bytes(key, query.context);
    }
    if (query.text.empty()) {
        add_bytes(key, query.tokens);
    } else {
        key += query.text;
    }
}

/// Bytes that are equal if two passages are the same: they have one id, or none but the same text and tokens.
inline std::string key_of(const Passage& passage) {
    if (!passage.id.empty()) return "i" + std::string{passage.id};
    std::string key = "t";
    add_bytes(key, passage.text.size());
    key += passage.text;
    add_bytes(key, passage.tokens);
    return key;
}

}  // namespace flashback::inline FLASHBACK_ISA::detail
