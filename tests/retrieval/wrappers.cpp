#include "flashback/core/any_retriever.hpp"
#include "flashback/retrieval/filtered.hpp"
#include "flashback/retrieval/retry.hpp"
#include "flashback/retrieval/watched.hpp"

#include "retrieval/fake_retrievers.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <ios>
#include <new>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

namespace test_retrieval_wrappers {

using namespace flashback;
using namespace flashback_test;
using namespace std::chrono_literals;

namespace {

const std::vector<TokenId> tokens{1, 2, 3};
const Query query{tokens};
constexpr auto any_error = [](const std::exception&) { return true; };
constexpr RetryOptions quick{.attempts = 4, .delay = 1us};

struct Flaky {
    std::size_t failures;
    std::size_t calls = 0;
    std::size_t hints = 0;
    Echo* echo = nullptr;
    std::span<const Passage> retrieve(const Query& asked, std::size_t k) {
        if (++calls <= failures) throw Error{ErrorCode::io, "failure " + std::to_string(calls)};
        return echo->retrieve(asked, k);
    }
    void prefetch(const Query&, std::size_t) {
        if (++hints <= failures) throw std::system_error{std::make_error_code(std::errc::timed_out)};
        if (hints > 10) throw std::logic_error{"wrong"};
    }
    bool ready() const { return hints > failures; }
    std::size_t work() const { return 3 * calls; }
};

}  // namespace

TEST_CASE("an error that may be gone is tried again, and the answer is that of the attempt that succeeds") {
    Echo echo;
    for (std::size_t failures = 0; failures < 4; ++failures) {
        Flaky flaky{.failures = failures, .echo = &echo};
        Retry retry{std::ref(flaky), quick};
        CHECK(words_of(retry.retrieve(query, 2)) == echo_of(query, 2));
        CHECK(flaky.calls == failures + 1);
        CHECK(retry.retries() == failures);
        CHECK(retry.work() == 3 * (failures + 1));
        CHECK(words_of(retry.retrieve(query, 1)) == echo_of(query, 1));
        CHECK(flaky.calls == failures + 2);
    }
}

TEST_CASE("the last error comes through as it is, and others at once") {
    Echo echo;
    Flaky flaky{.failures = 4, .echo = &echo};
    Retry retry{std::ref(flaky), quick};
    CHECK_THROWS_WITH_AS(retry.retrieve(query, 1), "failure 4", Error);
    CHECK(flaky.calls == 4);
    CHECK(words_of(retry.retrieve(query, 1)) == echo_of(query, 1));

    const auto attempts = [&](auto error) {
        Echo failing;
        failing.before = [error](std::size_t) { throw error; };
        Retry one{std::ref(failing), quick};
        CHECK_THROWS_AS(one.retrieve(query, 1), decltype(error));
        return failing.calls.load();
    };
    CHECK(attempts(Error{ErrorCode::io, "io"}) == 4);
    CHECK(attempts(std::ios_base::failure{"closed"}) == 4);
    CHECK(attempts(std::system_error{std::make_error_code(std::errc::connection_reset)}) == 4);
    CHECK(attempts(Error{ErrorCode::contract, "contract"}) == 1);
    CHECK(attempts(std::logic_error{"logic"}) == 1);
    CHECK(attempts(std::bad_alloc{}) == 1);
    CHECK(attempts(17) == 1);  // no std::exception

    Echo failing;
    failing.before = [](std::size_t call) { throw std::runtime_error{call == 2 ? "wrong" : "busy"}; };
    Retry picky{std::ref(failing), quick, [](const std::exception& error) { return std::string{error.what()} == "busy"; }};
    CHECK_THROWS_WITH_AS(picky.retrieve(query, 1), "wrong", std::runtime_error);
    CHECK(failing.calls == 2);
}

TEST_CASE("the delay between attempts doubles, up to the longest") {
    Echo failing;
    std::vector<std::chrono::steady_clock::time_point> at;
    failing.before = [&](std::size_t) {
        at.push_back(std::chrono::steady_clock::now());
        throw std::runtime_error{"busy"};
    };
    Retry retry{std::ref(failing), {.attempts = 5, .delay = 8ms, .longest_delay = 20ms}, any_error};
    CHECK_THROWS_AS(retry.retrieve(query, 1), std::runtime_error);
    REQUIRE(at.size() == 5);
    CHECK(at[1] - at[0] >= 8ms);
    CHECK(at[2] - at[1] >= 16ms);
    CHECK(at[3] - at[2] >= 20ms);
    CHECK(at[4] - at[3] >= 20ms);
    // Numbers that would overflow if they were doubled.
    at.clear();
    Retry many{std::ref(failing), {.attempts = 200, .delay = 1ns, .longest_delay = 10us}, any_error};
    CHECK_THROWS_AS(many.retrieve(query, 1), std::runtime_error);
    CHECK(at.size() == 200);
    constexpr auto longest = std::chrono::nanoseconds::max();
    Retry once{std::ref(failing), {.attempts = 1, .delay = longest, .longest_delay = longest}, any_error};
    CHECK_THROWS_AS(once.retrieve(query, 1), std::runtime_error);
    CHECK_THROWS_WITH_AS((Retry{std::ref(failing), {.attempts = 0}}), "Retry needs at least 1 attempt, found 0", Error);
    CHECK_THROWS_AS((Retry{std::ref(failing), {.delay = -1ns}}), Error);
}

TEST_CASE("a hint that fails for now is forgotten, and one that fails for good is not") {
    Echo echo;
    Flaky flaky{.failures = 1, .echo = &echo};
    Retry retry{std::ref(flaky), quick};
    static_assert(PrefetchingRetriever<decltype(retry)> && checked_retriever<decltype(retry)>());
    static_assert(checked_retriever<Retry<Listed>>() && !PrefetchingRetriever<Retry<Listed>>);
    retry.prefetch(query, 1);
    CHECK(flaky.hints == 1);
    CHECK_FALSE(retry.ready());
    retry.prefetch(query, 1);
    CHECK(retry.ready());
    flaky.hints = 10;
    CHECK_THROWS_AS(retry.prefetch(query, 1), std::logic_error);
}

// Filtered.

namespace {

Listed numbered(std::size_t count) {
    Listed listed;
    for (std::size_t i = 0; i < count; ++i)
        listed.passages.push_back(passage_named(std::to_string(i), static_cast<float>(count - i)));
    return listed;
}

bool is_third(const Passage& passage) { return std::stoul(std::string{passage.id}) % 3 == 2; }

}  // namespace

TEST_CASE("a filter asks for more until enough pass, or there are no more, or it has asked for the most") {
    const auto asked = [](std::size_t count, std::size_t k, std::size_t most, std::vector<std::string> ids) {
        Listed listed = numbered(count);
        Filtered filtered{std::ref(listed), is_third, most};
        CHECK(ids_of(filtered.retrieve(query, k)) == ids);
        return listed.depths;
    };
    using Depths = std::vector<std::size_t>;
    CHECK(asked(100, 2, 1024, {"2", "5"}) == Depths{2, 4, 8});
    CHECK(asked(100, 1, 1024, {"2"}) == Depths{1, 2, 4});
    CHECK(asked(7, 3, 1024, {"2", "5"}) == Depths{3, 6, 12});  // 7 of 12: there are no more
    CHECK(asked(6, 3, 1024, {"2", "5"}) == Depths{3, 6, 12});
    CHECK(asked(1, 3, 1024, {}) == Depths{3});
    CHECK(asked(0, 3, 1024, {}) == Depths{3});
    CHECK(asked(100, 3, 5, {"2"}) == Depths{3, 5});
    CHECK(asked(100, 3, 6, {"2", "5"}) == Depths{3, 6});
    CHECK(asked(100, 9, 5, {"2", "5", "8"}) == Depths{9});
    CHECK(asked(100, 3, 0, {"2"}) == Depths{3});
    CHECK(asked(100, 0, 1024, {}).empty());
    constexpr std::size_t all = std::numeric_limits<std::size_t>::max();
    CHECK(asked(5, all, all, {"2"}) == Depths{all});
    CHECK(asked(5, all - 1, all, {"2"}) == Depths{all - 1});
}

TEST_CASE("a filter lets all or nothing pass, and errors of retriever and predicate") {
    Listed listed = numbered(40);
    Filtered all{std::ref(listed), [](const Passage&) { return true; }};
    CHECK(ids_of(all.retrieve(query, 3)) == std::vector<std::string>{"0", "1", "2"});
    CHECK(listed.depths == std::vector<std::size_t>{3});
    Filtered none{std::ref(listed), [](const Passage&) { return false; }, 16};
    CHECK(none.retrieve(query, 3).empty());
    CHECK(listed.depths == std::vector<std::size_t>{3, 3, 6, 12, 16});
    Filtered throwing{std::ref(listed), [](const Passage&) -> bool { throw std::out_of_range{"predicate"}; }};
    CHECK_THROWS_AS(throwing.retrieve(query, 3), std::out_of_range);
    Echo echo;
    echo.before = [](std::size_t call) {
        if (call == 2) throw std::domain_error{"retriever"};
    };
    Filtered odd{std::ref(echo), [](const Passage& passage) { return passage.title == "title 1"; }};
    CHECK_THROWS_AS(odd.retrieve(query, 1), std::domain_error);
    const auto answer = odd.retrieve(query, 1);
    REQUIRE(answer.size() == 1);
    CHECK(words_of(answer) == words_of(std::span{&echo.found[1], 1}));
    CHECK(answer[0].text == "echo found this for 1 2 3 ");
}

// Watched.

namespace {

/// A clock that the test sets.
struct HandClock {
    using duration = std::chrono::nanoseconds;
    using time_point = std::chrono::time_point<HandClock, duration>;
    static inline duration now_is{0};
    static time_point now() noexcept { return time_point{now_is}; }
};

template <class R>
using ByHand = Watched<R, HandClock>;

}  // namespace

TEST_CASE("queries, empty answers and failures are counted, and how long they take") {
    Echo echo;
    std::chrono::nanoseconds takes{0};
    echo.before = [&](std::size_t) {
        HandClock::now_is += takes;
        if (takes == 13ms) throw std::runtime_error{"unlucky"};
    };
    ByHand<std::reference_wrapper<Echo>> watched{std::ref(echo)};
    static_assert(checked_retriever<decltype(watched)>());
    CHECK(watched.health().queries == 0);
    CHECK(watched.health().p95 == 0ns);
    CHECK(watched.health().max == 0ns);
    const auto ask = [&](std::chrono::nanoseconds time, std::size_t k) {
        takes = time;
        return words_of(watched.retrieve(query, k));
    };
    CHECK(ask(1ms, 2) == echo_of(query, 2));
    CHECK(watched.health().p50 == 1ms);  // never more than the longest
    CHECK(watched.health().p95 == 1ms);
    CHECK_THROWS_AS(ask(13ms, 2), std::runtime_error);
    echo.has = 0;
    CHECK(ask(2ms, 2).empty());
    CHECK(ask(2ms, 0).empty());  // nothing was asked for
    const RetrieverHealth health = watched.health();
    CHECK(health.queries == 4);
    CHECK(health.empty == 1);
    CHECK(health.failures == 1);
    CHECK(health.passages == 2);
    CHECK(health.max == 13ms);
    CHECK(health.p50 >= 2ms);
    CHECK(health.p50 <= 2125us);
    CHECK(health.p95 == 13ms);
}

TEST_CASE("quantiles are those of the sorted times, at most a sixteenth too long, from nothing to centuries") {
    Listed listed;
    const auto check = [&](std::vector<std::int64_t> times) {
        struct Takes {
            const std::vector<std::int64_t>* times;
            std::size_t next = 0;
            std::span<const Passage> retrieve(const Query&, std::size_t) {
                HandClock::now_is = std::chrono::nanoseconds{(*times)[next++]};
                return {};
            }
        };
        ByHand<Takes> watched{Takes{&times}};
        for (std::size_t i = 0; i < times.size(); ++i) {
            HandClock::now_is = 0ns;
            watched.retrieve(query, 1);
        }
        const RetrieverHealth health = watched.health();
        std::ranges::sort(times);
        const auto close = [&](std::chrono::nanoseconds found, std::size_t rank) {
            const std::int64_t expected = times[rank - 1];
            CHECK(found.count() >= expected);
            CHECK(found.count() - expected <= expected / 16);
        };
        close(health.p50, (times.size() + 1) / 2);
        close(health.p95, (times.size() * 95 + 99) / 100);
        CHECK(health.max.count() == times.back());
    };
    check({0});
    check({5});
    check({std::numeric_limits<std::int64_t>::max()});
    std::vector<std::int64_t> edges;
    for (int bit = 0; bit < 62; ++bit) {
        for (const std::int64_t near : {-1, 0, 1}) edges.push_back((std::int64_t{1} << bit) + near);
    }
    check(edges);
    std::vector<std::int64_t> many;
    for (std::int64_t i = 1; i <= 1000; ++i) many.push_back(i * i * 997);
    check(many);
    for (std::int64_t i = 0; i < 300; ++i) check({i});
}

TEST_CASE("health can be read from another thread") {
    Echo echo;
    Watched watched{std::ref(echo)};
    std::atomic<bool> stop{false};
    std::size_t last = 0;
    bool grows = true;
    std::thread monitor{[&] {
        while (!stop) {
            const std::size_t now = watched.health().queries;
            grows = grows && now >= last;
            last = now;
        }
    }};
    for (int i = 0; i < 300; ++i) watched.retrieve(query, 1);
    stop = true;
    monitor.join();
    CHECK(grows);
    CHECK(watched.health().queries == 300);
    CHECK(watched.health().max >= watched.health().p95);
    CHECK(watched.health().p95 >= watched.health().p50);
    CHECK(watched.health().p50 > 0ns);
}

}  // namespace test_retrieval_wrappers
