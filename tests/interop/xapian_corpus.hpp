/// \file Passages of random words, and shards that hold them.
#pragma once

#include "flashback/core/random.hpp"
#include "flashback/interop/xapian.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace flashback_test {

/// A token for each byte.
inline flashback::TokenBuffer bytes_as_tokens(std::string_view text) { return {text.begin(), text.end()}; }

inline std::string tokens_as_bytes(flashback::TokenSpan tokens) {
    std::string text;
    for (const flashback::TokenId token : tokens) text += static_cast<char>(token);
    return text;
}

/// Few words, so that many passages share them; every third passage has the text of the one before, so that scores are equal.
inline std::vector<flashback::XapianPassage> random_passages(std::size_t count, std::uint64_t seed) {
    flashback::SplitMix64 random{seed};
    std::vector<flashback::XapianPassage> passages;
    for (std::size_t i = 0; i < count; ++i) {
        std::string text;
        for (std::uint64_t words = 3 + random.below(30); words > 0; --words)
            text += "w" + std::to_string(random.below(1 + random.below(60))) + ' ';
        if (i % 3 == 2) text = passages.back().text;
        passages.push_back({"p" + std::to_string(random.below(1000)) + '-' + std::to_string(i), "title", text, {}});
    }
    return passages;
}

inline void write_database(const std::filesystem::path& folder, const std::vector<flashback::XapianPassage>& passages,
                           flashback::XapianStemming stemming = flashback::XapianStemming::english) {
    flashback::XapianIndexer indexer{folder, stemming};
    for (const flashback::XapianPassage& passage : passages) indexer.add(passage);
    indexer.commit();
}

/// Every passage goes into one of `count` databases, drawn at random; their folders.
inline std::vector<std::string> write_shards(const std::filesystem::path& folder, std::size_t count,
                                             const std::vector<flashback::XapianPassage>& passages,
                                             flashback::XapianStemming stemming = flashback::XapianStemming::english) {
    flashback::SplitMix64 random{count};
    std::vector<std::vector<flashback::XapianPassage>> parts(count);
    for (const flashback::XapianPassage& passage : passages) parts[random.below(count)].push_back(passage);
    std::vector<std::string> names;
    for (std::size_t i = 0; i < count; ++i) {
        names.push_back((folder / (std::to_string(count) + "-" + std::to_string(i))).string());
        write_database(names.back(), parts[i], stemming);
    }
    return names;
}

/// A passage that was found, as something that can be compared.
struct FoundPassage {
    std::string id;
    float score;

    bool operator==(const FoundPassage&) const = default;
};

inline std::vector<FoundPassage> found_by(flashback::XapianRetriever& retriever, const std::string& query, std::size_t k) {
    std::vector<FoundPassage> found;
    for (const flashback::Passage& passage : retriever.retrieve({.text = query}, k))
        found.push_back({std::string{passage.id}, passage.score});
    return found;
}

}  // namespace flashback_test
