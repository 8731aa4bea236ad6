#include "bench_parts.hpp"
#include "flashback/measure/reuse_sweep_counts.hpp"
#include "flashback/text/unicode.hpp"
#include "line_chart.hpp"
#include "progress.hpp"
#include "reuse_rows.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cli {
namespace {

namespace fb = flashback;

/// What the ways are, for who reads the table.
constexpr std::array<std::pair<fb::ReuseWay, std::string_view>, fb::all_reuse_ways.size()> meanings{
    {{fb::ReuseWay::append, "passages stand after the text, which is reused"},
     {fb::ReuseWay::prepend, "passages stand in front of the text, which is evaluated again if they change"},
     {fb::ReuseWay::sticky, "as append, but passages that are found again stay where they stand"},
     {fb::ReuseWay::recompute,
      "as append, but nothing is reused; as many tokens as prepend evaluates, because nothing can be reused after new "
      "passages"},
     {fb::ReuseWay::aside, "each passage is read beside the text; what saw the last ones is evaluated again"},
     {fb::ReuseWay::aside_stored, "as aside, and a store has the keys and values of the passages"},
     {fb::ReuseWay::prefix_store, "as append, in a session that read another text since: a PrefixStore has kept this one"},
     {fb::ReuseWay::append_approximate,
      "as append, but what was written behind the last passages keeps what it saw of them, and moves: approximate"}}};

/// The values of an axis that were given, or none.
const std::vector<std::size_t>& given_values(const BenchSettings& settings, fb::ReuseAxis axis) {
    switch (axis) {
        case fb::ReuseAxis::history: return settings.histories;
        case fb::ReuseAxis::stride: return settings.strides;
        case fb::ReuseAxis::passage: return settings.passages;
        case fb::ReuseAxis::k: break;
    }
    return settings.k;
}

std::vector<std::size_t>& values_of(fb::ReuseSweepOptions& options, fb::ReuseAxis axis) {
    switch (axis) {
        case fb::ReuseAxis::history: return options.history;
        case fb::ReuseAxis::stride: return options.stride;
        case fb::ReuseAxis::passage: return options.passage;
        case fb::ReuseAxis::k: break;
    }
    return options.k;
}

/// What the options ask for. An axis goes through the usual length if that is among its values, else through its first one.
fb::ReuseSweepOptions sweep_of(const BenchSettings& settings) {
    fb::ReuseSweepOptions options{
        .ways = each_once(settings.ways),
        .how = {.found_again = settings.found_again, .miss = settings.miss, .repetitions = settings.repetitions.value_or(3)}};
    for (const fb::ReuseAxis axis : fb::all_reuse_axes) {
        const std::vector<std::size_t>& given = given_values(settings, axis);
        std::size_t& usual = fb::length_on(axis, options.base);
        if (!given.empty() && std::ranges::find(given, usual) == given.end()) usual = given.front();
        const bool varied = std::ranges::find(settings.vary, axis) != settings.vary.end();
        if (!varied && given.size() > 1) {
            throw CLI::ValidationError("--" + std::string{fb::to_string(axis)} + ": found " + std::to_string(given.size()) +
                                       " values, expected 1, because --vary does not name it");
        }
        if (!varied) {
            values_of(options, axis).clear();
        } else if (!given.empty()) {
            values_of(options, axis) = each_once(given);
        }
    }
    return options;
}

/// The processor's name, if the system tells it.
std::string processor() {
    std::ifstream info{"/proc/cpuinfo"};
    for (std::string line; std::getline(info, line);) {
        const std::size_t colon = line.find(": ");
        if (line.starts_with("model name") && colon != line.npos) return line.substr(colon + 2);
    }
    return "unknown processor";
}

Json json_of(const fb::ReusePoint& point) {
    Json json = Json::object();
    for (const fb::ReuseAxis axis : fb::all_reuse_axes) json[std::string{fb::to_string(axis)}] = fb::length_on(axis, point);
    return json;
}

/// The rows of one axis, which stand together.
std::vector<std::vector<Json>> rows_by_axis(const Json& runs) {
    std::vector<std::vector<Json>> axes;
    for (const Json& run : runs) {
        if (axes.empty() || axes.back().front()["axis"] != run["axis"]) axes.emplace_back();
        axes.back().push_back(run);
    }
    return axes;
}

std::string name_of_model(const Json& run) {
    return run["model"].get<std::string>() + ", weights " + run["weights"].get<std::string>() + ", cache " +
           run["cache"].get<std::string>();
}

std::string conditions_of(const Json& found) {
    const Json& base = found["base"];
    std::string text =
        found["found_again"].get<bool>() ? "the same passages are found again" : "new passages at each retrieval";
    if (found["miss"].get<bool>()) text += ", every reuse is forced to miss";
    return text + "; what is not varied: a history of " + base["history"].dump() + " tokens, a stride of " +
           base["stride"].dump() + ", passages of " + base["passage"].dump() + ", k = " + base["k"].dump();
}

std::string title_of_axis(const std::string& axis) {
    if (axis == "history") return "history: tokens of the text";
    if (axis == "stride") return "stride: tokens from one retrieval to the next";
    if (axis == "passage") return "passage: tokens of each";
    return "k: passages at each retrieval";
}

}  // namespace

