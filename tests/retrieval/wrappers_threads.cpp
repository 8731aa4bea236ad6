#include "flashback/core/any_retriever.hpp"
#include "flashback/decoder/decoder.hpp"
#include "flashback/retrieval/cached.hpp"
#include "flashback/retrieval/filtered.hpp"
#include "flashback/retrieval/prefetching.hpp"
#include "flashback/retrieval/retry.hpp"
#include "flashback/retrieval/seen_passages.hpp"
#include "flashback/retrieval/union.hpp"
#include "flashback/retrieval/watched.hpp"
#include "flashback/retrieval/with_timeout.hpp"

#include "decoder/helpers.hpp"
#include "retrieval/fake_retrievers.hpp"
#include "support/null_model.hpp"
#include "support/random_retriever.hpp"

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

namespace test_retrieval_wrappers_threads {

using namespace flashback;
using namespace flashback_test;
using namespace std::chrono_literals;

namespace {

const std::vector<TokenId> one{1, 2, 3}, two{4, 5};

/// An Echo whose searches wait at a gate.
struct Gated {
    Gate gate = {};
    Echo echo = {};
    std::atomic<std::size_t> began = 0;
    std::atomic<std::size_t> ended = 0;

    std::span<const Passage> retrieve(const Query& query, std::size_t k) {
        ++began;
        if (!gate.wait()) throw std::logic_error{"nobody opened the gate"};
        const auto found = echo.retrieve(query, k);
        ++ended;
        return found;
    }
    std::size_t work() const { return echo.work(); }
};

/// Asks until the answer is no fallback's.
template <class R>
std::string until_there(R& retriever, const Query& query, std::size_t k) {
    const auto give_up = std::chrono::steady_clock::now() + 10s;
    while (std::chrono::steady_clock::now() < give_up) {
        const std::string words = words_of(retriever.retrieve(query, k));
        if (!retriever.fell_back()) return words;
        std::this_thread::yield();
    }
    return "never";
}

struct Hinted : Echo {
    std::size_t hints = 0;
    bool there = false;
    void prefetch(const Query&, std::size_t) { ++hints; }
    bool ready() const { return there; }
};

}  // namespace

TEST_CASE("an answer that is there in time is that of the retriever") {
    Echo echo;
    echo.evaluates = 3;
    for (const std::chrono::nanoseconds time : {std::chrono::nanoseconds{1min}, std::chrono::nanoseconds::max()}) {
        WithTimeout timed{std::ref(echo), time};
        static_assert(checked_retriever<decltype(timed)>() && !PrefetchingRetriever<decltype(timed)>);
        const auto first = timed.retrieve({one}, 2);
        CHECK(words_of(first) == echo_of({one}, 2));
        CHECK(words_of(timed.retrieve({{}, first[0].text}, 2)) == echo_of({{}, "echo found this for 1 2 3 "}, 2));
        CHECK(words_of(timed.retrieve({one}, 0)).empty());
        CHECK_FALSE(timed.fell_back());
        CHECK(timed.timeouts() == 0);
    }
    CHECK(echo.calls == 6);
    CHECK(WithTimeout{std::ref(echo), 1min}.work() == 18);
    CHECK_THROWS_AS((WithTimeout{std::ref(echo), -1ns}), Error);
}

TEST_CASE("if the answer is late the fallback answers, and the same query asked again gets the late one") {
    Gated gated;
    gated.echo.evaluates = 5;
    WithTimeout timed{std::ref(gated), 1ms};
    std::vector<TokenId> changing = one;
    CHECK(timed.retrieve({changing}, 2).empty());
    CHECK(timed.fell_back());
    CHECK(timed.timeouts() == 1);
    changing = {9, 9, 9, 9};  // the search has a copy
    CHECK(timed.retrieve({one}, 2).empty());
    CHECK(timed.timeouts() == 2);
    CHECK(timed.work() == 0);
    gated.gate.open();
    CHECK(until_there(timed, {one}, 2) == echo_of({one}, 2));
    CHECK(gated.began == 1);
    CHECK(timed.work() == 5);
}

TEST_CASE("a late answer is dropped if another query comes, or another k, which waits within its own time") {
    Gated gated;
    Echo fallback;
    fallback.name = "fallback";
    fallback.evaluates = 100;
    WithTimeout timed{std::ref(gated), 1ms, std::ref(fallback)};
    CHECK(words_of(timed.retrieve({one}, 2)) == echo_of({one}, 2, "fallback"));
    CHECK(words_of(timed.retrieve({two}, 1)) == echo_of({two}, 1, "fallback"));  // one still runs
    CHECK(gated.began <= 1);
    gated.gate.open();
    CHECK(until_there(timed, {one}, 1) == echo_of({one}, 1));
    CHECK(gated.began == 2);
    CHECK(until_there(timed, {two}, 1) == echo_of({two}, 1));
    CHECK(until_there(timed, {one}, 2) == echo_of({one}, 2));
    CHECK(gated.began == 4);
    CHECK(timed.work() == 100 * fallback.calls);
}

TEST_CASE("without any time the fallback answers, until the answer happens to be there") {
    Echo echo;
    WithTimeout timed{std::ref(echo), 0s};
    CHECK(until_there(timed, {one}, 2) == echo_of({one}, 2));
    CHECK(echo.calls == 1);
}

TEST_CASE("errors come through: in time, late, and those of the fallback") {
    Echo echo;
    echo.before = [](std::size_t call) {
        if (call == 1) throw std::domain_error{"the first"};
    };
    WithTimeout timed{std::ref(echo), 1min};
    CHECK_THROWS_WITH_AS(timed.retrieve({one}, 1), "the first", std::domain_error);
    CHECK(words_of(timed.retrieve({one}, 1)) == echo_of({one}, 1));

    Gated gated;
    gated.echo.before = [](std::size_t call) {
        if (call < 3) throw std::domain_error{"late " + std::to_string(call)};
    };
    WithTimeout late{std::ref(gated), 1ms};
    CHECK(late.retrieve({one}, 1).empty());
    gated.gate.open();
    CHECK_THROWS_WITH_AS(until_there(late, {one}, 1), "late 1", std::domain_error);
    // Another query does not hear of it.
    gated.gate.close();
    CHECK(late.retrieve({one}, 1).empty());
    gated.gate.open();
    CHECK(until_there(late, {two}, 1) == echo_of({two}, 1));

    struct Refuses {
        std::span<const Passage> retrieve(const Query&, std::size_t) { throw Error{ErrorCode::io, "too late"}; }
    };
    gated.gate.close();
    WithTimeout strict{std::ref(gated), 1ms, Refuses{}};
    CHECK_THROWS_WITH_AS(strict.retrieve({one}, 1), "too late", Error);
    gated.gate.open();
}

TEST_CASE("no thread is left behind: the end waits for the search that runs") {
    for (int round = 0; round < 2; ++round) {
        Gated gated;
        std::thread opener;
        {
            WithTimeout timed{std::ref(gated), 1ms};
            Prefetching prefetching{std::ref(gated)};
            if (round == 0) {
                CHECK(timed.retrieve({one}, 1).empty());
            } else {
                prefetching.prefetch({one}, 1);
            }
            while (gated.began == 0) std::this_thread::yield();
            opener = std::thread{[&] {
                std::this_thread::sleep_for(20ms);
                gated.gate.open();
            }};
        }
        CHECK(gated.ended == 1);
        opener.join();
    }
}

TEST_CASE("a retriever with a thread can be moved while its search runs") {
    Gated gated;
    WithTimeout timed{std::ref(gated), 1ms};
    CHECK(timed.retrieve({one}, 2).empty());
    WithTimeout moved{std::move(timed)};
    gated.gate.open();
    CHECK(until_there(moved, {one}, 2) == echo_of({one}, 2));
    CHECK(until_there(moved, {two}, 2) == echo_of({two}, 2));
    auto answer = moved.retrieve({one}, 2);
    while (moved.fell_back()) answer = moved.retrieve({one}, 2);
    WithTimeout again{std::move(moved)};
    CHECK(words_of(answer) == echo_of({one}, 2));
    CHECK(gated.began == 3);
}

TEST_CASE("hints reach a retriever with a time, unless it is late") {
    Hinted hinted;
    Gate gate;
    hinted.before = [&](std::size_t call) {
        if (call == 1) gate.wait();
    };
    WithTimeout timed{std::ref(hinted), 1ms};
    static_assert(PrefetchingRetriever<decltype(timed)> && checked_retriever<decltype(timed)>());
    timed.prefetch({one}, 1);
    CHECK(hinted.hints == 1);
    CHECK_FALSE(timed.ready());
    hinted.there = true;
    CHECK(timed.ready());
    CHECK(timed.retrieve({one}, 1).empty());
    timed.prefetch({two}, 1);
    CHECK_FALSE(timed.ready());
    gate.open();
    CHECK(until_there(timed, {one}, 1) == echo_of({one}, 1));
    CHECK(hinted.hints == 1);
    CHECK(timed.ready());
}

// Prefetching.

TEST_CASE("what was prefetched is taken, and what was not is searched") {
    Gated gated;
    gated.echo.evaluates = 4;
    Prefetching prefetching{std::ref(gated)};
    static_assert(PrefetchingRetriever<decltype(prefetching)> && checked_retriever<decltype(prefetching)>());
    CHECK(prefetching.ready());
    std::vector<TokenId> changing = one;
    prefetching.prefetch({changing}, 2);
    changing.assign(3, 9);
    CHECK_FALSE(prefetching.ready());
    prefetching.prefetch({two}, 2);  // lost: a search runs
    CHECK(prefetching.work() == 0);
    gated.gate.open();
    CHECK(words_of(prefetching.retrieve({one}, 2)) == echo_of({one}, 2));
    CHECK(prefetching.ready());
    CHECK(gated.began == 1);
    CHECK(prefetching.hits() == 1);
    CHECK(words_of(prefetching.retrieve({one}, 2)) == echo_of({one}, 2));  // an answer is taken once
    CHECK(gated.began == 2);
    CHECK(prefetching.hits() == 1);
    CHECK(prefetching.work() == 8);
    prefetching.prefetch({one}, 2);
    CHECK(words_of(prefetching.retrieve({two}, 2)) == echo_of({two}, 2));
    prefetching.prefetch({one}, 2);
    CHECK(words_of(prefetching.retrieve({one}, 1)) == echo_of({one}, 1));
    CHECK(gated.began == 6);
    CHECK(prefetching.hits() == 1);
}

TEST_CASE("a hint leaves the last answer as it is, and the newest hint counts") {
    Echo echo;
    Prefetching prefetching{std::ref(echo)};
    const auto answer = prefetching.retrieve({one}, 3);
    prefetching.prefetch({two}, 3);
    while (!prefetching.ready()) std::this_thread::yield();
    CHECK(words_of(answer) == echo_of({one}, 3));
    prefetching.prefetch({two}, 3);  // is there
    CHECK(echo.calls == 2);
    prefetching.prefetch({one}, 1);
    while (!prefetching.ready()) std::this_thread::yield();
    CHECK(words_of(answer) == echo_of({one}, 3));
    CHECK(words_of(prefetching.retrieve({one}, 1)) == echo_of({one}, 1));
    CHECK(echo.calls == 3);
}

TEST_CASE("the error of a hint is that of the query, and of no other") {
    Echo echo;
    echo.before = [](std::size_t call) {
        if (call % 2 == 1) throw std::domain_error{"odd"};
    };
    Prefetching prefetching{std::ref(echo)};
    prefetching.prefetch({one}, 1);
    CHECK_THROWS_WITH_AS(prefetching.retrieve({one}, 1), "odd", std::domain_error);
    CHECK(words_of(prefetching.retrieve({one}, 1)) == echo_of({one}, 1));
    prefetching.prefetch({one}, 1);
    CHECK(words_of(prefetching.retrieve({two}, 1)) == echo_of({two}, 1));
    CHECK(echo.calls == 4);
}

TEST_CASE("a stale answer is taken if that is wanted") {
    Echo echo;
    Prefetching stale{std::ref(echo), [](const Query&, const Query&) { return true; }};
    CHECK(words_of(stale.retrieve({one}, 2)) == echo_of({one}, 2));
    stale.prefetch({one}, 2);
    CHECK(words_of(stale.retrieve({two}, 2)) == echo_of({one}, 2));
    CHECK(words_of(stale.retrieve({two}, 2)) == echo_of({two}, 2));
    stale.prefetch({one}, 2);
    CHECK(words_of(stale.retrieve({two}, 3)) == echo_of({two}, 3));  // another number of passages
    CHECK(stale.hits() == 1);
}

// In the loop.

namespace {

/// Asks for a search three tokens before it is needed, every eight.
Decision early(const StepView& step) {
    if (step.retrievals == 0 || step.since_retrieval == 8) return true;
    return step.since_retrieval == 5 ? Decision::prefetch() : Decision::go_on();
}

/// What the text said when the search was asked for.
Query lagging(const StepView& step) {
    const std::size_t newer = step.since_retrieval > 5 && step.retrievals > 0 ? step.since_retrieval - 5 : 0;
    const TokenSpan known = step.context.first(step.context.size() - newer);
    return {known.last(std::min<std::size_t>(known.size(), 12))};
}

/// What happened, in order.
struct Events {
    std::mutex mutex = {};
    std::vector<std::string> all = {};
    void add(const std::string& what) {
        const std::lock_guard lock{mutex};
        all.push_back(what);
    }
};

/// A search that was hinted at ends only after the model has evaluated a token.
struct Overlapping {
    RandomRetriever* index;
    Events events = {};
    Gate begun = {};
    Gate evaluated = {};
    std::atomic<bool> hinted = false;
    std::atomic<bool> overlaps = true;

