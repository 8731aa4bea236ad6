#include "flashback/core/any_retriever.hpp"
#include "flashback/retrieval/cached.hpp"
#include "flashback/retrieval/reranked.hpp"
#include "flashback/retrieval/seen_passages.hpp"
#include "flashback/testing/null_model.hpp"

#include "retrieval/fake_retrievers.hpp"

#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

namespace test_retrieval_wrappers_memory {

using namespace flashback;
using namespace flashback_test;

namespace {

const std::vector<TokenId> one{1, 2, 3}, two{1, 2, 4};

/// Answers with the context, and says that it reads it.
struct OfContext {
    static constexpr bool reads_context = true;
    Echo echo = {};
    std::span<const Passage> retrieve(const Query& query, std::size_t k) { return echo.retrieve({query.context}, k); }
};

/// An Echo that can prefetch.
struct Hinted : Echo {
    std::vector<std::string> hints = {};
    bool there = false;
    void prefetch(const Query& query, std::size_t k) { hints.push_back(words_of(query) + std::to_string(k)); }
    bool ready() const { return there; }
};

/// Says that its answers are a fallback's.
struct FellBack : Echo {
    bool late = true;
    bool fell_back() const { return late; }
};

static_assert(Retriever<Cached<Echo>> && CountsWork<Cached<Echo>> && !PrefetchingRetriever<Cached<Echo>>);
static_assert(PrefetchingRetriever<Cached<Hinted>> && PrefetchingRetriever<Cached<std::reference_wrapper<Hinted>>>);
static_assert(checked_retriever<Cached<Echo>>() && checked_retriever<Cached<Hinted>>());
static_assert(!Cached<Echo>::reads_context && Cached<std::reference_wrapper<OfContext>>::reads_context);
static_assert(Cached<Cached<OfContext>>::reads_context);
static_assert(Cached<Reranked<Echo, testing::NullModel>>::reads_context);

}  // namespace

TEST_CASE("a query that was asked before is answered without asking, to the letter") {
    Echo echo;
    Cached cached{std::ref(echo)};
    CHECK(words_of(cached.retrieve({one}, 2)) == echo_of({one}, 2));
    CHECK(words_of(cached.retrieve({two}, 2)) == echo_of({two}, 2));
    CHECK(echo.calls == 2);
    CHECK(words_of(cached.retrieve({one}, 2)) == echo_of({one}, 2));  // what the echo gave is unreadable by now
    CHECK(words_of(cached.retrieve({two}, 2)) == echo_of({two}, 2));
    CHECK(echo.calls == 2);
    CHECK(cached.counts().hits == 2);
    CHECK(cached.counts().misses == 2);
    CHECK(cached.counts().entries == 2);
}

TEST_CASE("a query is the same if text, or tokens, and k are, and nothing else is") {
    Echo echo;
    Cached cached{std::ref(echo)};
    const std::vector<TokenId> prefix{1, 2}, none{};
    const std::string as_text = "1 2 3 ";
    const auto asks = [&](const Query& query, std::size_t k) {
        const std::size_t before = echo.calls;
        CHECK(words_of(cached.retrieve(query, k)) == echo_of(query, k));
        return echo.calls > before;
    };
    CHECK(asks({one}, 2));
    CHECK(asks({one}, 1));
    CHECK(asks({one}, 3));
    CHECK(asks({prefix}, 2));
    CHECK(asks({none}, 2));
    CHECK(asks({none}, 0));
    CHECK(asks({one, as_text}, 2));        // text, which takes the place of the tokens
    CHECK_FALSE(asks({two, as_text}, 2));  // so these do not matter
    CHECK_FALSE(asks({none, as_text}, 2));
    CHECK(asks({one, "\xff\xfe not UTF-8"}, 2));
    const std::string bytes_of_two(reinterpret_cast<const char*>(two.data()), sizeof(TokenId) * two.size());
    CHECK(asks({none, bytes_of_two}, 2));  // a text of the same bytes as tokens
    CHECK(asks({two}, 2));
    const std::string zero("a\0b", 3), other_zero("a\0c", 3);
    CHECK(asks({none, zero}, 2));
    CHECK(asks({none, other_zero}, 2));
    CHECK_FALSE(asks({one, {}, two}, 2));  // the context does not matter to an Echo
    CHECK_FALSE(asks({none}, 0));
}

TEST_CASE("a retriever that reads the context is asked again for another one") {
    OfContext reader;
    Cached cached{std::ref(reader)};
    CHECK(words_of(cached.retrieve({one, {}, one}, 1)) == echo_of({one}, 1));
    CHECK(words_of(cached.retrieve({one, {}, two}, 1)) == echo_of({two}, 1));
    CHECK(words_of(cached.retrieve({one, {}, one}, 1)) == echo_of({one}, 1));
    CHECK(reader.echo.calls == 2);
    // Where context ends and query begins is a part of the key.
    const std::vector<TokenId> a{1}, b{2, 3}, c{1, 2}, d{3};
    CHECK(words_of(cached.retrieve({b, {}, a}, 1)) == echo_of({a}, 1));
    CHECK(words_of(cached.retrieve({d, {}, c}, 1)) == echo_of({c}, 1));
}

TEST_CASE("what was used longest ago goes first, by entries or by bytes") {
    Echo echo;
    Cached cached{std::ref(echo), {.entries = 2}};
    const std::vector<TokenId> three{3};
    cached.retrieve({one}, 1);
    cached.retrieve({two}, 1);
    cached.retrieve({one}, 1);    // used: two is the older one now
    cached.retrieve({three}, 1);  // two goes
    CHECK(echo.calls == 3);
    cached.retrieve({one}, 1);
    CHECK(echo.calls == 3);
    cached.retrieve({two}, 1);
    CHECK(echo.calls == 4);
    CHECK(cached.counts().entries == 2);

    Cached measure{std::ref(echo)};
    measure.retrieve({one}, 4);
    const std::size_t bytes = measure.counts().bytes;
    CHECK(bytes > 4 * echo_of({one}, 1).size());
    measure.clear();
    CHECK(measure.counts().bytes == 0);
    CHECK(measure.counts().entries == 0);
    Cached small{std::ref(echo), {.entries = 100, .bytes = 2 * bytes}};
    for (const auto* query : {&one, &two, &one, &two}) small.retrieve({*query}, 4);
    CHECK(small.counts().hits == 2);
    small.retrieve({three}, 4);
    CHECK(small.counts().bytes <= 2 * bytes);
    CHECK(small.counts().entries == 2);
    const std::size_t before = small.counts().bytes;
    CHECK(words_of(small.retrieve({one}, 9)) == echo_of({one}, 9));  // more than all: given, not kept, and nothing else goes
    CHECK(small.counts().bytes == before);
    CHECK(words_of(small.retrieve({one}, 9)) == echo_of({one}, 9));
    CHECK(small.counts().hits == 2);

    Cached nothing{std::ref(echo), {.entries = 0}};
    CHECK(words_of(nothing.retrieve({one}, 1)) == echo_of({one}, 1));
    CHECK(words_of(nothing.retrieve({one}, 1)) == echo_of({one}, 1));
    CHECK(nothing.counts().hits == 0);
}

TEST_CASE("an answer from the cache lives on when it is forgotten, and while its text is the next query") {
    Echo echo;
    Cached cached{std::ref(echo), {.entries = 1}};
    cached.retrieve({one}, 2);
    const auto answer = cached.retrieve({one}, 2);
    cached.clear();
    CHECK(words_of(answer) == echo_of({one}, 2));
    const std::string text{answer[0].text};
    CHECK(words_of(cached.retrieve({{}, answer[0].text}, 2)) == echo_of({{}, text}, 2));
    const auto kept = cached.retrieve({{}, text}, 2);
    CHECK(words_of(kept) == echo_of({{}, text}, 2));
    const std::string title{kept[1].title};
    CHECK(words_of(cached.retrieve({{}, kept[1].title}, 1)) == echo_of({{}, title}, 1));
}

TEST_CASE("empty answers are kept; errors and answers of a fallback are not") {
    Echo echo;
    echo.has = 0;
    echo.evaluates = 7;
    echo.before = [](std::size_t call) {
        if (call == 1) throw std::out_of_range("not yet");
    };
    Cached cached{std::ref(echo)};
    CHECK_THROWS_AS(cached.retrieve({one}, 3), std::out_of_range);
    CHECK(cached.counts().entries == 0);
    CHECK(cached.retrieve({one}, 3).empty());
    CHECK(cached.retrieve({one}, 3).empty());
    CHECK(echo.calls == 2);
    CHECK(cached.work() == 14);
    CHECK(cached.counts().misses == 2);

    FellBack late;
    Cached careful{std::ref(late)};
    careful.retrieve({one}, 1);
    CHECK(careful.fell_back());
    CHECK(careful.counts().entries == 0);
    late.late = false;
    careful.retrieve({one}, 1);
    late.late = true;
    careful.retrieve({one}, 1);
    CHECK_FALSE(careful.fell_back());  // that one was kept
    CHECK(late.calls == 2);
}

TEST_CASE("what is kept need not be prefetched") {
    Hinted hinted;
    Cached cached{std::ref(hinted)};
    cached.prefetch({one}, 2);
    CHECK(hinted.hints == std::vector<std::string>{"1 2 3 2"});
    CHECK_FALSE(cached.ready());
    hinted.there = true;
    CHECK(cached.ready());
    hinted.there = false;
    cached.retrieve({one}, 2);
    cached.prefetch({one}, 2);
    CHECK(hinted.hints.size() == 1);
    CHECK(cached.ready());
    cached.prefetch({one}, 3);
    CHECK(hinted.hints.size() == 2);
    CHECK_FALSE(cached.ready());
}

TEST_CASE("a cache moves with what it holds, its last answer included") {
    Echo echo;
    Cached first{std::ref(echo)};
    first.retrieve({one}, 1);
    const auto answer = first.retrieve({one}, 1);
    Cached second{std::move(first)};
    CHECK(words_of(answer) == echo_of({one}, 1));
    CHECK(words_of(second.retrieve({one}, 1)) == echo_of({one}, 1));
    CHECK(second.counts().hits == 2);
    Cached third{std::ref(echo), {.entries = 3}};
    third.retrieve({two}, 1);
    third = std::move(second);
    CHECK(words_of(third.retrieve({one}, 1)) == echo_of({one}, 1));
    CHECK(echo.calls == 2);
    AnyRetriever any{std::move(third)};
    CHECK(words_of(any.retrieve({one}, 1)) == echo_of({one}, 1));
    CHECK(echo.calls == 2);
}

// Passages that were seen.

namespace {

/// Shorter ids are better; a passage named nan has no score.
float shortness(const Query&, const Passage& passage) {
    if (passage.id == "nan") return std::numeric_limits<float>::quiet_NaN();
    return -static_cast<float>(passage.id.size());
}

}  // namespace

TEST_CASE("a guess is among the passages that were seen, the best by the score first, the newest if scores are equal") {
    Listed listed;
    SeenPassages seen{std::ref(listed), shortness, 4};
    static_assert(Retriever<decltype(seen)> && checked_retriever<decltype(seen)>());
    CHECK(seen.speculate({one}, 3).empty());
    listed.passages = {passage_named("ccc", 1), passage_named("a", 2), passage_named("bb", 3)};
    CHECK(ids_of(seen.retrieve({one}, 3)) == std::vector<std::string>{"ccc", "a", "bb"});
    CHECK(ids_of(seen.speculate({two}, 2)) == std::vector<std::string>{"a", "bb"});
    CHECK(seen.speculate({two}, 2)[0].score == -1);
    CHECK(seen.speculate({two}, 0).empty());
    listed.passages = {passage_named("z", 1), passage_named("a", 2)};
    seen.retrieve({one}, 2);
    CHECK(ids_of(seen.speculate({two}, 9)) == std::vector<std::string>{"z", "a", "bb", "ccc"});
    listed.passages = {passage_named("nan", 1)};
    seen.retrieve({one}, 1);  // bb was given last of the first answer, so it goes
    CHECK(seen.size() == 4);
    CHECK(ids_of(seen.speculate({two}, 9)) == std::vector<std::string>{"z", "a", "ccc"});
    seen.clear();
    CHECK(seen.speculate({two}, 9).empty());
}

TEST_CASE("a passage is seen once, as it was given last; without an id its text tells it") {
    Listed listed;
    SeenPassages seen{std::ref(listed), shortness, 10};
    listed.passages = {passage_named("a", 0, "old"), passage_named("", 0, "x"), passage_named("", 0, "y"),
                       passage_named("", 0, "x")};
    seen.retrieve({one}, 4);
    CHECK(seen.size() == 3);
    listed.passages = {passage_named("a", 0, "new")};
    seen.retrieve({one}, 1);
    CHECK(seen.size() == 3);
    CHECK(seen.speculate({one}, 3).back().text == "new");
    // Texts that begin another in every way are not taken for it.
    OwnedPassage with_tokens = passage_named("", 0, "x");
    with_tokens.tokens = {5};
    listed.passages = {with_tokens, passage_named("x", 0, "x")};
    seen.retrieve({one}, 2);
    CHECK(seen.size() == 5);
}

TEST_CASE("a guess lives on while its passages are forgotten, and the answer while guesses are made") {
    Echo echo;
    SeenPassages seen{std::ref(echo), [](const Query&, const Passage& passage) { return passage.score; }, 2};
    const auto answer = seen.retrieve({one}, 2);
    const auto guess = seen.speculate({two}, 2);
    CHECK(words_of(answer) == echo_of({one}, 2));
    CHECK(words_of(guess) == echo_of({one}, 2));
    seen.retrieve({two}, 2);
    CHECK(words_of(guess) == echo_of({one}, 2));
    CHECK(words_of(seen.speculate({one}, 2)) == echo_of({two}, 2));
    const std::string text{seen.speculate({one}, 2)[0].text};
    CHECK(words_of(seen.speculate({{}, seen.speculate({one}, 2)[0].text}, 1)) == echo_of({two}, 1));
    CHECK_THROWS_WITH_AS((SeenPassages{std::ref(echo), shortness, 0}),
                         "SeenPassages needs room for at least 1 passage, found 0", Error);
}

}  // namespace test_retrieval_wrappers_memory
