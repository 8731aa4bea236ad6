/// \file The measures of rankings, and the bootstrap.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/random.hpp"
#include "flashback/retrieval/rank_metrics.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <numeric>
#include <span>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {
namespace detail {

/// The gains of the first documents, each divided by what its rank costs.
inline double discounted_gain(std::span<const std::int32_t> grades, std::size_t most) {
    double sum = 0;
    for (std::size_t i = 0; i < std::min(most, grades.size()); ++i) {
        if (grades[i] > 0) sum += grades[i] / std::log2(static_cast<double>(i + 2));
    }
    return sum;
}

/// The mean of one measure.
inline double mean_of(std::span<const QueryMetrics> queries, const RankMetric& metric) {
    double sum = 0;
    for (const QueryMetrics& query : queries) sum += query.metrics.*metric.value;
    return sum / static_cast<double>(queries.size());
}

/// The queries of a run that another has, too.
inline std::vector<QueryMetrics> shared_queries(const RunMetrics& run, const RunMetrics& other) {
    std::vector<QueryMetrics> shared;
    std::ranges::set_intersection(run.queries, other.queries, std::back_inserter(shared), {}, &QueryMetrics::query,
                                  &QueryMetrics::query);
    return shared;
}

}  // namespace detail

FLASHBACK_DETAIL_ONCE RankMetrics measure_ranking(std::span<const ScoredDocument> ranking, const TrecQrels::Grades& grades) {
    std::vector<std::int32_t> ideal;  // the grades of relevant documents, the highest first
    for (const auto& judged : grades) {
        if (judged.second >= 1) ideal.push_back(judged.second);
    }
    if (ideal.empty()) return {};
    std::ranges::sort(ideal, std::greater{});
    const auto relevant = static_cast<double>(ideal.size());

    RankMetrics metrics;
    std::vector<std::int32_t> found;  // the grades of the ranking
    double so_far = 0;
    for (const ScoredDocument& document : ranking) {
        const auto judged = grades.find(document.id);
        found.push_back(judged == grades.end() ? 0 : judged->second);
        if (found.back() < 1) continue;
        const auto rank = static_cast<double>(found.size());
        if (so_far == 0) metrics.reciprocal_rank = 1 / rank;
        so_far += 1;
        metrics.average_precision += so_far / rank;
        if (found.size() <= 30) metrics.precision_30 = so_far / 30;
        if (found.size() <= 100) metrics.recall_100 = so_far / relevant;
    }
    metrics.average_precision /= relevant;
    metrics.ndcg_10 = detail::discounted_gain(found, 10) / detail::discounted_gain(ideal, 10);
    return metrics;
}

FLASHBACK_DETAIL_ONCE RunMetrics measure_run(const TrecRun& run, const TrecQrels& qrels, MissingQueries missing) {
    RunMetrics result;
    for (const auto& [query, grades] : qrels.queries) {
        const auto found = run.rankings.find(query);
        const bool answered = found != run.rankings.end() && !found->second.empty();
        if (!answered) ++result.missing;
        if (!answered && missing == MissingQueries::leave_out) continue;
        result.queries.push_back({query, answered ? measure_ranking(found->second, grades) : RankMetrics{}});
    }
    if (result.queries.empty()) {
        FLASHBACK_THROW(ErrorCode::format, "no query has both judgements and results: ", qrels.queries.size(),
                        " have judgements, ", run.rankings.size(), " are in the run; expected the same ids in both");
    }
    result.unjudged = static_cast<std::size_t>(
        std::ranges::count_if(run.rankings, [&](const auto& ranking) { return !qrels.queries.contains(ranking.first); }));
    for (const RankMetric& metric : rank_metrics) result.mean.*metric.value = detail::mean_of(result.queries, metric);
    return result;
}

FLASHBACK_DETAIL_ONCE MeanDifference paired_bootstrap(std::span<const double> first, std::span<const double> second,
                                                      const BootstrapOptions& options) {
    FLASHBACK_ASSERT(first.size() == second.size() && !first.empty(), "a paired test needs as many values of both, found ",
                     first.size(), " and ", second.size());
    FLASHBACK_ASSERT(options.resamples >= 39, "a 95 % interval needs at least 39 resamples, found ", options.resamples);
    std::vector<double> differences(first.size());
    std::ranges::transform(first, second, differences.begin(), std::minus{});
    FLASHBACK_ASSERT(std::ranges::all_of(differences, [](double x) { return std::isfinite(x); }),
                     "a paired test needs finite values, found one that is not");
    const auto count = static_cast<double>(differences.size());
    const double mean = std::accumulate(differences.begin(), differences.end(), 0.0) / count;

    // Sums of the same numbers in another order differ a little. Without some slack, chance would decide what is as far.
    const double largest = std::abs(std::ranges::max(differences, {}, [](double x) { return std::abs(x); }));
    const double far = std::abs(mean) - 1e-12 * largest;
    SplitMix64 random{options.seed};
    std::vector<double> means(options.resamples);
    std::size_t as_far = 0;
    for (double& resampled : means) {
        double sum = 0;
        for (std::size_t i = 0; i < differences.size(); ++i)
            sum += differences[static_cast<std::size_t>(random.below(differences.size()))];
        resampled = sum / count;
        if (std::abs(resampled - mean) >= far) ++as_far;
    }
    std::ranges::sort(means);
    const std::size_t tail = (options.resamples + 1) / 40;  // 2.5 %
    return {mean, means[tail - 1], means[options.resamples - tail],
            static_cast<double>(as_far + 1) / static_cast<double>(options.resamples + 1)};
}

FLASHBACK_DETAIL_ONCE RunComparison compare_runs(const RunMetrics& first, const RunMetrics& second,
                                                 const BootstrapOptions& options) {
    const std::vector<QueryMetrics> ours = detail::shared_queries(first, second);
    const std::vector<QueryMetrics> theirs = detail::shared_queries(second, first);
    if (ours.empty()) {
        FLASHBACK_THROW(ErrorCode::format, "the runs share no query: ", first.queries.size(), " and ", second.queries.size(),
                        " count, expected some of the same ids");
    }
    RunComparison comparison;
    comparison.queries = ours.size();
    std::vector<double> values(ours.size());
    std::vector<double> others(ours.size());
    for (std::size_t m = 0; m < rank_metrics.size(); ++m) {
        const auto value = [&](const QueryMetrics& query) { return query.metrics.*rank_metrics[m].value; };
        std::ranges::transform(ours, values.begin(), value);
        std::ranges::transform(theirs, others.begin(), value);
        comparison.differences[m] = paired_bootstrap(values, others, options);
        comparison.first.*rank_metrics[m].value = detail::mean_of(ours, rank_metrics[m]);
        comparison.second.*rank_metrics[m].value = detail::mean_of(theirs, rank_metrics[m]);
    }
    return comparison;
}

}  // namespace flashback::inline FLASHBACK_ISA
