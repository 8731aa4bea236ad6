/// \file A retriever whose order of passages depends on the query alone, so that a test can say what it should have found.
#pragma once

#include "flashback/core/random.hpp"
#include "flashback/core/retriever.hpp"
#include "support/random_retriever.hpp"

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

namespace flashback_test {

/// Threads may ask it at once, as it is const.
class RankedPassages {
public:
    void add(std::string id, std::string title, flashback::TokenBuffer tokens) {
        all_.push_back({std::move(id), std::move(title), std::move(tokens)});
    }

    std::size_t size() const { return all_.size(); }
    const std::string& id(std::size_t i) const { return all_[i].id; }
    flashback::TokenSpan tokens(std::size_t i) const { return all_[i].tokens; }

    /// All passages, the best for a query first.
    std::vector<std::size_t> ranking(flashback::TokenSpan query) const {
        std::vector<std::size_t> order(all_.size());
        std::iota(order.begin(), order.end(), std::size_t{0});
        flashback::SplitMix64 random{hash_of(query)};
        for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
        return order;
    }

    std::vector<flashback::Passage> retrieve(const flashback::Query& query, std::size_t k) const {
        std::vector<flashback::Passage> found;
        for (const std::size_t i : ranking(query.tokens)) {
            if (found.size() == k) break;
            found.push_back({all_[i].id, all_[i].title, "", all_[i].tokens, 1});
        }
        return found;
    }

private:
    struct Stored {
        std::string id, title;
        flashback::TokenBuffer tokens;
    };
    std::vector<Stored> all_;
};

}  // namespace flashback_test