    std::span<const Passage> retrieve(const Query& query, std::size_t k) {
        events.add("search");
        begun.open();
        if (hinted && !evaluated.wait()) overlaps = false;
        events.add("found");
        return index->retrieve(query, k);
    }
};

/// Evaluates a token only after the search that was hinted at has begun.
struct Telling : FullNullModel {
    Overlapping* search = nullptr;
    using FullNullModel::FullNullModel;
    std::span<const float> evaluate(TokenSpan tokens) {
        if (search->hinted && !search->begun.wait()) search->overlaps = false;
        search->events.add("evaluate");
        search->evaluated.open();
        return FullNullModel::evaluate(tokens);
    }
};

/// Tells a hint before it passes it on, so that the search knows.
template <class R>
struct Hinting {
    R retriever;
    Overlapping* search;
    std::span<const Passage> retrieve(const Query& query, std::size_t k) {
        search->events.add("retrieve");
        const auto found = retriever.retrieve(query, k);
        search->hinted = false;
        return found;
    }
    void prefetch(const Query& query, std::size_t k) {
        search->events.add("prefetch");
        search->begun.close();
        search->evaluated.close();
        search->hinted = true;
        retriever.prefetch(query, k);
    }
    bool ready() const { return retriever.ready(); }
};

}  // namespace

TEST_CASE("a decoder writes the same tokens if it prefetches, and evaluates while the search runs") {
    RandomRetriever index{30, 9, 20, 7};
    const auto policies = Policies{}.schedule(early).query(lagging);
    const GenerateOptions options{.max_tokens = 60, .passages = 2, .ignore_eos = true};
    const Tokens prompt = random_prompt(10);
    FullNullModel plain_model;
    Decoder plain{plain_model, index, policies};
    const Generation expected = plain.generate(prompt, options);
    REQUIRE(expected.stats.retrievals == 8);

    Overlapping search{.index = &index};
    Prefetching prefetching{std::ref(search)};
    Hinting<decltype(prefetching)&> hinting{prefetching, &search};
    Telling model;
    model.search = &search;
    Decoder decoder{model, hinting, policies};
    const Generation found = decoder.generate(prompt, options);
    CHECK(found.tokens == expected.tokens);
    CHECK(found.stats.counts == expected.stats.counts);
    CHECK(prefetching.hits() == 7);
    CHECK(search.overlaps);
    // After each hint the search begins, then the model evaluates, then the search ends.
    const std::vector<std::string>& events = search.events.all;
    std::size_t hints = 0;
    for (auto hint = events.begin(); (hint = std::find(hint, events.end(), "prefetch")) != events.end(); ++hint) {
        const auto begins = std::find(hint, events.end(), "search");
        const auto evaluates = std::find(begins, events.end(), "evaluate");
        const auto ends = std::find(begins, events.end(), "found");
        CHECK(evaluates < ends);
        CHECK(ends != events.end());
        CHECK(std::count(hint, events.end(), "retrieve") == 7 - static_cast<std::ptrdiff_t>(hints));
        ++hints;
    }
    CHECK(hints == 7);
}

TEST_CASE("stale answers in the loop are those of queries three tokens ago") {
    RandomRetriever index{30, 9, 20, 7}, same{30, 9, 20, 7};
    const GenerateOptions options{.max_tokens = 60, .passages = 2, .ignore_eos = true};
    const Tokens prompt = random_prompt(10);
    FullNullModel lagging_model, stale_model;
    Decoder asks_late{lagging_model, index, Policies{}.schedule(early).query(lagging)};
    Prefetching stale{std::ref(same), [](const Query&, const Query&) { return true; }};
    Decoder takes_stale{stale_model, stale, Policies{}.schedule(early).query(LastNTokens{12})};
    CHECK(takes_stale.generate(prompt, options).tokens == asks_late.generate(prompt, options).tokens);
    CHECK(stale.hits() == 7);
}

// All together.

TEST_CASE("a cache of a retry of a time limit: a late answer is not kept, a failure is tried again") {
    Gated gated;
    gated.echo.before = [](std::size_t call) {
        if (call == 1) throw Error{ErrorCode::io, "the network"};
    };
    Cached cached{Retry{WithTimeout{std::ref(gated), 1ms}, {.attempts = 3, .delay = 1us}}};
    static_assert(checked_retriever<decltype(cached)>());
    CHECK(cached.retrieve({one}, 2).empty());
    CHECK(cached.fell_back());
    CHECK(cached.counts().entries == 0);
    gated.gate.open();
    CHECK(until_there(cached, {one}, 2) == echo_of({one}, 2));
    CHECK(gated.began == 2);
    CHECK(cached.counts().entries == 1);
    const std::size_t hits = cached.counts().hits;
    CHECK(words_of(cached.retrieve({one}, 2)) == echo_of({one}, 2));
    CHECK(cached.counts().hits == hits + 1);
    CHECK(gated.began == 2);
}

TEST_CASE("an AnyRetriever holds each, and a decoder takes each") {
    std::vector<AnyRetriever> all;
    RandomRetriever index{30, 9, 20, 7};
    const auto score = [](const Query&, const Passage& passage) { return passage.score; };
    const auto any_passage = [](const Passage&) { return true; };
    all.emplace_back(Cached{index});
    all.emplace_back(SeenPassages{index, score});
    all.emplace_back(WithTimeout{index, 1min});
    all.emplace_back(Retry{index});
    all.emplace_back(Prefetching{index});
    all.emplace_back(Filtered{index, any_passage});
    all.emplace_back(Watched{index});
    all.emplace_back(Cached{Retry{WithTimeout{Watched{Filtered{SeenPassages{Prefetching{index}, score}, any_passage}}, 1min}}});
    const GenerateOptions options{.max_tokens = 30, .passages = 2, .ignore_eos = true};
    const Tokens prompt = random_prompt(10);
    const auto policies = Policies{}.schedule(EveryNTokens{4});
    FullNullModel plain_model;
    const Tokens expected = Decoder{plain_model, index, policies}.generate(prompt, options).tokens;
    for (AnyRetriever& any : all) {
        FullNullModel model;
        any.prefetch({one}, 2);
        CHECK(Decoder{model, any, policies}.generate(prompt, options).tokens == expected);
        CHECK(any.retrieve_batch(std::vector<Query>{{one}, {two}}, 2).size() == 2);
        CHECK(any.work() == 0);
    }
    AnyRetriever merged{Union{ReciprocalRank{}, Cached{index}, Prefetching{index}}};
    CHECK(merged.retrieve({one}, 3).size() == 3);
}

}  // namespace test_retrieval_wrappers_threads
