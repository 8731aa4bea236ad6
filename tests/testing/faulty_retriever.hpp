/// \file A search which has everything that a Retriever may have, and one fault at a time.
#pragma once

#include "flashback/core/owned_passage.hpp"
#include "flashback/core/random.hpp"
#include "flashback/core/retriever.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <limits>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace test_testing {

using namespace flashback;

/// What is wrong with a search.
enum class SearchFault {
    none,
    one_too_many,          ///< an answer has a passage more than asked for
    worst_first,           ///< the best passage is the last
    no_tokens,             ///< passages have a text only
    marks_with_minus_one,  ///< a passage has a token that no vocabulary has
    nan_score,             ///< a score is no number
    finds_nothing,         ///< nothing is ever found
    differs_each_time,     ///< the same query finds something else later
    keeps_the_shortest,    ///< what was once asked for one passage gives one from then on
    views_the_query,       ///< a passage views the query
    asking_overwrites,     ///< work() overwrites the passages of an answer
    hint_overwrites,       ///< so does prefetch
    empty_breaks,          ///< after a query of nothing it finds nothing any more
    refuses_silently,      ///< a query of nothing is refused without a word
    batch_reversed,        ///< retrieve_batch gives the answers in another order
    batch_short,           ///< retrieve_batch lacks the last answer
    batch_ignores_k,       ///< retrieve_batch gives all that it has
    views_the_batch,       ///< begin_batch keeps views of its queries
    first_batch_stays,     ///< of two batches the second is given up
    hint_answers,          ///< what was prefetched is the answer to whatever is asked next
    hint_is_a_view,        ///< prefetch keeps a view of its query
    guess_too_long,        ///< a guess has more passages than asked for
    guess_overwritten,     ///< a search overwrites the guess
    work_is_taken_back,    ///< work() goes down
    one_query_at_a_time,   ///< two threads that search get the answer of one of them
};

class FaultySearch {
public:
    explicit FaultySearch(SearchFault fault) : fault_(fault) {}

    std::vector<Passage> retrieve(const Query& query, std::size_t k) {
        if (query.tokens.empty() && query.text.empty()) {
            if (is(SearchFault::refuses_silently)) throw std::runtime_error("");
            broken_ = broken_ || is(SearchFault::empty_breaks);
            return {};
        }
        ++calls_;
        std::uint64_t key = key_of(query);
        if (is(SearchFault::one_query_at_a_time)) {
            latest_ = key;
            std::this_thread::sleep_for(std::chrono::microseconds{50});
            key = latest_;
        }
        if (is(SearchFault::hint_answers) && hinted_ != 0) key = std::exchange(hinted_, 0);
        if (is(SearchFault::hint_is_a_view) && hint_.data() != nullptr) key = key_of({.tokens = std::exchange(hint_, {})});
        if (is(SearchFault::differs_each_time)) key += calls_;
        if (is(SearchFault::keeps_the_shortest) && k == 1) least_ = 1;
        if (is(SearchFault::guess_overwritten))
            for (OwnedPassage& passage : guess_) std::ranges::fill(passage.text, '#');
        if (is(SearchFault::finds_nothing) || broken_) return {};
        std::vector<Passage> found = answer(key, std::min(least_, k + (is(SearchFault::one_too_many) && k > 0 ? 1 : 0)));
        if (is(SearchFault::views_the_query) && !found.empty()) found[0].tokens = query.tokens;
        if (is(SearchFault::asking_overwrites) || is(SearchFault::hint_overwrites)) return kept(found);
        return found;
    }
    std::vector<std::vector<Passage>> retrieve_batch(std::span<const Query> queries, std::size_t k) {
        std::vector<std::vector<Passage>> all;
        for (const Query& query : queries) all.push_back(answer(key_of(query), is(SearchFault::batch_ignores_k) ? 9 : k));
        if (is(SearchFault::batch_reversed)) std::rotate(all.begin(), all.empty() ? all.end() : all.begin() + 1, all.end());
        if (is(SearchFault::batch_short) && !all.empty()) all.pop_back();
        return all;
    }

    void prefetch(const Query& query, std::size_t) {
        hinted_ = key_of(query);
        hint_ = query.tokens;
        if (is(SearchFault::hint_overwrites)) overwrite();
    }
    static bool ready() { return true; }

