#include "common.hpp"
#include "flashback/retrieval/rank_metrics.hpp"
#include "flashback/retrieval/trec.hpp"
#include "flashback/text/unicode.hpp"
#include "progress.hpp"

#include <algorithm>
#include <cstdint>
#include <iostream>
#include <memory>
#include <string>

namespace cli {
namespace {

namespace fb = flashback;

struct EvaluateOptions {
    std::string run;
    std::string qrels;
    std::string compare;
    bool complete = false;
    bool per_query = false;
    std::uint64_t seed = 0;
    bool json = false;
};

Json json_of(const fb::RankMetrics& metrics) {
    Json json;
    for (const fb::RankMetric& metric : fb::rank_metrics) json[metric.name] = metrics.*metric.value;
    return json;
}

Json json_of(const std::string& file, const fb::RunMetrics& run, const EvaluateOptions& options) {
    Json json{{"run", file},
              {"queries", run.queries.size()},
              {"missing", run.missing},
              {"unjudged", run.unjudged},
              {"mean", json_of(run.mean)}};
    if (!options.per_query) return json;
    Json& list = json["per_query"] = Json::array();
    for (const fb::QueryMetrics& query : run.queries) {
        Json row{{"query", query.query}};
        row.update(json_of(query.metrics));
        list.push_back(std::move(row));
    }
    return json;
}

Json json_of(const fb::RunComparison& comparison) {
    Json json{{"queries", comparison.queries}};
    for (std::size_t m = 0; m < fb::rank_metrics.size(); ++m) {
        const fb::MeanDifference& found = comparison.differences[m];
        json[fb::rank_metrics[m].name] = {{"run", comparison.first.*fb::rank_metrics[m].value},
                                          {"compare", comparison.second.*fb::rank_metrics[m].value},
                                          {"difference", found.difference},
                                          {"low", found.low},
                                          {"high", found.high},
                                          {"p_value", found.p_value}};
    }
    return json;
}

/// Says which queries count, so that nobody takes figures of some queries for those of all.
void say_queries(const std::string& file, const fb::RunMetrics& run, const EvaluateOptions& options) {
    std::cerr << fb::harmless(file) << ": " << run.queries.size() << " queries";
    if (run.missing > 0) {
        std::cerr << "; " << run.missing << " judged ones have no results and "
                  << (options.complete ? "count as 0" : "are left out (--complete counts them as 0)");
    }
    if (run.unjudged > 0) std::cerr << "; " << run.unjudged << " more have no judgements and are left out";
    std::cerr << '\n';
}

void print_row(const fb::RankMetrics& metrics, const std::string& name) {
    for (const fb::RankMetric& metric : fb::rank_metrics) std::cout << formatted("%12.4f", metrics.*metric.value);
    std::cout << "  " << fb::harmless(name) << '\n';
}

void print_run(const fb::RunMetrics& run, bool per_query) {
    for (const fb::RankMetric& metric : fb::rank_metrics) std::cout << formatted("%12s", metric.name);
    std::cout << "  query\n";
    if (per_query) {
        for (const fb::QueryMetrics& query : run.queries) print_row(query.metrics, query.query);
    }
    print_row(run.mean, "mean of " + std::to_string(run.queries.size()));
}

void print_comparison(const fb::RunComparison& comparison) {
    std::cout << "\non the " << comparison.queries << " queries that count in both:\n"
              << formatted("%12s%12s%12s%12s%24s%10s\n", "", "--run", "--compare", "difference", "95 % interval", "p");
    for (std::size_t m = 0; m < fb::rank_metrics.size(); ++m) {
        const fb::RankMetric& metric = fb::rank_metrics[m];
        const fb::MeanDifference& found = comparison.differences[m];
        std::cout << formatted("%12s%12.4f%12.4f%+12.4f%+14.4f .. %+.4f%10.4f\n", metric.name, comparison.first.*metric.value,
                               comparison.second.*metric.value, found.difference, found.low, found.high, found.p_value);
    }
}

void evaluate(const EvaluateOptions& options) {
    const fb::TrecQrels qrels = fb::read_qrels(options.qrels);
    const auto missing = options.complete ? fb::MissingQueries::zero : fb::MissingQueries::leave_out;
    const auto measured = [&](const std::string& file) { return fb::measure_run(fb::read_run(file), qrels, missing); };
    const fb::RunMetrics run = measured(options.run);
    fb::RunMetrics other;
    fb::RunComparison comparison;
    if (!options.compare.empty()) {
        other = measured(options.compare);
        comparison = fb::compare_runs(run, other, {.seed = options.seed});
    }
    if (options.json) {
        Json json = json_of(options.run, run, options);
        if (!options.compare.empty()) {
            json["compare"] = json_of(options.compare, other, options);
            json["difference"] = json_of(comparison);
        }
        print(json);
        return;
    }
    say_queries(options.run, run, options);
    print_run(run, options.per_query);
    if (options.compare.empty()) return;
    say_queries(options.compare, other, options);
    std::cout << '\n';
    print_run(other, options.per_query);
    print_comparison(comparison);
}

}  // namespace

void add_evaluate(CLI::App& app, Command& run) {
    auto options = std::make_shared<EvaluateOptions>();
    CLI::App& command = *app.add_subcommand("evaluate", "Measure how good a TREC run is, or compare two, as trec_eval does");
    command.add_option("--run", options->run, "The run: what search --run wrote, or any other in TREC's six columns")
        ->required()
        ->type_name("FILE");
    command
        .add_option("--qrels", options->qrels,
                    "The judgements: TREC's four columns, or BEIR's three under 'query-id corpus-id score'")
        ->required()
        ->type_name("FILE");
    auto* compare =
        command.add_option("--compare", options->compare, "A second run: how much better the first is, by a paired bootstrap")
            ->type_name("FILE");
    command.add_flag("--complete", options->complete, "Judged queries without results count as 0, as with trec_eval -c");
    command.add_flag("--per-query", options->per_query, "Also show each query");
    command.add_option("--seed", options->seed, "Chooses the resamples of the bootstrap")
        ->transform(any_seed())
        ->capture_default_str()
        ->needs(compare);
    add_json(command, options->json);
    command.footer(
        "Relevant is a grade of 1 or more; nDCG takes grades as gains.\nExample:\n  flashback evaluate --run bm25.trec --qrels "
        "qrels.tsv --compare other.trec");
    command.callback([options, &run] { run = [options] { evaluate(*options); }; });
}

}  // namespace cli
