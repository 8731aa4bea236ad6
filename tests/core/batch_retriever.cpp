// The optional members of a retriever, and what AnyRetriever makes of one that has them or lacks them.
#include "flashback/core/any_retriever.hpp"

#include <array>
#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include <doctest/doctest.h>

namespace test_core_batch_retriever {

using namespace flashback;

namespace {

/// Answers with the query's first token, as text and as token; its texts live until the next call only.
struct Echo {
    std::string text = {};
    std::vector<TokenId> tokens = {};
    std::vector<Passage> found = {};
    std::size_t calls = 0;

    std::span<const Passage> retrieve(const Query& query, std::size_t k) {
        ++calls;
        text = "a text that is longer than a short string, of " + std::to_string(query.tokens[0]);
        tokens.assign(3, query.tokens[0]);
        found.assign(k, Passage{.id = text, .title = text, .text = text, .tokens = tokens, .score = 2});
        return found;
    }
};

struct EchoAll : Echo {
    std::vector<std::vector<Passage>> answers = {};
    std::size_t batches = 0;
    std::size_t missing = 0;

    std::span<const std::vector<Passage>> retrieve_batch(std::span<const Query> queries, std::size_t k) {
        ++batches;
        answers.assign(queries.size() - missing, std::vector<Passage>(k, Passage{.id = "batch"}));
        return answers;
    }
};

struct Waiting : Echo {
    std::size_t prefetched = 0;
    bool there = false;
    void prefetch(const Query&, std::size_t k) { prefetched += k; }
    bool ready() const { return there; }
    std::size_t work() const { return 77; }
};

static_assert(Retriever<Echo> && !BatchRetriever<Echo> && !PrefetchingRetriever<Echo> && !CountsWork<Echo>);
static_assert(BatchRetriever<EchoAll> && PrefetchingRetriever<Waiting> && CountsWork<Waiting>);

constexpr std::array<TokenId, 2> first{4, 5}, second{6, 7};
const std::array<Query, 2> queries{Query{first}, Query{second}};

}  // namespace

TEST_CASE("queries are answered one after the other by a retriever without retrieve_batch, and the answers live on") {
    Echo echo;
    AnyRetriever any{std::ref(echo)};
    const auto answers = any.retrieve_batch(queries, 2);
    REQUIRE(answers.size() == 2);
    CHECK(echo.calls == 2);
    for (std::size_t i = 0; i < 2; ++i) {
        REQUIRE(answers[i].size() == 2);
        CHECK(answers[i][1].text == "a text that is longer than a short string, of " + std::to_string(queries[i].tokens[0]));
        CHECK(answers[i][1].title == answers[i][1].id);
        CHECK(std::vector<TokenId>(answers[i][0].tokens.begin(), answers[i][0].tokens.end()) ==
              std::vector<TokenId>(3, queries[i].tokens[0]));
        CHECK(answers[i][0].score == 2);
    }
    CHECK(any.retrieve_batch({}, 2).empty());
}

TEST_CASE("queries are answered at once by a retriever with retrieve_batch, which must answer all of them") {
    EchoAll echo;
    AnyRetriever any{std::ref(echo)};
    CHECK(any.retrieve_batch(queries, 3)[1][2].id == "batch");
    CHECK(echo.batches == 1);
    CHECK(echo.calls == 0);
    echo.missing = 1;
    CHECK_THROWS_WITH_AS(any.retrieve_batch(queries, 3), "a retriever gave 1 answers to 2 queries", Error);
}

TEST_CASE("what a retriever cannot begin early is ready, and one without a model does no work") {
    Waiting waiting;
    AnyRetriever any{std::ref(waiting)}, plain{Echo{}};
    any.prefetch(queries[0], 5);
    plain.prefetch(queries[0], 5);
    CHECK(waiting.prefetched == 5);
    CHECK_FALSE(any.ready());
    waiting.there = true;
    CHECK(any.ready());
    CHECK(plain.ready());
    CHECK(any.work() == 77);
    CHECK(plain.work() == 0);
    CHECK(work_of(waiting) == 77);
    CHECK(work_of(Echo{}) == 0);
}

}  // namespace test_core_batch_retriever