    std::vector<Passage> speculate(const Query& query, std::size_t k) {
        guess_.clear();
        for (const Passage& passage :
             answer(key_of(query), is(SearchFault::guess_too_long) ? k + 2 : std::min<std::size_t>(k, 1)))
            guess_.emplace_back(passage);
        std::vector<Passage> views;
        for (const OwnedPassage& passage : guess_) views.push_back(passage.view());
        return views;
    }

    void begin_batch(std::span<const Query> queries, std::size_t k) {
        if (is(SearchFault::first_batch_stays) && !batch_.empty()) return;
        batch_.clear();
        batch_views_.clear();
        for (const Query& query : queries) {
            batch_.push_back(key_of(query));
            batch_views_.push_back(query.tokens);
        }
        batch_k_ = k;
    }
    std::vector<std::vector<Passage>> take_batch() {
        std::vector<std::vector<Passage>> all;
        for (std::size_t i = 0; i < batch_.size(); ++i)
            all.push_back(answer(is(SearchFault::views_the_batch) ? key_of({.tokens = batch_views_[i]}) : batch_[i], batch_k_));
        batch_.clear();
        return all;
    }

    std::size_t work() const {
        if (is(SearchFault::asking_overwrites)) overwrite();
        return is(SearchFault::work_is_taken_back) ? 1000 - calls_.load() : calls_.load();
    }

private:
    bool is(SearchFault fault) const { return fault_ == fault; }

    static std::uint64_t key_of(const Query& query) {
        std::uint64_t key = 0;
        for (const char c : query.text) key = random_key(key, c);
        for (const TokenId token : query.tokens) key = random_key(key, token);
        return key;
    }

    /// It has nine passages, which never change, and gives some of them.
    std::vector<Passage> answer(std::uint64_t key, std::size_t count) const {
        std::vector<Passage> found;
        for (std::size_t i = 0; i < std::min<std::size_t>(count, 9); ++i) {
            Passage passage = passages()[(key + i) % 9].view();
            passage.score = 1 / static_cast<float>(is(SearchFault::worst_first) ? 10 - i : i + 1);
            if (is(SearchFault::nan_score) && i == 1) passage.score = std::numeric_limits<float>::quiet_NaN();
            if (is(SearchFault::no_tokens)) passage.tokens = {};
            if (is(SearchFault::marks_with_minus_one)) passage.tokens = bad;
            found.push_back(passage);
        }
        return found;
    }
    static const std::vector<OwnedPassage>& passages() {
        static const std::vector<OwnedPassage> all = [] {
            std::vector<OwnedPassage> made(9);
            for (std::size_t i = 0; i < made.size(); ++i) {
                made[i].id = "passage " + std::to_string(i);
                made[i].text = "text " + std::to_string(i);
                made[i].tokens = {static_cast<TokenId>(i), 5, 6};
            }
            return made;
        }();
        return all;
    }

    std::vector<Passage> kept(std::span<const Passage> found) {
        kept_.clear();
        for (const Passage& passage : found) kept_.emplace_back(passage);
        std::vector<Passage> views;
        for (const OwnedPassage& passage : kept_) views.push_back(passage.view());
        return views;
    }
    void overwrite() const {
        for (OwnedPassage& passage : kept_) std::ranges::fill(passage.text, '#');
    }

    static constexpr TokenId bad[] = {4, -1};

    SearchFault fault_;
    std::atomic<std::size_t> calls_ = 0;
    std::atomic<std::uint64_t> latest_ = 0;
    bool broken_ = false;
    std::uint64_t hinted_ = 0;
    TokenSpan hint_;
    std::size_t least_ = 9;
    mutable std::vector<OwnedPassage> kept_;
    std::vector<OwnedPassage> guess_;
    std::vector<std::uint64_t> batch_;
    std::vector<TokenSpan> batch_views_;
    std::size_t batch_k_ = 0;
};

static_assert(BatchRetriever<FaultySearch> && PrefetchingRetriever<FaultySearch> && SpeculatingRetriever<FaultySearch> &&
              AsynchronousRetriever<FaultySearch> && CountsWork<FaultySearch>);

}  // namespace test_testing