Json bench_reuse(const BenchSettings& settings) {
    const fb::ReuseSweepOptions options = sweep_of(settings);
    const std::size_t wanted = positions_of(fb::points_of(options, most_count * most_count));
    fb::ThreadPool pool = start_threads(settings.threads);
    const auto model = bench_model(settings, wanted, pool, true);
    const fb::ReusePoints points = fb::points_of(options, model->config.window);
    const fb::MachinePeaks peaks = peaks_of(pool, settings);
    const fb::SessionOptions session{.window = positions_of(points), .piece = 512, .executor = pool, .cache = settings.cache};
    const fb::DType cache = settings.cache.value_or(model->default_cache_element());
    const fb::ModelCost cost = fb::cost_of(*model, cache);

    const std::vector<fb::ReuseRow> rows = measure_reuse(model, session, options, points);

    Json runs = Json::array();
    for (const fb::ReuseRow& row : rows) {
        Json run = begin_run(*model, cost, cache, settings.threads);
        run.update({{"axis", fb::to_string(row.axis)}, {"way", fb::to_string(row.way)}});
        run.update(json_of(row.at));
        run.update({{"found_again", settings.found_again},
                    {"miss", settings.miss},
                    {"evaluated", row.counts.evaluated},
                    {"reused", row.counts.reused},
                    {"evaluated_per_token", row.evaluated_per_token()},
                    {"reused_per_token", row.reused_per_token()},
                    {"seconds_per_token", row.seconds_per_token()}});
        fb::RetrievalLengths lengths = fb::lengths_of(row.way, row.at, options.how);
        // A store of whole pages finds less than the lengths say.
        if (row.way == fb::ReuseWay::prefix_store) {
            lengths.kept = row.counts.reused;
            lengths.fed = row.counts.evaluated - lengths.decoded;
        }
        add_speed(run, row.seconds, row.at.stride, fb::least_seconds({&lengths, 1}, cost, peaks) / row.best_seconds());
        runs.push_back(std::move(run));
    }
    const fb::AppendWins wins = fb::append_wins_from(rows);
    const auto or_null = [](std::optional<std::size_t> value) { return value ? Json(*value) : Json(nullptr); };
    return {{"mode", "reuse"},
            {"processor", processor()},
            {"base", json_of(points.base)},
            {"found_again", settings.found_again},
            {"miss", settings.miss},
            {"runs", runs},
            {"left_out", points.left_out},
            {"append_wins",
             {{"from", or_null(wins.from)}, {"loses_at", or_null(wins.loses_at)}, {"sentence", fb::sentence_of(wins)}}},
            {"peaks", to_json(peaks)}};
}

void print_reuse(const Json& found) {
    std::cout << fb::harmless(name_of_model(found["runs"][0])) << ", threads " << found["runs"][0]["threads"] << '\n'
              << conditions_of(found) << "\nmilliseconds for each generated token, and evaluated tokens for each\n";
    for (const std::vector<Json>& rows : rows_by_axis(found["runs"])) {
        const auto axis = rows[0]["axis"].get<std::string>();
        std::cout << '\n' << std::setw(8) << axis;
        for (const Json& row : rows) {
            if (row[axis] != rows[0][axis]) break;
            std::cout << std::setw(21) << row["way"].get<std::string>();
        }
        for (std::size_t i = 0; i < rows.size(); ++i) {
            if (i == 0 || rows[i]["way"] == rows[0]["way"]) std::cout << '\n' << std::setw(8) << rows[i][axis].dump();
            std::cout << formatted("%12.3f%9.2f", 1000 * rows[i]["seconds_per_token"].get<double>(),
                                   rows[i]["evaluated_per_token"].get<double>());
        }
        std::cout << '\n';
    }
    std::cout << '\n';
    for (const auto& [way, meaning] : meanings) {
        const auto has = [&, name = fb::to_string(way)](const Json& run) { return run["way"] == name; };
        if (std::ranges::any_of(found["runs"], has)) std::cout << fb::to_string(way) << ": " << meaning << '\n';
    }
    std::cout << '\n';
    for (const Json& sentence : found["left_out"]) std::cout << sentence.get<std::string>() << '\n';
    std::cout << found["append_wins"]["sentence"].get<std::string>() << '\n';
}

std::string reuse_picture(const Json& found) {
    const Json& first = found["runs"][0];
    LineChart chart{
        .title = "What reuse of keys and values saves",
        .y_title = "milliseconds for each generated token",
        .caption = {name_of_model(first) + "; " + first["threads"].dump() +
                        (first["threads"] == 1 ? " thread of " : " threads of ") + found["processor"].get<std::string>(),
                    conditions_of(found), found["append_wins"]["sentence"].get<std::string>()},
        .panels = {}};
    for (const std::vector<Json>& rows : rows_by_axis(found["runs"])) {
        const auto axis = rows[0]["axis"].get<std::string>();
        ChartPanel panel{.x_title = title_of_axis(axis), .lines = {}};
        for (const Json& row : rows) {
            const auto way = row["way"].get<std::string>();
            auto line = std::ranges::find(panel.lines, way, &ChartLine::name);
            if (line == panel.lines.end()) line = panel.lines.insert(line, {way, {}});
            line->points.emplace_back(row[axis].get<double>(), 1000 * row["seconds_per_token"].get<double>());
        }
        for (ChartLine& line : panel.lines) std::ranges::sort(line.points);
        chart.panels.push_back(std::move(panel));
    }
    return svg_of(chart);
}

}  // namespace cli
