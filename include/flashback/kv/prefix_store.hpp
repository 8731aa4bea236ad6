/// \file The keys and values of several texts, which share what they have in common.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/kv/paged_kv_cache.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// What a store of prefixes holds, and what became of what it was asked for.
struct PrefixStoreCounts {
    std::size_t asked = 0;      ///< tokens of the texts that were looked for
    std::size_t hits = 0;       ///< how many of them were found
    std::size_t evictions = 0;  ///< pages that went
    std::size_t pages = 0;      ///< held now
    std::size_t bytes = 0;      ///< of these pages
};

/// Keeps texts in a tree of pages: a page of up to 64 tokens stands behind the page in front of it, and texts that begin alike share the
/// pages of their beginning, with each other and with the caches that they came from. So a text that continues another, or is tried again,
/// finds what was evaluated, to the token. If there is no room, the last page of the text that was asked for longest ago goes, unless it
/// is pinned. Any number of threads may use a store. What tokens mean is told by a number, the fingerprint of a session.
class PrefixStore {
public:
    /// Keeps up to `budget` bytes of pages of a pool.
    /// Throws    Error{contract} for a null pool
    PrefixStore(std::shared_ptr<KVPagePool> pool, std::size_t budget) : pool_(std::move(pool)), budget_(budget) {
        FLASHBACK_ASSERT(pool_ != nullptr, "a store of prefixes needs a pool of pages, found null");
    }
    PrefixStore(const PrefixStore&) = delete;
    PrefixStore& operator=(const PrefixStore&) = delete;
    ~PrefixStore() {
        for (auto& [fingerprint, root] : roots_) release_below(root);
    }

    /// Where its pages come from.
    const std::shared_ptr<KVPagePool>& pool() const noexcept { return pool_; }

    /// The longest beginning of a text that is kept, in a cache for `positions` positions that shares its pages; at most so many.
    /// Throws    std::bad_alloc
    /// Cost      compares the tokens with those of the pages that follow each other
    PagedKVCache find(std::uint64_t fingerprint, TokenSpan tokens, std::size_t positions) {
        KVShape shape = pool_->shape();
        shape.positions = positions;
        PagedKVCache found{shape, pool_};
        const std::lock_guard lock{mutex_};
        TokenSpan rest = tokens.first(std::min(tokens.size(), positions));
        for (Node* node = &roots_[fingerprint]; !rest.empty();) {
            const auto [child, common] = longest(*node, rest);
            if (common == 0) break;
            touch(*child);
            found.share(*child->page, common);
            rest = rest.subspan(common);
            if (common < tile_positions) break;
            node = child;
        }
        counts_.asked += tokens.size();
        counts_.hits += found.size();
        return found;
    }

    /// Keeps a text whose keys and values are the first ones of a cache; as long a beginning of it as there is room for.
    /// Requires  the cache holds a position for each token, all of plain text
    /// Throws    Error{contract} if the pages of the cache come from another pool; std::bad_alloc; then a beginning may be kept
    /// Cost      pointers to pages
    void keep(std::uint64_t fingerprint, TokenSpan tokens, const PagedKVCache& cache) {
        FLASHBACK_ASSERT(cache.pool() == pool_, "a store of prefixes was given a cache whose pages come from another pool");
        FLASHBACK_ASSERT(tokens.size() <= cache.size(), "a store of prefixes was given ", tokens.size(),
                         " tokens of a cache of ", cache.size(), " positions");
        const std::lock_guard lock{mutex_};
        Node* node = &roots_[fingerprint];
        for (std::size_t page = 0; page * tile_positions < tokens.size(); ++page) {
            const TokenSpan its =
                tokens.subspan(page * tile_positions, std::min(tile_positions, tokens.size() - page * tile_positions));
            auto [child, common] = longest(*node, its);
            if (child == nullptr || (common < its.size() && common < child->tokens.size())) {
                if (!make_room(node)) return;
                child = &add(*node, its, cache.page(page));
            } else if (child->tokens.size() < its.size()) {
                child->tokens.assign(its.begin(), its.end());
                pool_->release(*std::exchange(child->page, &used(cache.page(page))));
            }
            touch(*child);
            node = child;
        }
    }

