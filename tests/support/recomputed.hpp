/// \file The plain model of sessions: logits and states of texts, each computed from scratch, and remembered.
#pragma once

#include "flashback/core/fingerprint.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/model/packed_adapter.hpp"
#include "flashback/model/session.hpp"
#include "flashback/model/session_options.hpp"
#include "flashback/model/session_state.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace flashback_test::inline FLASHBACK_ISA {

/// What besides its tokens a text depends on.
struct Voice {
    std::shared_ptr<const flashback::PackedAdapter> adapter = {};
    float scale = 1;
};

/// A number for what a session saves.
template <class S>
std::uint64_t state_of(const S& session) {
    flashback::Fingerprint sum;
    session.save([&](std::span<const std::byte> bytes) { sum.add(bytes); });
    return sum.value();
}

/// Nothing here is cut, forked or continued: a session that holds nothing evaluates the whole text.
class Recomputed {
public:
    Recomputed(std::shared_ptr<const flashback::Transformer> model, flashback::DType element, std::vector<Voice> voices)
        : model_(std::move(model)), element_(element), voices_(std::move(voices)), nodes_(voices_.size()) {}

    std::size_t voices() const noexcept { return voices_.size(); }
    flashback::SessionOptions options(std::size_t voice) const {
        return {.cache = element_, .adapter = voices_[voice].adapter, .adapter_scale = voices_[voice].scale};
    }
    /// How many texts were evaluated.
    std::size_t texts() const noexcept { return texts_; }

    /// The logits after a text, valid until the next call. Those after its beginnings come from the same evaluation.
    std::span<const float> logits(std::size_t voice, flashback::TokenSpan tokens) {
        const std::vector<std::size_t> path = path_of(voice, tokens);
        if (nodes_[path.back()].logits.empty()) {
            ++texts_;
            flashback::Session session{model_, options(voice)};
            const std::span<const float> all = session.evaluate_all(tokens);
            const std::size_t vocab = session.vocab_size();
            for (std::size_t i = 0; i < path.size(); ++i) {
                const std::span<const float> its = all.subspan(i * vocab, vocab);
                nodes_[path[i]].logits.assign(its.begin(), its.end());
            }
        }
        return nodes_[path.back()].logits;
    }

    /// The number of the state of a text.
    std::uint64_t state(std::size_t voice, flashback::TokenSpan tokens) {
        const std::size_t node = tokens.empty() ? voice : path_of(voice, tokens).back();
        if (nodes_[node].state == 0) {
            flashback::Session session{model_, options(voice)};
            if (!tokens.empty()) session.evaluate(tokens);
            nodes_[node].state = state_of(session);
        }
        return nodes_[node].state;
    }

    /// Marks a text as one that a store was given, and tells how much of a text was in one of those.
    void mark(std::size_t voice, flashback::TokenSpan tokens) {
        for (const std::size_t node : path_of(voice, tokens)) nodes_[node].marked = true;
    }
    std::size_t marked(std::size_t voice, flashback::TokenSpan tokens) const {
        std::size_t node = voice;
        std::size_t found = 0;
        for (const flashback::TokenId token : tokens) {
            node = child(node, token);
            if (node == 0 || !nodes_[node].marked) break;
            ++found;
        }
        return found;
    }

private:
    /// A text in a tree of texts: those of a voice begin at the node of its number. 0 is no child.
    struct Node {
        std::vector<std::pair<flashback::TokenId, std::size_t>> children = {};
        std::vector<float> logits = {};
        std::uint64_t state = 0;
        bool marked = false;
    };

    std::size_t child(std::size_t node, flashback::TokenId token) const {
        for (const auto& [its, to] : nodes_[node].children)
            if (its == token) return to;
        return 0;
    }

    std::vector<std::size_t> path_of(std::size_t voice, flashback::TokenSpan tokens) {
        std::vector<std::size_t> path;
        std::size_t node = voice;
        for (const flashback::TokenId token : tokens) {
            std::size_t next = child(node, token);
            if (next == 0) {
                next = nodes_.size();
                nodes_.emplace_back();
                nodes_[node].children.emplace_back(token, next);
            }
            path.push_back(node = next);
        }
        return path;
    }

    std::shared_ptr<const flashback::Transformer> model_;
    flashback::DType element_;
    std::vector<Voice> voices_;
    std::vector<Node> nodes_;
    std::size_t texts_ = 0;
};

}  // namespace flashback_test::inline FLASHBACK_ISA
