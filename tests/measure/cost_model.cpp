// Work is counted by hand, costs are found again in times that were computed from them, and advice is compared with all combinations.
#include "flashback/measure/cost_model.hpp"

#include "flashback/core/random.hpp"
#include "flashback/measure/fit_cost_model.hpp"
#include "flashback/policy/budget.hpp"
#include "support/errors.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <optional>
#include <vector>

#include <doctest/doctest.h>

namespace test_measure_cost_model {

using namespace flashback;
using namespace flashback_test;

namespace {

constexpr std::array some_ways{ReuseWay::append, ReuseWay::prepend, ReuseWay::aside, ReuseWay::aside_stored};

/// passes, few, tokens, attended, steps, positions
constexpr CostModel known{.seconds_each = {4e-3, 2e-4, 1e-4, 3e-9, 5e-3, 2e-8}};

/// The rows of a sweep whose times are those of a cost model, but for a relative error.
std::vector<ReuseRow> rows_of(const CostModel& costs, double noise = 0) {
    SplitMix64 random{3};
    std::vector<ReuseRow> rows;
    for (const auto& [axis, at] : points_of({}, 1 << 20).points) {
        for (const ReuseWay way : some_ways) {
            const double error = noise * (2 * random.uniform() - 1);
            rows.push_back({axis, way, at, predicted_counts(way, at), {predict(costs, way, at) * (1 + error)}});
        }
    }
    return rows;
}

EvaluatedWork work(ReuseWay way, const ReusePoint& at, const ReuseOptions& options = {}) {
    return evaluated_work(lengths_of(way, at, options), at.k);
}

}  // namespace

TEST_CASE("Cost model: the work of a retrieval by hand") {
    const ReusePoint at{.history = 100, .stride = 3, .passage = 40, .k = 2};
    // 97 are kept, 3 + 80 are fed: each attends to what is in front of it and to itself. Two single tokens follow, at 181 and 182.
    CHECK(work(ReuseWay::append, at) == EvaluatedWork{1, 32, 83, 83 * 97 + 83 * 84 / 2, 2, 181 + 182});
    CHECK(work(ReuseWay::prepend, at) == EvaluatedWork{1, 32, 180, 180 * 181 / 2, 2, 181 + 182});
    // Two passages of 40 by themselves; then 4 tokens after 96, which see 80 positions beside them.
    CHECK(work(ReuseWay::aside, at) ==
          EvaluatedWork{3, 32 + 32 + 4, 84, 2 * 40 * 41 / 2 + 4 * (96 + 80) + 4 * 5 / 2, 2, 181 + 182});
    CHECK(work(ReuseWay::aside_stored, at) == EvaluatedWork{1, 4, 4, 4 * (96 + 80) + 4 * 5 / 2, 2, 181 + 182});
    // Only the newest token is evaluated: that is a step.
    CHECK(work(ReuseWay::sticky, at, {.found_again = true}) == EvaluatedWork{0, 0, 0, 0, 3, 180 + 181 + 182});
    CHECK(known.seconds(work(ReuseWay::aside_stored, at)) ==
          doctest::Approx(4e-3 + 4 * 2e-4 + 4 * 1e-4 + 714 * 3e-9 + 2 * 5e-3 + 363 * 2e-8));
    CostModel searching = known;
    searching.search_seconds = 0.5;
    CHECK(predict(searching, ReuseWay::append, at) == doctest::Approx(0.5 + predict(known, ReuseWay::append, at)));
}

TEST_CASE("Cost model: costs are found again in times that were made of them") {
    const std::vector<ReuseRow> rows = rows_of(known);
    const CostModel found = fit_cost_model(rows);
    for (std::size_t i = 0; i < EvaluatedWork::size; ++i)
        CHECK(found.seconds_each[i] == doctest::Approx(known.seconds_each[i]).epsilon(1e-6));
    CHECK(errors_of(found, rows).worst < 1e-9);

    const std::vector<ReuseRow> noisy = rows_of(known, 0.1);
    const PredictionErrors errors = errors_of(fit_cost_model(noisy), noisy);
    CHECK(errors.rows == noisy.size());
    CHECK(errors.mean < 0.06);
    CHECK(errors.mean > 0.02);  // it does not follow the noise
    CHECK(errors.worst >= errors.mean);
    CHECK(errors.worst ==
          doctest::Approx(std::abs(predict(fit_cost_model(noisy), noisy[errors.worst_row].way, noisy[errors.worst_row].at) /
                                       noisy[errors.worst_row].best_seconds() -
                                   1)));
    CHECK(errors_of(fit_cost_model(noisy), rows).mean <
          errors.mean / 2);  // it is nearer to the truth than to what was measured
}

TEST_CASE("Cost model: no cost is below 0, and what nothing tells costs nothing") {
    CostModel negative = known;
    negative.seconds_each[1] = -1e-4;  // few tokens would be cheaper than many
    const CostModel found = fit_cost_model(rows_of(negative));
    CHECK(found.seconds_each[1] == 0);
    CHECK(std::ranges::min(found.seconds_each) >= 0);

    std::vector<ReuseRow> one{rows_of(known).front()};
    one[0].at.stride = 1;  // no single tokens
    one[0].seconds = {0.25};
    const CostModel of_one = fit_cost_model(one);
    CHECK(of_one.seconds_each[4] == 0);
    CHECK(predict(of_one, one[0].way, one[0].at) == doctest::Approx(0.25));
}

TEST_CASE("Cost model: a fit needs rows that were timed") {
    check_error(ErrorCode::contract, "a cost model is fitted to no rows, expected those of a sweep",
                [] { fit_cost_model({}); });
    std::vector<ReuseRow> rows = rows_of(known);
    rows[3].seconds.clear();
    check_error(ErrorCode::contract, "row 3 of a sweep was not timed", [&] { fit_cost_model(rows); });
}

TEST_CASE("Cost model: advice is the best of all combinations that the budget allows") {
    AdviceOptions options{.ways = {some_ways.begin(), some_ways.end()}, .history = 512, .passage = 64};
    const double prepended = predict(known, ReuseWay::prepend, {.history = 512, .stride = 16, .passage = 64}) / 16;
    for (const double part : {0.05, 0.2, 0.5, 1.0, 3.0, 100.0}) {
        CAPTURE(part);
        options.seconds_per_token = part * prepended;
        const Advice advice = advise(known, options);
        std::size_t affordable = 0;
        std::optional<AdvisedWay> best, other, beyond;
        const auto better = [](const AdvisedWay& a, const std::optional<AdvisedWay>& b) {
            if (!b) return true;
            if (a.at.stride != b->at.stride) return a.at.stride < b->at.stride;
            if (a.at.k != b->at.k) return a.at.k > b->at.k;
            return a.seconds_per_token < b->seconds_per_token;
        };
        std::vector<AdvisedWay> all;
        for (const ReuseWay way : some_ways) {
            for (const std::size_t stride : doublings(1, 128)) {
                for (const std::size_t k : doublings(1, 8)) {
                    const ReusePoint at{.history = 512, .stride = stride, .passage = 64, .k = k};
                    all.push_back({way, at, predict(known, way, at) / static_cast<double>(stride)});
                    if (all.back().seconds_per_token > options.seconds_per_token) continue;
                    ++affordable;
                    if (better(all.back(), best)) best = all.back();
                }
            }
        }
        for (const AdvisedWay& one : all) {
            if (best && one.seconds_per_token <= options.seconds_per_token && one.way != best->way && better(one, other))
                other = one;
        }
        for (const AdvisedWay& one : all) {
            const bool dear = one.seconds_per_token > options.seconds_per_token;
            if (dear && better(one, best) && (!beyond || one.seconds_per_token < beyond->seconds_per_token)) beyond = one;
        }
        CHECK(advice.considered == all.size());
        CHECK(advice.affordable == affordable);
        CHECK(advice.choice == best);
        CHECK(advice.runner_up == other);
        CHECK(advice.beyond == beyond);
    }
    options.seconds_per_token = 1e-9;
    const Advice none = advise(known, options);
    CHECK_FALSE(none.choice);
    CHECK_FALSE(none.runner_up);
    REQUIRE(none.beyond);  // the cheapest of all
    options.seconds_per_token = none.beyond->seconds_per_token;
    CHECK(advise(known, options).choice == none.beyond);
    CHECK(advise(known, options).affordable == 1);
}

TEST_CASE("Cost model: strides beyond the history are left out, and advice that makes no sense is refused") {
    const AdviceOptions fits{.history = 8, .seconds_per_token = 1};
    CHECK(advise(known, fits).considered == 3 * 4 * 4);
    AdviceOptions small = fits;
    small.positions = 8 + 128 + 3;
    CHECK(advise(known, small).considered == 3 * 3);  // strides of 1, 2 and 4, one passage
    const auto refused = [&](const char* sentence, auto change) {
        AdviceOptions options = fits;
        change(options);
        check_error(ErrorCode::contract, sentence, [&] { advise(known, options); });
    };
    refused("a budget of 0", [](auto& o) { o.seconds_per_token = 0; });
    refused("a budget of nan seconds", [](auto& o) { o.seconds_per_token = std::nan(""); });
    refused("at least one way, one stride and one number of passages to choose from, found 0, 8 and 4",
            [](auto& o) { o.ways.clear(); });
    refused("with a history of 8 tokens and passages of 128, every stride is longer than the history",
            [](auto& o) { o.strides = {16}; });
    refused("a stride, number of passages, passage or history of 0", [](auto& o) { o.k = {1, 0}; });
    refused("a stride, number of passages, passage or history of 0", [](auto& o) { o.passage = 0; });
}

TEST_CASE("Cost model: a budget in seconds; where every token costs the same, it is one in tokens") {
    const auto places = [](auto schedule, std::size_t first) {
        const TokenBuffer text(200, 7);
        std::vector<std::size_t> found;
        std::size_t evaluated = 0, last = 0;
        for (std::size_t n = 0; n < 100; ++n) {
            StepView step{TokenSpan{text}.first(60 + n), 60, found.size(), n - last};
            step.evaluated = evaluated;
            const bool retrieves = Decision{schedule(step)}.retrieves();
            evaluated += n == 0 ? first : retrieves ? step.since_retrieval + 10 : 1;
            if (!retrieves) continue;
            found.push_back(n);
            last = n;
        }
        return found;
    };
    const CostModel same{.seconds_each = {0, 0, 0.25, 0, 0.25, 0}};
    const auto price = [](const StepView& step) {
        return static_cast<double>(std::max<std::size_t>(step.since_retrieval, 1) + 10 - 1);
    };
    const auto in_tokens = places(within_budget(2, EveryNTokens{1}, 16, price), 70);
    CHECK(in_tokens.size() > 3);
    CHECK(in_tokens.size() < 50);
    CHECK(places(within_budget(0.5, EveryNTokens{1}, 16, PredictedSeconds{same, ReuseWay::append, 10}), 70) == in_tokens);
    CHECK(places(within_budget(0.6, EveryNTokens{1}, 16, PredictedSeconds{same, ReuseWay::append, 10}), 70) != in_tokens);

    // Passes cost here, and searches: each is worth four single tokens.
    const CostModel dear{.seconds_each = {0.75, 0, 0, 0, 0.25, 0}, .search_seconds = 0.25};
    PredictedSeconds prices{dear, ReuseWay::append, 10};
    const TokenBuffer text(40, 7);
    StepView step{TokenSpan{text}.first(20), 10, 0, 10};
    CHECK(prices(step) == 0.25 + 0.75 - 0.25);
    step.evaluated = 30;
    CHECK(prices.spent(step) == 0.75);
    CHECK(prices.spent(step) == 0.75);  // nothing new
    ++step.evaluated;
    CHECK(prices.spent(step) == 1);
    step.evaluated += 12;
    step.retrievals = 1;
    CHECK(prices.spent(step) == 2);
    step.evaluated = 0;
    step.retrievals = 0;
    CHECK(prices.spent(step) == 0);  // another generation
    check_error(ErrorCode::contract, "prices of 0 passages of 10 tokens", [&] {
        PredictedSeconds{dear, ReuseWay::append, 10, 0};
    });
}

}  // namespace test_measure_cost_model