    /// Keeps the beginning of a text that is held now until the same text is unpinned as often as it was pinned. Gives how many tokens
    /// that is.
    /// Throws    std::bad_alloc; then nothing has changed
    std::size_t pin(std::uint64_t fingerprint, TokenSpan tokens) {
        const std::lock_guard lock{mutex_};
        Pin made{.fingerprint = fingerprint, .tokens = {tokens.begin(), tokens.end()}};
        for (Node* node = &roots_[fingerprint]; made.held < tokens.size(); made.node = node) {
            const auto [child, common] = longest(*node, tokens.subspan(made.held));
            if (child == nullptr || common < child->tokens.size()) break;
            made.held += common;
            node = child;
        }
        if (made.node == nullptr) return 0;
        pins_.push_back(std::move(made));
        ++pins_.back().node->pins;
        return pins_.back().held;
    }
    /// Gives how many tokens are not kept for this pin any more.
    std::size_t unpin(std::uint64_t fingerprint, TokenSpan tokens) noexcept {
        const std::lock_guard lock{mutex_};
        const auto pin = std::ranges::find_if(
            pins_, [&](const Pin& its) { return its.fingerprint == fingerprint && std::ranges::equal(its.tokens, tokens); });
        if (pin == pins_.end()) return 0;
        const std::size_t held = pin->held;
        --pin->node->pins;
        pins_.erase(pin);
        return held;
    }

    /// What was asked for so far, and what is held now.
    PrefixStoreCounts counts() const {
        const std::lock_guard lock{mutex_};
        return counts_;
    }

private:
    struct Node {
        Node* parent = nullptr;
        TokenBuffer tokens = {};  // of its page; only a leaf has fewer than 64
        KVPage* page = nullptr;
        std::vector<std::unique_ptr<Node>> children = {};
        std::uint64_t used = 0;  // when it was asked for
        std::size_t pins = 0;
    };

    /// A text by which a node is kept. The node may hold more when it is unpinned: a text that goes on takes its place.
    struct Pin {
        std::uint64_t fingerprint;
        TokenBuffer tokens;
        Node* node = nullptr;
        std::size_t held = 0;
    };

    struct Older {
        bool operator()(const Node* a, const Node* b) const noexcept { return a->used < b->used; }
    };

    /// The child that has most of the next tokens in common, and how many.
    static std::pair<Node*, std::size_t> longest(const Node& node, TokenSpan tokens) noexcept {
        std::pair<Node*, std::size_t> best{nullptr, 0};
        for (const auto& child : node.children) {
            const std::size_t common = common_prefix(child->tokens, tokens);
            if (common > best.second) best = {child.get(), common};
        }
        return best;
    }

    static KVPage& used(KVPage& page) noexcept {
        page.users.fetch_add(1, std::memory_order_relaxed);
        return page;
    }

    /// Is the newest from now on.
    void touch(Node& node) {
        auto leaf = leaves_.extract(&node);
        node.used = ++clock_;
        if (!leaf.empty()) leaves_.insert(std::move(leaf));
    }

    Node& add(Node& parent, TokenSpan tokens, KVPage& page) {
        auto node = std::make_unique<Node>(Node{.parent = &parent, .tokens = {tokens.begin(), tokens.end()}, .used = ++clock_});
        parent.children.reserve(parent.children.size() + 1);
        leaves_.insert(node.get());  // from here on nothing throws
        if (parent.parent != nullptr) leaves_.erase(&parent);
        node->page = &used(page);
        parent.children.push_back(std::move(node));
        ++counts_.pages;
        counts_.bytes += pool_->page_bytes();
        return *parent.children.back();
    }

    /// Evicts until there is room for a page behind `keeps`, which stays. Tells whether there is.
    bool make_room(const Node* keeps) {
        while (counts_.bytes + pool_->page_bytes() > budget_) {
            const auto oldest =
                std::ranges::find_if(leaves_, [&](const Node* leaf) { return leaf->pins == 0 && leaf != keeps; });
            if (oldest == leaves_.end()) return false;
            auto leaf = leaves_.extract(oldest);
            Node& node = *leaf.value();
            Node& parent = *node.parent;
            pool_->release(*node.page);
            std::erase_if(parent.children, [&](const auto& child) { return child.get() == &node; });
            if (parent.children.empty() && parent.parent != nullptr) {
                leaf.value() = &parent;
                leaves_.insert(std::move(leaf));
            }
            --counts_.pages;
            counts_.bytes -= pool_->page_bytes();
            ++counts_.evictions;
        }
        return true;
    }

    void release_below(Node& node) noexcept {
        for (const auto& child : node.children) {
            release_below(*child);
            pool_->release(*child->page);
        }
    }

    std::shared_ptr<KVPagePool> pool_;
    std::size_t budget_;
    mutable std::mutex mutex_;
    std::map<std::uint64_t, Node> roots_;  // by fingerprint
    std::set<Node*, Older> leaves_;        // which can be evicted
    std::vector<Pin> pins_;
    std::uint64_t clock_ = 0;
    PrefixStoreCounts counts_;
};

}  // namespace flashback::inline FLASHBACK_ISA
