// An evaluation that is stopped from outside, at every border of a piece; and evaluations that allocate nothing.
#include "flashback/core/thread_pool.hpp"
#include "flashback/model/session.hpp"
#include "support/allocations.hpp"
#include "support/poisoned_kv_cache.hpp"
#include "support/random_model.hpp"

#include <algorithm>
#include <cstring>
#include <span>
#include <stop_token>
#include <vector>

#include <doctest/doctest.h>

namespace test_model_stopping {

using namespace flashback;
using namespace flashback_test;

namespace {

/// Requests a stop in the middle of the forward pass: at its call number `at`.
struct StoppingExecutor {
    std::stop_source source;
    std::size_t at = 0;
    std::size_t calls = 0;

    static std::size_t concurrency() { return 2; }
    template <class Task>
    void run(std::size_t count, Task&& task) {
        if (++calls == at) source.request_stop();
        SerialExecutor::run(count, task);
    }
};

/// Throws at the call after the next `left` ones.
struct ThrowingExecutor {
    std::size_t left;

    static std::size_t concurrency() { return 2; }
    template <class Task>
    void run(std::size_t count, Task&& task) {
        if (left-- == 0) throw 1;
        SerialExecutor::run(count, task);
    }
};

std::vector<float> copy_of(std::span<const float> values) { return {values.begin(), values.end()}; }

bool same_bits(std::span<const float> a, std::span<const float> b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

const RandomModel shape{.layers = 2, .width = 70, .head_dim = 8, .hidden = 90, .vocab = 75, .window = 100};
constexpr std::size_t piece = 7;
constexpr std::size_t before = 5;

struct Text {
    std::vector<TokenId> tokens;
    TokenSpan head() const { return TokenSpan{tokens}.first(before); }
    TokenSpan rest() const { return TokenSpan{tokens}.subspan(before); }
};

Text random_text(std::size_t count) {
    SplitMix64 random{5};
    return {random_tokens(random, before + count, shape.vocab)};
}

template <class Evaluate>
void stop_everywhere(const Evaluate& evaluate) {
    const auto model = random_model(shape);
    const Text text = random_text(4 * piece + 3);
    Session unbroken{model};
    unbroken.evaluate(text.head());
    const std::vector<float> expected = copy_of(evaluate(unbroken, text.rest(), std::stop_token{}));
    REQUIRE(expected.size() >= shape.vocab);

    // How many calls a piece takes, and the whole.
    StoppingExecutor counter;
    BasicSession<PoisonedKVCache> counted{model, {.piece = piece, .executor = counter}};
    counted.evaluate(text.head());
    const std::size_t first_call = counter.calls;
    REQUIRE(same_bits(copy_of(evaluate(counted, text.rest(), counter.source.get_token())), expected));
    const std::size_t calls = counter.calls - first_call;
    REQUIRE(calls > 20);

    std::size_t stopped = 0;
    std::vector<std::size_t> sizes;
    for (std::size_t at = 1; at <= calls; ++at) {
        CAPTURE(at);
        StoppingExecutor executor;
        BasicSession<PoisonedKVCache> session{model, {.piece = piece, .executor = executor}};
        session.evaluate(text.head());
        executor.at = executor.calls + at;
        const std::vector<float> logits = copy_of(evaluate(session, text.rest(), executor.source.get_token()));
        const std::size_t done = session.size() - before;
        REQUIRE(std::ranges::equal(session.tokens(), TokenSpan{text.tokens}.first(before + done)));
        if (done == text.rest().size()) {  // the request came in the last piece
            CHECK(same_bits(logits, expected));
            continue;
        }
        ++stopped;
        CHECK(logits.empty());
        CHECK(done > 0);
        CHECK(done % piece == 0);
        if (sizes.empty() || sizes.back() != done) sizes.push_back(done);
        // A request that still stands stops the next call before it starts; another token goes on.
        CHECK(evaluate(session, text.rest().subspan(done), executor.source.get_token()).empty());
        CHECK(session.size() == before + done);
        const std::vector<float> rest = copy_of(evaluate(session, text.rest().subspan(done), std::stop_token{}));
        REQUIRE(rest.size() <= expected.size());
        CHECK(same_bits(rest, std::span{expected}.last(rest.size())));
        CHECK(std::ranges::equal(session.tokens(), text.tokens));
    }
    CHECK(stopped > 0);
    CHECK(sizes == std::vector<std::size_t>{piece, 2 * piece, 3 * piece, 4 * piece});
}

}  // namespace

TEST_CASE("A stop at any moment leaves whole pieces, and going on gives the bits of never having stopped") {
    stop_everywhere(
        [](auto& session, TokenSpan tokens, const std::stop_token& stop) { return session.evaluate(tokens, stop); });
}

TEST_CASE("evaluate_all stops in the same way") {
    stop_everywhere(
        [](auto& session, TokenSpan tokens, const std::stop_token& stop) { return session.evaluate_all(tokens, stop); });
}

TEST_CASE("A stop requested beforehand evaluates nothing, but wrong tokens are refused all the same") {
    Session session{random_model(shape)};
    const Text text = random_text(20);
    session.evaluate(text.head());
    std::stop_source source;
    CHECK(session.evaluate(text.rest(), source.get_token()).size() == shape.vocab);
    session.truncate(before);
    source.request_stop();
    CHECK(session.evaluate(text.rest(), source.get_token()).empty());
    CHECK(session.size() == before);
    CHECK_THROWS_AS(session.evaluate({}, source.get_token()), Error);
    CHECK_THROWS_AS(session.evaluate(std::vector<TokenId>{75}, source.get_token()), Error);
    CHECK_THROWS_AS(session.evaluate(std::vector<TokenId>(96, 1), source.get_token()), Error);
    CHECK(session.size() == before);
}

TEST_CASE("An executor that throws leaves the session as it was, after how many pieces so ever") {
    const auto model = random_model(shape);
    const Text text = random_text(4 * piece + 3);
    const std::vector<float> expected = copy_of(Session{model}.evaluate(text.tokens));
    for (const std::size_t calls : {0u, 3u, 8u, 14u, 20u, 25u}) {
        CAPTURE(calls);
        ThrowingExecutor executor{1000};
        BasicSession<PoisonedKVCache> session{model, {.piece = piece, .executor = executor}};
        session.evaluate(text.head());
        executor.left = calls;
        CHECK_THROWS_AS(session.evaluate(text.rest()), int);
        CHECK(std::ranges::equal(session.tokens(), text.head()));
        executor.left = 1000;
        CHECK(same_bits(session.evaluate(text.rest()), expected));
    }
}

TEST_CASE("evaluate allocates nothing, from the first call on") {
    ThreadPool pool{2};
    const Text text = random_text(60);
    for (const ExecutorRef& executor : {ExecutorRef{}, ExecutorRef{pool}}) {
        Session session{random_model(shape), {.piece = piece, .executor = executor}};
        std::stop_source source;
        const std::stop_token stop = source.get_token();
        CHECK(allocations_of([&] { session.evaluate(text.head()); }).calls == 0);
        CHECK(allocations_of([&] { session.evaluate(text.rest(), stop); }).calls == 0);
        CHECK(allocations_of([&] {
                  session.truncate(3);
                  for (std::size_t i = 0; i < 20; ++i)
                      session.evaluate(text.tokens[i] == 0 ? text.head() : text.rest().first(1));
              }).calls == 0);
        CHECK(session.size() >= 23);
        CHECK(allocations_of([&] { session.fork(); }).calls > 0);  // the counter works
    }
}

TEST_CASE("evaluate_all allocates nothing the second time") {
    Session session{random_model(shape), {.piece = 50}};
    const Text text = random_text(40);
    const std::vector<float> expected = copy_of(session.evaluate_all(text.tokens));
    session.truncate(0);
    CHECK(allocations_of([&] { session.evaluate_all(text.tokens); }).calls == 0);
    session.truncate(0);
    CHECK(same_bits(session.evaluate_all(text.tokens), expected));
}

}  // namespace test_model_stopping
