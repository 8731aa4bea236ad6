/// \file Byte pair encoding: neighbours are merged by the ranks of pairs.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/text/detail/indexed_vocabulary.hpp"

#include <cstddef>
#include <cstdint>
#include <queue>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

/// What two neighbours become. The lowest rank is merged first.
struct RankedMerge {
    std::uint32_t rank;
    TokenId token;
};

/// The merges of a vocabulary.
class RankedMerges {
public:
    /// No merges.
    RankedMerges() = default;

    /// Merges that name a piece which is not a normal token are left out: real models have some that nothing reaches. Of equal
    /// merges the first counts.
    /// Throws    Error{vocabulary} for a merge that is not two pieces with a space between them
    explicit RankedMerges(const IndexedVocabulary& index) {
        table_.reserve(index.vocabulary.merges.size());
        for (std::size_t i = 0; i < index.vocabulary.merges.size(); ++i) add_merge(index, i);
    }

    /// What two tokens become; null if they are not merged.
    const RankedMerge* operator()(TokenId left, TokenId right) const {
        const auto it = table_.find(key(left, right));
        return it == table_.end() ? nullptr : &it->second;
    }

private:
    static std::uint64_t key(TokenId left, TokenId right) noexcept {
        return std::uint64_t{static_cast<std::uint32_t>(left)} << 32 | static_cast<std::uint32_t>(right);
    }

    void add_merge(const IndexedVocabulary& index, std::size_t i) {
        const std::string_view merge = index.vocabulary.merges[i];
        const std::size_t space = merge.find(' ');
        if (space == merge.npos || space == 0 || space + 1 == merge.size() || merge.find(' ', space + 1) != merge.npos) {
            FLASHBACK_THROW(ErrorCode::vocabulary, "merge ", i, " is '", printable(merge),
                            "', expected two pieces with one space between");
        }
        const std::string_view left = merge.substr(0, space), right = merge.substr(space + 1);
        const auto a = index.find_normal(left), b = index.find_normal(right);
        if (!a || !b) return;
        const auto both = index.find_normal(std::string{left} + std::string{right});
        if (both) table_.try_emplace(key(*a, *b), RankedMerge{static_cast<std::uint32_t>(i), *both});
    }

    std::unordered_map<std::uint64_t, RankedMerge> table_;
};

/// The memory that merging needs, kept from word to word.
struct BytePairScratch {
    struct Symbol {
        TokenId token;  ///< -1: it became a part of the symbol before it
        std::size_t previous, next;
    };
    struct Pair {
        RankedMerge merge;
        std::size_t left, right;          ///< symbols
        TokenId left_token, right_token;  ///< what they were; if a symbol has changed meanwhile, the pair is void

        /// The order of merging: the lowest rank first, and of equal ranks the leftmost pair.
        bool operator<(const Pair& other) const noexcept {
            return merge.rank != other.merge.rank ? merge.rank > other.merge.rank : left > other.left;
        }
    };
    std::vector<Symbol> symbols;
    std::priority_queue<Pair> pairs;

    void push(TokenId token) { symbols.push_back({token, symbols.size() - 1, symbols.size() + 1}); }
};

/// Merges the symbols of a word, always the pair of lowest rank, until no two neighbours can be merged; then clears them.
/// Requires  `find(left, right)` gives a pointer to the RankedMerge of two tokens, or null (RankedMerges is such a function);
///           `on_token(TokenId)` takes the tokens in order
/// Cost      n log n for n symbols; `find` is called less than 3 n times
/// Source    Sennrich, Haddow and Birch 2016, Neural machine translation of rare words with subword units, section 3.2
template <class Find, class OnToken>
void byte_pair_merge(BytePairScratch& scratch, const Find& find, const OnToken& on_token) {
    auto& symbols = scratch.symbols;
    const auto consider = [&](std::size_t left, std::size_t right) {
        if (left >= symbols.size() || right >= symbols.size()) return;
        const TokenId a = symbols[left].token, b = symbols[right].token;
        if (const RankedMerge* merge = find(a, b)) scratch.pairs.push({*merge, left, right, a, b});
    };
    for (std::size_t i = 1; i < symbols.size(); ++i) consider(i - 1, i);
    while (!scratch.pairs.empty()) {
        const BytePairScratch::Pair pair = scratch.pairs.top();
        scratch.pairs.pop();
        auto& left = symbols[pair.left];
        auto& right = symbols[pair.right];
        if (left.token != pair.left_token || right.token != pair.right_token) continue;
        left.token = pair.merge.token;
        right.token = -1;
        left.next = right.next;
        if (right.next < symbols.size()) symbols[right.next].previous = pair.left;
        consider(left.previous, pair.left);
        consider(pair.left, left.next);
    }
    for (std::size_t i = 0; i < symbols.size(); i = symbols[i].next) on_token(symbols[i].token);
    symbols.clear();
}

}  // namespace flashback::inline FLASHBACK_ISA::detail
