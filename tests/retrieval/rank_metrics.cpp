// Measures of rankings, against values that were computed by hand, and the bootstrap, against all resamples that there are.
#include "flashback/retrieval/rank_metrics.hpp"

#include "support/errors.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;
using namespace flashback_test;
using doctest::Approx;

namespace test_retrieval_rank_metrics {

namespace {

/// A ranking of documents by name, the best first.
std::vector<ScoredDocument> ranked(const std::vector<std::string>& ids) {
    std::vector<ScoredDocument> ranking;
    for (const std::string& id : ids) ranking.push_back({id, -static_cast<double>(ranking.size())});
    return ranking;
}

/// `count` documents that nobody judged.
std::vector<std::string> unknown(std::size_t count, const std::string& prefix = "u") {
    std::vector<std::string> ids;
    for (std::size_t i = 0; i < count; ++i) ids.push_back(prefix + std::to_string(i));
    return ids;
}

std::vector<std::string> joined(std::vector<std::string> first, const std::vector<std::string>& second) {
    first.insert(first.end(), second.begin(), second.end());
    return first;
}

struct Exact {
    double p_value;
    double low;
    double high;
};

/// What the bootstrap approaches: every one of the n^n samples, equally often.
Exact all_resamples(const std::vector<double>& differences) {
    const std::size_t n = differences.size();
    std::size_t samples = 1;
    for (std::size_t i = 0; i < n; ++i) samples *= n;
    double mean = 0;
    for (const double d : differences) mean += d / static_cast<double>(n);
    std::vector<double> means;
    double far = 0;
    for (std::size_t sample = 0; sample < samples; ++sample) {
        double sum = 0;
        std::size_t digits = sample;
        for (std::size_t i = 0; i < n; ++i, digits /= n) sum += differences[digits % n];
        means.push_back(sum / static_cast<double>(n));
        if (std::abs(means.back() - mean) > std::abs(mean) - 1e-9) far += 1;
    }
    std::ranges::sort(means);
    const auto at = [&](double share) { return means[static_cast<std::size_t>(share * static_cast<double>(samples))]; };
    return {far / static_cast<double>(samples), at(0.025), at(0.975)};
}

}  // namespace

TEST_CASE("The measures of a ranking with grades, by hand") {
    // Relevant: a (3), b (1), c (2). Found: a at rank 2, c at rank 4; x is judged and not relevant, y and z are not judged.
    const TrecQrels::Grades grades{{"a", 3}, {"b", 1}, {"c", 2}, {"x", 0}, {"w", -2}};
    const RankMetrics found = measure_ranking(ranked({"x", "a", "w", "c", "y", "z"}), grades);
    CHECK(found.average_precision == Approx((1.0 / 2 + 2.0 / 4) / 3));
    CHECK(found.precision_30 == Approx(2.0 / 30));
    CHECK(found.recall_100 == Approx(2.0 / 3));
    CHECK(found.reciprocal_rank == Approx(0.5));
    // log2 of 2, 3, 4, 5: 1, 1.5849625, 2, 2.3219281. Gains 3/1.5849625 + 2/2.3219281; at best 3/1 + 2/1.5849625 + 1/2.
    CHECK(found.ndcg_10 == Approx((1.8927893 + 0.8613531) / (3 + 1.2618595 + 0.5)).epsilon(1e-7));
}

TEST_CASE("A perfect ranking, the worst, and none") {
    const TrecQrels::Grades grades{{"a", 2}, {"b", 1}};
    const RankMetrics perfect = measure_ranking(ranked({"a", "b"}), grades);
    CHECK(perfect == RankMetrics{1, 1, 2.0 / 30, 1, 1});
    const RankMetrics swapped = measure_ranking(ranked({"b", "a"}), grades);
    CHECK(swapped.average_precision == 1);  // both are relevant
    CHECK(swapped.ndcg_10 == Approx((1 + 2 / 1.5849625) / (2 + 1 / 1.5849625)).epsilon(1e-7));
    CHECK(measure_ranking(ranked(unknown(200)), grades) == RankMetrics{});
    CHECK(measure_ranking({}, grades) == RankMetrics{});
    CHECK(measure_ranking(ranked({"a"}), {}) == RankMetrics{});
    CHECK(measure_ranking(ranked({"a"}), {{"a", 0}, {"b", -1}}) == RankMetrics{});
    const RankMetrics huge = measure_ranking(ranked({"b", "a"}), {{"a", 2147483647}, {"b", 2147483647}});
    CHECK(huge.ndcg_10 == 1);
}

TEST_CASE("Cutoffs: the last rank that counts, and the first that does not") {
    const TrecQrels::Grades grades{{"a", 1}, {"b", 1}};
    const auto at = [&](std::size_t rank) { return measure_ranking(ranked(joined(unknown(rank - 1), {"a"})), grades); };
    CHECK(at(10).ndcg_10 == Approx((1 / std::log2(11)) / (1 + 1 / std::log2(3))));
    CHECK(at(11).ndcg_10 == 0);
    CHECK(at(30).precision_30 == Approx(1.0 / 30));
    CHECK(at(31).precision_30 == 0);
    CHECK(at(100).recall_100 == 0.5);
    CHECK(at(101).recall_100 == 0);
    CHECK(at(101).average_precision == Approx(0.5 / 101));  // no cutoff
    CHECK(at(101).reciprocal_rank == Approx(1.0 / 101));
    // The best possible ranking is cut, too: 12 relevant documents, 10 of them first.
    TrecQrels::Grades many;
    for (const std::string& id : unknown(12)) many[id] = 1;
    const RankMetrics first = measure_ranking(ranked(unknown(10)), many);
    CHECK(first.ndcg_10 == Approx(1));
    CHECK(first.recall_100 == Approx(10.0 / 12));
    CHECK(first.precision_30 == Approx(10.0 / 30));
}

TEST_CASE("A run: means over the queries that have both, or all that are judged") {
    const TrecQrels qrels = parse_qrels("1 0 a 1\n2 0 a 1\n3 0 a 1\n4 0 a 0\n", "q");
    // Equal scores: b is in front of a, as the last id is the first. Query 4 has nothing relevant, 9 has no judgements.
    const TrecRun run = parse_run("1 Q0 a 1 5 t\n1 Q0 b 2 5 t\n2 Q0 a 1 5 t\n2 Q0 b 2 4 t\n4 Q0 a 1 1 t\n9 Q0 a 1 1 t\n", "r");
    const RunMetrics both = measure_run(run, qrels);
    REQUIRE(both.queries.size() == 3);
    CHECK(both.queries[0].query == "1");
    CHECK(both.queries[0].metrics.average_precision == 0.5);
    CHECK(both.queries[1].metrics.average_precision == 1);
    CHECK(both.queries[2].metrics == RankMetrics{});
    CHECK(both.missing == 1);
    CHECK(both.unjudged == 1);
    CHECK(both.mean.average_precision == Approx(0.5));
    CHECK(both.mean.reciprocal_rank == Approx(0.5));
    CHECK(both.mean.recall_100 == Approx(2.0 / 3));
    const RunMetrics all = measure_run(run, qrels, MissingQueries::zero);
    REQUIRE(all.queries.size() == 4);
    CHECK(all.queries[2].query == "3");
    CHECK(all.queries[2].metrics == RankMetrics{});
    CHECK(all.missing == 1);
    CHECK(all.mean.average_precision == Approx(1.5 / 4));

    const TrecRun empty{"t", {{"1", {}}}};  // a query without results is missing, too
    check_error(ErrorCode::format, "no query has both judgements and results: 4 have judgements, 1 are in the run",
                [&] { static_cast<void>(measure_run(empty, qrels)); });
    CHECK(measure_run(empty, qrels, MissingQueries::zero).missing == 4);
    CHECK(measure_run(empty, qrels, MissingQueries::zero).mean == RankMetrics{});
    check_error(ErrorCode::format, "0 have judgements", [&] { static_cast<void>(measure_run(run, {}, MissingQueries::zero)); });
}

TEST_CASE("The bootstrap approaches what all resamples give") {
    for (const std::vector<double>& first :
         {std::vector<double>{1, 0}, {0.5, 0.25, -0.125}, {0.1, 0, 0, 0}, {-0.3, 0.1, -0.2, 0.1}, {0.4, 0.3, 0.2, 0.1, 0.3}}) {
        CAPTURE(first.size());
        const Exact exact = all_resamples(first);
        const std::vector<double> second(first.size(), 0.0);
        const MeanDifference found = paired_bootstrap(first, second, {.resamples = 99999, .seed = 5});
        const double error = 4 * std::sqrt(exact.p_value * (1 - exact.p_value) / 99999) + 1e-5;
        CHECK(std::abs(found.p_value - exact.p_value) <= error);
        CHECK(found.low == Approx(exact.low));
        CHECK(found.high == Approx(exact.high));
        const MeanDifference reversed = paired_bootstrap(second, first, {.resamples = 99999, .seed = 5});
        CHECK(reversed.difference == -found.difference);
        CHECK(reversed.low == -found.high);
        CHECK(reversed.p_value == found.p_value);
    }
}

TEST_CASE("The bootstrap: seeds, no difference, the same difference everywhere, and what is refused") {
    const std::vector<double> some{0.3, 0.1, 0.25, 0.6, 0.2, 0.9};
    const std::vector<double> other{0.1, 0.2, 0.15, 0.3, 0.25, 0.5};
    const MeanDifference one = paired_bootstrap(some, other);
    CHECK(one.difference == Approx(0.85 / 6));
    CHECK(one.low < one.difference);
    CHECK(one.high > one.difference);
    CHECK(paired_bootstrap(some, other).p_value == one.p_value);
    CHECK(paired_bootstrap(some, other, {.seed = 1}).p_value != one.p_value);
    CHECK(paired_bootstrap(some, other, {.seed = 1}).p_value == Approx(one.p_value).epsilon(0.1));

    const MeanDifference same = paired_bootstrap(some, some);
    CHECK(same.difference == 0);
    CHECK(same.p_value == 1);
    CHECK(same.low == 0);
    CHECK(same.high == 0);
    const std::vector<double> tenths(7, 0.1);
    const MeanDifference constant = paired_bootstrap(tenths, std::vector<double>(7, 0.0));
    CHECK(constant.p_value == Approx(1.0 / 10000));
    CHECK(constant.low == Approx(0.1));
    CHECK(constant.high == Approx(0.1));
    CHECK(paired_bootstrap(std::vector<double>{1}, std::vector<double>{0}, {.resamples = 39}).p_value == Approx(1.0 / 40));

    const auto refused = [](const char* words, const std::vector<double>& x, const std::vector<double>& y,
                            const BootstrapOptions& options) {
        check_error(ErrorCode::contract, words, [&] { static_cast<void>(paired_bootstrap(x, y, options)); });
    };
    refused("as many values of both, found 0 and 0", {}, {}, {});
    refused("as many values of both, found 1 and 2", {1}, {1, 2}, {});
    refused("at least 39 resamples, found 38", {1}, {1}, {.resamples = 38});
    refused("finite values", {std::nan("")}, {1}, {});
    refused("finite values", {1, std::numeric_limits<double>::infinity()}, {1, 1}, {});
}

TEST_CASE("Two runs are compared on the queries that both have") {
    const TrecQrels qrels = parse_qrels("1 0 a 1\n2 0 a 1\n3 0 a 1\n4 0 a 1\n", "q");
    const TrecRun first = parse_run("1 Q0 a 1 2 t\n2 Q0 b 1 2 t\n2 Q0 a 2 1 t\n3 Q0 a 1 1 t\n", "r");
    const TrecRun second = parse_run("4 Q0 a 1 2 t\n2 Q0 a 1 2 t\n1 Q0 b 1 2 t\n1 Q0 c 2 1 t\n1 Q0 a 3 0 t\n", "s");
    const RunComparison both = compare_runs(measure_run(first, qrels), measure_run(second, qrels));
    CHECK(both.queries == 2);
    CHECK(both.first.average_precision == Approx((1 + 0.5) / 2));
    CHECK(both.second.average_precision == Approx((1 + 1.0 / 3) / 2));
    CHECK(both.differences[0].difference == Approx(1.0 / 12));
    CHECK(both.differences[0].low == Approx(-0.5));
    CHECK(both.differences[0].high == Approx(2.0 / 3));
    CHECK(both.differences[2].difference == 0);  // P_30
    CHECK(both.differences[2].p_value == 1);
    const RunComparison all =
        compare_runs(measure_run(first, qrels, MissingQueries::zero), measure_run(second, qrels, MissingQueries::zero));
    CHECK(all.queries == 4);
    CHECK(all.differences[0].difference == Approx((2.5 - 7.0 / 3) / 4));
    CHECK(all.first.recall_100 == Approx(0.75));
    const TrecRun none = parse_run("4 Q0 a 1 2 t\n", "n");
    check_error(ErrorCode::format, "the runs share no query: 3 and 1 count",
                [&] { static_cast<void>(compare_runs(measure_run(first, qrels), measure_run(none, qrels))); });
}

}  // namespace test_retrieval_rank_metrics
