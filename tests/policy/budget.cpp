#include "flashback/policy/budget.hpp"

#include "flashback/policy/any_policy.hpp"

#include <cstddef>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

namespace test_policy_budget {

using namespace flashback;

namespace {

using Places = std::vector<std::size_t>;

/// Asks a schedule before each of so many tokens, with a model that evaluates 100 tokens at first, 10 after a retrieval, and else 1.
template <class Schedule>
Places retrieved(Schedule& schedule, std::size_t tokens, std::size_t per_retrieval = 10) {
    const TokenBuffer text(tokens + 1, 7);
    Places places;
    std::size_t last = 0;
    std::size_t evaluated = 0;
    for (std::size_t n = 0; n < tokens; ++n) {
        StepView step{TokenSpan{text}.first(n + 1), 1, places.size(), n - last};
        step.evaluated = evaluated;
        const bool retrieves = Decision{schedule(step)}.retrieves();
        evaluated += n == 0 ? 100 : retrieves ? per_retrieval : 1;
        if (!retrieves) continue;
        places.push_back(n);
        last = n;
    }
    return places;
}

const auto always = [](const StepView&) { return true; };

}  // namespace

TEST_CASE("a budget by hand: 3 tokens for each, looking 4 ahead") {
    // Before token n, spent + cost <= 3 (n + 4). The 100 of the start count for nothing.
    // n = 0: 0 + 0 <= 12. n = 1: 0 + 0 <= 15, now 10 is known. n = 2: 10 + 10 <= 18 no; spent 10, 11, 12, 13 at n = 2, 3, 4, 5.
    // n = 3: 11 + 10 <= 21 yes. n = 4: 21 + 10 <= 24 no; n = 5: 22 + 10 <= 27 no; n = 6: 23 + 10 <= 30 no; n = 7: 24 + 10 <= 33 no;
    // n = 8: 25 + 10 <= 36 yes; then 35 at 9, and each step brings 3 - 1: 35 + 10 = 45 <= 3 (9 + 4) = 39 no, 46 <= 42 no, 47 <= 45 no,
    // 48 <= 48 yes, at 12.
    WithinBudget schedule{3, always, 4};
    CHECK(retrieved(schedule, 14) == Places{0, 1, 3, 8, 12});
    schedule.reset();
    CHECK(retrieved(schedule, 14) == Places{0, 1, 3, 8, 12});
    AnySchedule any{within_budget(3, always, 4)};
    any.reset();
    CHECK(retrieved(any, 14) == Places{0, 1, 3, 8, 12});
    CHECK(retrieved(any, 14) != Places{0, 1, 3, 8, 12});  // it was not reset
}

TEST_CASE("a budget holds: what retrievals bring is never more than it allows") {
    for (const double tokens : {0.0, 0.5, 1.0, 1.5, 2.0, 5.0, 100.0}) {
        CAPTURE(tokens);
        WithinBudget schedule{tokens, EveryNTokens{2}, 8};
        const std::size_t count = retrieved(schedule, 400).size();
        // Those after the first cost 10 where another token costs 1; the first of them had no price yet.
        CHECK(static_cast<double>(399 + 9 * (count - 1)) <= std::max(tokens * 408, 399.0) + 10);
        if (tokens <= 1) CHECK(count <= 2);
        if (tokens == 2) CHECK(count > 30);
        if (tokens == 100) CHECK(count == 200);
    }
}

TEST_CASE("a cost may be told instead of learned") {
    // spent + 5 <= 2 (n + 2): n = 0: 5 <= 4 no, 1: 0 + 5 <= 6, 2: 10 + 5 <= 8 no, ... spent n + 8 after it: n + 13 <= 2n + 4 at 9.
    WithinBudget schedule{2, always, 2, [](const StepView&) { return 5; }};
    CHECK(retrieved(schedule, 12) == Places{1, 9});
    auto of_step = within_budget(2, always, 2, [](const StepView& step) { return step.generated() < 3 ? 1e9 : 0.0; });
    CHECK(retrieved(of_step, 5, 1) == Places{3, 4});
}

TEST_CASE("a budget asks its schedule at each step, passes everything else on, and hears of ends") {
    struct Inner {
        std::size_t* asked;
        std::size_t rewound = 0;
        std::size_t resets = 0;
        Decision operator()(const StepView&) { return ++*asked % 2 == 0 ? Decision::stop() : Decision::drop_passages(1); }
        Decision at_end(const StepView&, StopReason) { return Decision::retrieve(1); }
        void rewind(std::size_t n) { rewound += n; }
        void reset() { ++resets; }
        bool wants_surprisals() const { return true; }
        bool wants_attention() const { return true; }
    };
    std::size_t asked = 0;
    WithinBudget schedule{0, Inner{&asked}, 0};
    const TokenBuffer text{1, 2, 3};
    StepView step{text, 1};
    step.evaluated = 50;
    CHECK(schedule(step).drops_passages());  // costs nothing that was not there before
    CHECK(schedule(step).stops());
    CHECK(asked == 2);
    CHECK(schedule.at_end(step, StopReason::eos) == Decision::retrieve(1));  // nothing spent yet, and no price known
    step.evaluated = 51;
    CHECK(schedule.at_end(step, StopReason::eos) == Decision::go_on());
    schedule.rewind(2);
    schedule.reset();
    CHECK(schedule.inner().rewound == 2);
    CHECK(schedule.inner().resets == 1);
    CHECK(schedule.wants_surprisals());
    CHECK(schedule.wants_attention());
    CHECK(schedule.looks_at_ends());
    CHECK_FALSE(WithinBudget{1, always}.looks_at_ends());
}

TEST_CASE("a budget bounds prefetches as it bounds retrievals") {
    const auto soon = [](const StepView&) { return Decision::prefetch(); };
    const TokenBuffer text{1, 2};
    StepView step{text, 1};
    WithinBudget schedule{1, soon, 0, [](const StepView&) { return 2; }};
    CHECK(schedule(step) == Decision::go_on());
    WithinBudget larger{2, soon, 0, [](const StepView&) { return 2; }};
    CHECK(larger(step).prefetches());
}

TEST_CASE("a budget that is no number is refused") {
    CHECK_THROWS_WITH_AS((WithinBudget{-1, always}),
                         "a budget for each generated token is a number of at least 0, found -1.000000", Error);
    CHECK_THROWS_AS((WithinBudget{std::numeric_limits<double>::quiet_NaN(), always}), Error);
}

}  // namespace test_policy_budget
