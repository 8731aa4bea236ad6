/// \file Retrievers that answer, throw, stall and forget as they are told, for tests of what stands around retrievers.
#pragma once

#include "flashback/core/owned_passage.hpp"
#include "flashback/core/retriever.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <limits>
#include <list>
#include <mutex>
#include <span>
#include <string>
#include <vector>

namespace flashback_test {

/// The words of a query: its text, or its tokens as numbers.
inline std::string words_of(const flashback::Query& query) {
    if (!query.text.empty()) return std::string{query.text};
    std::string words;
    for (const flashback::TokenId token : query.tokens) words += std::to_string(token) + " ";
    return words;
}

/// Finds passages whose texts quote the query. What its last answer views becomes unreadable when it is asked again.
struct Echo {
    std::function<void(std::size_t call)> before = {};  ///< is called first, from 1; may throw, or wait
    std::size_t has = std::numeric_limits<std::size_t>::max();
    std::string name = "echo";
    std::size_t evaluates = 0;  ///< what it adds to work() at each call
    std::atomic<std::size_t> calls = 0;
    std::size_t worked = 0;
    std::vector<std::size_t> depths = {};
    std::vector<flashback::Passage> found = {};
    std::list<flashback::OwnedPassage> standing = {};
    std::list<flashback::OwnedPassage> gone = {};

    std::span<const flashback::Passage> retrieve(const flashback::Query& query, std::size_t k) {
        for (flashback::OwnedPassage& passage : standing) {
            for (std::string* text : {&passage.id, &passage.title, &passage.text}) std::ranges::fill(*text, '#');
            std::ranges::fill(passage.tokens, -1);
        }
        gone.splice(gone.end(), standing);
        const std::size_t call = ++calls;
        worked += evaluates;
        depths.push_back(k);
        if (before) before(call);
        const std::string words = words_of(query);
        found.clear();
        for (std::size_t i = 0; i < std::min(k, has); ++i) {
            flashback::OwnedPassage& passage = standing.emplace_back();
            passage.id = name + "#" + std::to_string(i) + " of " + words;
            passage.title = "title " + std::to_string(i);
            passage.text = name + " found this for " + words;
            passage.tokens = {static_cast<flashback::TokenId>(i), static_cast<flashback::TokenId>(words.size())};
            passage.score = 1 / static_cast<float>(i + 1);
            found.push_back(passage.view());
        }
        return found;
    }
    std::size_t work() const { return worked; }
};

/// What an answer says, in words.
inline std::string words_of(std::span<const flashback::Passage> answer) {
    std::string words;
    for (const flashback::Passage& passage : answer) {
        words += std::string{passage.id} + "|" + std::string{passage.title} + "|" + std::string{passage.text} + "|";
        for (const flashback::TokenId token : passage.tokens) words += std::to_string(token) + " ";
        words += std::to_string(passage.score) + "\n";
    }
    return words;
}

/// What an Echo answers.
inline std::string echo_of(const flashback::Query& query, std::size_t k, const std::string& name = "echo") {
    Echo echo;
    echo.name = name;
    return words_of(echo.retrieve(query, k));
}

/// Has a list of passages, the best first, by value: an owning range.
struct Listed {
    std::vector<flashback::OwnedPassage> passages;
    std::vector<std::size_t> depths = {};

    std::vector<flashback::Passage> retrieve(const flashback::Query&, std::size_t k) {
        depths.push_back(k);
        std::vector<flashback::Passage> found;
        for (std::size_t i = 0; i < std::min(k, passages.size()); ++i) found.push_back(passages[i].view());
        return found;
    }
};

inline flashback::OwnedPassage passage_named(const std::string& id, float score = 0, const std::string& text = "") {
    flashback::OwnedPassage passage;
    passage.id = id;
    passage.score = score;
    passage.text = text.empty() ? "the text of " + id : text;
    return passage;
}

inline std::vector<std::string> ids_of(std::span<const flashback::Passage> answer) {
    std::vector<std::string> ids;
    for (const flashback::Passage& passage : answer) ids.emplace_back(passage.id);
    return ids;
}

/// A gate that threads wait at; nobody waits longer than ten seconds.
class Gate {
public:
    /// Tells whether it was opened.
    bool wait() {
        std::unique_lock lock{mutex_};
        return changed_.wait_for(lock, std::chrono::seconds{10}, [&] { return open_; });
    }
    void open() {
        const std::lock_guard lock{mutex_};
        open_ = true;
        changed_.notify_all();
    }
    void close() {
        const std::lock_guard lock{mutex_};
        open_ = false;
    }

private:
    std::mutex mutex_;
    std::condition_variable changed_;
    bool open_ = false;
};

}  // namespace flashback_test
