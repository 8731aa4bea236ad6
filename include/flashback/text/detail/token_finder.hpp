/// \file Finds the user-defined tokens of a text in linear time.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/tokens.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

/// A set of pieces, and at each place of a text the longest of them that begins there.
///
/// An automaton reads the text backwards. At each byte it knows the longest end of a piece that the rest of the text begins
/// with. If this end begins with a whole piece, that piece begins here. So one pass finds all pieces, whatever they have in
/// common.
/// Source    Aho and Corasick 1975, Efficient string matching
class TokenFinder {
public:
    /// A piece that is not empty, and the token that it stands for.
    using Entry = std::pair<std::string_view, TokenId>;

    /// A piece at a place of a text.
    struct Match {
        std::size_t at = 0;
        TokenId token = 0;
    };

    TokenFinder() = default;

    /// Requires  no piece is empty
    /// Throws    Error{vocabulary} if a piece comes twice, or if all together are too long
    /// Cost      sorts the pieces; holds at most 20 bytes for each byte of theirs
    explicit TokenFinder(std::vector<Entry> entries) {
        std::size_t bytes = 0;
        for (const Entry& entry : entries) bytes += entry.first.size();
        if (bytes >= static_cast<std::size_t>(std::numeric_limits<Node>::max())) {
            FLASHBACK_THROW(ErrorCode::vocabulary, "the user-defined tokens have ", bytes, " bytes, expected fewer than ",
                            std::numeric_limits<Node>::max());
        }
        std::ranges::sort(entries, [](const Entry& a, const Entry& b) {
            if (a.first == b.first) return a.second < b.second;
            return std::lexicographical_compare(a.first.rbegin(), a.first.rend(), b.first.rbegin(), b.first.rend());
        });
        const auto twice = std::ranges::adjacent_find(entries, {}, &Entry::first);
        if (twice != entries.end()) {
            FLASHBACK_THROW(ErrorCode::vocabulary, "the user-defined tokens ", twice[0].second, " and ", twice[1].second,
                            " have the same text '", printable(twice->first), "'");
        }
        if (entries.empty()) return;
        nodes_.reserve(bytes + 1);
        grow(entries);
        for (Node node = 1; node < nodes_.size(); ++node) link(node);
    }

    /// The places of a text where a piece begins, the last first, each with the longest piece. Calls `step()` for each node
    /// that is looked at.
    /// Cost      at most 2 steps for each byte of the text, each a binary search among at most 256
    template <class Step>
    std::vector<Match> find(std::string_view text, const Step& step) const {
        std::vector<Match> matches;
        if (nodes_.empty()) return matches;
        Node node = 0;
        for (std::size_t at = text.size(); at-- > 0;) {
            node = next(node, text[at], step);
            if (nodes_[node].token != none) matches.push_back({at, nodes_[node].token});
        }
        return matches;
    }
    std::vector<Match> find(std::string_view text) const {
        return find(text, [] {});
    }

private:
    using Node = std::uint32_t;
    static constexpr TokenId none = -1;

    /// A node: the end of a piece. Nodes are in order of length. The children of a node, which have one more byte in front, are
    /// side by side.
    struct State {
        Node children = 0;  ///< the first of them; those of the next node follow
        Node parent = 0;
        Node shorter = 0;      ///< the longest that this one begins with, read forwards
        TokenId token = none;  ///< the longest piece that this one begins with
        char byte = 0;         ///< its first
    };

    /// Makes the nodes, length by length; those of a node are a range of the entries, which are sorted.
    void grow(const std::vector<Entry>& entries) {
        struct Range {
            std::size_t begin, end;
        };
        std::vector<Range> level{{0, entries.size()}};
        nodes_.push_back({});
        for (std::size_t length = 0, first = 0; !level.empty(); ++length) {
            std::vector<Range> longer;
            for (std::size_t i = 0; i < level.size(); ++i) {
                auto [begin, end] = level[i];
                const std::size_t node = first + i;
                nodes_[node].children = static_cast<Node>(nodes_.size());
                if (entries[begin].first.size() == length) nodes_[node].token = entries[begin++].second;
                while (begin < end) {
                    const auto byte_of = [&](const Entry& entry) { return entry.first[entry.first.size() - 1 - length]; };
                    const char byte = byte_of(entries[begin]);
                    std::size_t last = begin;
                    while (last < end && byte_of(entries[last]) == byte) ++last;
                    nodes_.push_back({.parent = static_cast<Node>(node), .byte = byte});
                    longer.push_back({begin, last});
                    begin = last;
                }
            }
            first += level.size();
            level = std::move(longer);
        }
    }

    /// Requires  all shorter nodes are linked
    void link(Node node) {
        State& state = nodes_[node];
        if (state.parent != 0) state.shorter = next(nodes_[state.parent].shorter, state.byte, [] {});
        if (state.token == none) state.token = nodes_[state.shorter].token;
    }

    template <class Step>
    Node next(Node node, char byte, const Step& step) const {
        for (;; node = nodes_[node].shorter) {
            step();
            const std::size_t end = node + 1 < nodes_.size() ? nodes_[node + 1].children : nodes_.size();
            const auto children = nodes_.begin() + static_cast<std::ptrdiff_t>(nodes_[node].children);
            const auto last = nodes_.begin() + static_cast<std::ptrdiff_t>(end);
            const auto found = std::ranges::lower_bound(children, last, byte, {}, &State::byte);
            if (found != last && found->byte == byte) return static_cast<Node>(found - nodes_.begin());
            if (node == 0) return 0;
        }
    }

    std::vector<State> nodes_;
};

}  // namespace flashback::inline FLASHBACK_ISA::detail
