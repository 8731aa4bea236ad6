/// \file A retriever whose answers are random, but the same for the same query.
#pragma once

#include "flashback/core/random.hpp"
#include "flashback/core/retriever.hpp"
#include "support/random_model.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace flashback_test {

/// A number that depends on every token and on their order.
inline std::uint64_t hash_of(flashback::TokenSpan tokens) {
    std::uint64_t hash = 0xcbf29ce484222325u;
    for (const flashback::TokenId token : tokens) {
        hash = flashback::SplitMix64{hash ^ static_cast<std::uint64_t>(static_cast<std::uint32_t>(token))}.next();
    }
    return hash;
}

class RandomRetriever {
public:
    RandomRetriever(std::size_t passages, std::size_t longest, std::size_t vocab, std::uint64_t seed) {
        flashback::SplitMix64 random{seed};
        for (std::size_t i = 0; i < passages; ++i) {
            tokens_.push_back(random_tokens(random, random.below(longest + 1), vocab));
            names_.push_back("passage " + std::to_string(i));
        }
    }

    std::span<const flashback::Passage> retrieve(const flashback::Query& query, std::size_t k) {
        flashback::SplitMix64 random{hash_of(query.tokens)};
        found_.clear();
        for (std::size_t i = 0; i < k; ++i) {
            const std::size_t which = random.below(tokens_.size());
            found_.push_back({names_[which], "title", "text", tokens_[which], 1.0f / static_cast<float>(i + 1)});
        }
        return found_;
    }

private:
    std::vector<std::vector<flashback::TokenId>> tokens_;
    std::vector<std::string> names_;
    std::vector<flashback::Passage> found_;
};

}  // namespace flashback_test
