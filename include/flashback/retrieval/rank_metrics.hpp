/// \file How good rankings are, as trec_eval measures it, and whether one run is better than another.
#pragma once

#include "flashback/core/config.hpp"
#include "flashback/retrieval/trec.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// The measures of a ranking, or their means over queries. All lie in [0, 1]; higher is better. A document is relevant if its
/// grade is 1 or more; one without a judgement is not. If no document is relevant, all are 0.
struct RankMetrics {
    double average_precision = 0;  ///< mean, over the relevant documents, of the precision where each is found (map)
    double ndcg_10 = 0;            ///< gains of the first 10, over those of the best possible ranking (ndcg_cut_10)
    double precision_30 = 0;       ///< share of relevant documents among the first 30 (P_30)
    double recall_100 = 0;         ///< share of the relevant documents that are among the first 100 (recall_100)
    double reciprocal_rank = 0;    ///< 1 / rank of the first relevant document (recip_rank)

    bool operator==(const RankMetrics&) const = default;
};

/// The name that trec_eval has for a measure, and where it stands.
struct RankMetric {
    const char* name;            ///< as trec_eval writes it
    double RankMetrics::*value;  ///< where it is
};

/// All measures, in the order in which they are shown.
inline constexpr std::array<RankMetric, 5> rank_metrics{{{"map", &RankMetrics::average_precision},
                                                         {"ndcg_cut_10", &RankMetrics::ndcg_10},
                                                         {"P_30", &RankMetrics::precision_30},
                                                         {"recall_100", &RankMetrics::recall_100},
                                                         {"recip_rank", &RankMetrics::reciprocal_rank}}};

/// The measures of one ranking. The gain of a document is its grade, and rank r divides it by log2(r + 1).
/// Requires  the ranking has each document once, the best first
/// Source    trec_eval 9, https://github.com/usnistgov/trec_eval; Järvelin and Kekäläinen 2002, Cumulated gain-based
///           evaluation of IR techniques, for nDCG
RankMetrics measure_ranking(std::span<const ScoredDocument> ranking, const TrecQrels::Grades& grades);

/// What becomes of queries that have judgements but no results.
enum class MissingQueries : std::uint8_t {
    leave_out,  ///< they do not count, as with trec_eval 9 by itself
    zero,       ///< they count as 0, as with trec_eval -c
};

/// A query, and the measures of its ranking.
struct QueryMetrics {
    std::string query;    ///< its id
    RankMetrics metrics;  ///< of this query
};

/// How good a run is.
struct RunMetrics {
    std::vector<QueryMetrics> queries;  ///< by id
    RankMetrics mean;                   ///< over these queries
    std::size_t missing = 0;            ///< judged queries that the run has no results for
    std::size_t unjudged = 0;           ///< queries of the run that have no judgements; they never count
};

/// Measures a run. By default queries without results do not count, because published figures come from trec_eval, which leaves
/// them out. A run that answers easy queries only looks better so: look at `missing`.
/// Throws    Error{format} if no query counts
RunMetrics measure_run(const TrecRun& run, const TrecQrels& qrels, MissingQueries missing = MissingQueries::leave_out);

/// How a difference is tested.
struct BootstrapOptions {
    std::size_t resamples = 9999;  ///< >= 39; (resamples + 1) / 40 should be whole
    std::uint64_t seed = 0;        ///< chooses the resamples
};

/// How much better the first of two runs is.
struct MeanDifference {
    double difference = 0;  ///< of the means: first - second
    double low = 0;         ///< the 95 % interval of that, by percentiles of the resamples
    double high = 0;        ///< end of the 95 % interval
    double p_value = 1;  ///< how often chance alone gives a difference as large in size, two-sided; at least 1/(resamples + 1)
};

/// Compares two lists of values, of which those at one place belong together: a measure of two runs, query by query. Queries are
/// drawn with replacement. The test takes the differences less their mean, so that on average there is none.
/// Requires  as many values in both, at least one, all finite
/// Throws    Error{contract} for values of other numbers, and for options out of range
/// Cost      resamples · values additions
/// Source    Efron and Tibshirani 1993, An introduction to the bootstrap, sections 13.3 and 16.4; Sakai 2006, Evaluating
///           evaluation metrics based on the bootstrap
MeanDifference paired_bootstrap(std::span<const double> first, std::span<const double> second,
                                const BootstrapOptions& options = {});

/// Two runs on the queries that both have.
struct RunComparison {
    std::size_t queries = 0;                                      ///< that count in both runs
    RankMetrics first;                                            ///< means over these queries
    RankMetrics second;                                           ///< of the other run
    std::array<MeanDifference, rank_metrics.size()> differences;  ///< in the order of `rank_metrics`
};

/// Compares what `measure_run` gave for two runs. So with MissingQueries::zero all judged queries count, and else those that
/// both runs have results for. All measures are tested with the same resamples.
/// Throws    Error{format} if the runs share no query; Error{contract} for options out of range
RunComparison compare_runs(const RunMetrics& first, const RunMetrics& second, const BootstrapOptions& options = {});

}  // namespace flashback::inline FLASHBACK_ISA

#if !defined(FLASHBACK_COMPILED_ONCE)
#include "flashback/retrieval/detail/rank_metrics.hpp"
#endif
