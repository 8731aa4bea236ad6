#include "bench_parts.hpp"
#include "files_of_command.hpp"
#include "flashback/measure/cost_model.hpp"
#include "flashback/measure/fit_cost_model.hpp"
#include "flashback/text/unicode.hpp"
#include "progress.hpp"
#include "reuse_rows.hpp"
#include "shape_option.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
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

/// The retrievals that a budget of "0.5x" is compared with.
constexpr std::size_t usual_stride = 16;

struct TimeBudget {
    double number = 0;
    bool relative = false;  // to prepending a passage every 16 tokens

    /// "0.5x", "20ms" or "0.02s"; otherwise the reason.
    std::string read(const std::string& text) {
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
        const std::string_view unit{end, text.data() + text.size()};
        const double scale = unit == "ms" ? 1e-3 : unit == "s" || unit == "x" ? 1 : 0;
        if (error != std::errc{} || scale == 0 || !(number > 0) || number > 1e6)
            return "found '" + text + "', expected a number above 0 with x, ms or s behind it, such as 0.5x or 20ms";
        number *= scale;
        relative = unit == "x";
        return {};
    }
};

struct AdviseOptions {
    BenchSettings settings;
    fb::AdviceOptions advice{.history = 1024};
    TimeBudget budget;
    std::string budget_text;
    std::string sweep;
    double latency = 0;  // ms
    bool json = false;
};

/// What was measured, of what.
struct MeasuredSweep {
    Json model;  // name, weights, cache, threads
    std::vector<fb::ReuseRow> rows;
    fb::ReuseOptions how;
};

/// Which costs the rows do not tell; empty if they tell all.
std::string untold_by(const MeasuredSweep& measured) {
    std::array<double, fb::EvaluatedWork::size> all{};
    for (const fb::ReuseRow& row : measured.rows) {
        const auto numbers = fb::evaluated_work(fb::lengths_of(row.way, row.at, measured.how), row.at.k).numbers();
        for (std::size_t i = 0; i < all.size(); ++i) all[i] += numbers[i];
    }
    if (measured.rows.size() < all.size())
        return "has " + std::to_string(measured.rows.size()) + " rows, too few for " + std::to_string(all.size()) + " costs";
    if (all[0] == 0) return "has no row in which several tokens are evaluated at once";
    return all[4] == 0 ? "has no row with a stride above 1, so it does not tell what a single token costs" : "";
}

/// What `bench --mode reuse --json` has printed.
MeasuredSweep read_sweep(const std::string& file) {
    const auto refuse = [&](const std::string& why) {
        FLASHBACK_THROW(fb::ErrorCode::format, "--sweep: '", file, "' ", why,
                        ", expected what flashback bench --mode reuse --json prints");
    };
    const Json found = Json::parse(read_text(file), nullptr, false);
    if (found.is_discarded()) refuse("is no JSON");
    try {
        if (found.at("mode") != "reuse" || found.at("runs").empty()) refuse("has no sweep over reuse");
        MeasuredSweep measured{
            .model = {}, .rows = {}, .how = {.found_again = found.at("found_again"), .miss = found.at("miss")}};
        const auto ways = reuse_way_names();
        for (const Json& run : found.at("runs")) {
            const auto way = ways.find(run.at("way").get<std::string>());
            if (way == ways.end()) refuse("has the way " + run.at("way").dump());
            fb::ReuseRow row{.way = way->second, .seconds = {run.at("seconds").get<double>()}};
            for (const fb::ReuseAxis axis : fb::all_reuse_axes) {
                const auto length = run.at(std::string{fb::to_string(axis)}).get<std::size_t>();
                if (length == 0 || length > most_count) refuse("has a length of " + std::to_string(length));
                fb::length_on(axis, row.at) = length;
            }
            if (row.at.stride > row.at.history) refuse("has a stride that is longer than the history");
            if (!(row.seconds[0] > 0)) refuse("has a row that was not timed");
            measured.rows.push_back(row);
        }
        const Json& first = found.at("runs")[0];
        for (const char* name : {"model", "weights", "cache"}) measured.model[name] = first.at(name).get<std::string>();
        measured.model["threads"] = first.at("threads").get<std::size_t>();
        if (const std::string why = untold_by(measured); !why.empty()) refuse(why);
        return measured;
    } catch (const Json::exception&) {
        refuse("lacks a field, or has one of another type");
        throw;
    }
}

/// A short sweep around what is asked for. Prepending is measured with a shorter text: it would take most of the time.
class CalibratedMachine {
public:
    explicit CalibratedMachine(const AdviseOptions& options)
        : options_(options),
          pool_(start_threads(options.settings.threads)),
          model_(bench_model(options.settings, wanted(), pool_, true)) {}

    /// The most positions that a retrieval may have here.
    std::size_t window() const { return model_->config.window; }

    MeasuredSweep calibrate() const {
        MeasuredSweep measured;
        for (const fb::ReuseSweepOptions& sweep : sweeps()) {
            const std::vector<fb::ReuseRow> rows = rows_of(sweep);
            measured.rows.insert(measured.rows.end(), rows.begin(), rows.end());
        }
        for (int round = 0; round < 3; ++round) repeat_disturbed(measured.rows);
        const fb::ModelCost cost = fb::cost_of(*model_);
        const fb::DType cache = options_.settings.cache.value_or(model_->default_cache_element());
        measured.model = begin_run(*model_, cost, cache, options_.settings.threads);
        return measured;
    }

    /// Seconds for each generated token, as they are measured now.
    double measure(const fb::AdvisedWay& one) const { return row_of(one.way, one.at).seconds_per_token(); }

private:
    std::vector<fb::ReuseSweepOptions> sweeps() const {
        const std::size_t history = std::max(options_.advice.history, usual_stride), passage = options_.advice.passage;
        const std::size_t shorter = std::max(history / 4, usual_stride);
        return {{.ways = {fb::ReuseWay::prepend},
                 .base = {.history = shorter, .stride = usual_stride, .passage = passage},
                 .history = {std::max(shorter / 4, usual_stride), shorter},
                 .stride = {2},
                 .passage = {},
                 .k = {}},
                {.ways = {fb::ReuseWay::append, fb::ReuseWay::aside, fb::ReuseWay::aside_stored},
                 .base = {.history = history, .stride = usual_stride, .passage = passage},
                 .history = {shorter, history},
                 .stride = {2, 4, 64},
                 .passage = {std::max<std::size_t>(passage / 4, 1)},
                 .k = {4}}};
    }

    /// The positions of all that may be measured.
    std::size_t wanted() const {
        std::size_t most = 0;
        for (const fb::ReuseSweepOptions& sweep : sweeps())
            most = std::max(most, positions_of(fb::points_of(sweep, most_count)));
        for (const std::size_t stride : options_.advice.strides) {
            for (const std::size_t k : options_.advice.k)
                most = std::max(most, fb::ReusePoint{options_.advice.history, stride, options_.advice.passage, k}.positions());
        }
        return most;
    }

    fb::ReuseRow row_of(fb::ReuseWay way, const fb::ReusePoint& at) const {
        return rows_of({.ways = {way}, .base = at, .history = {at.history}, .stride = {}, .passage = {}, .k = {}}).front();
    }

    /// Others use the machine, too: rows that are far from the fit are timed once more, and their fastest time counts.
    void repeat_disturbed(std::vector<fb::ReuseRow>& rows) const {
        const fb::CostModel costs = fb::fit_cost_model(rows);
        for (fb::ReuseRow& row : rows) {
            if (std::abs(fb::predict(costs, row.way, row.at) / row.best_seconds() - 1) < 0.1) continue;
            const fb::ReuseRow again = row_of(row.way, row.at);
            row.seconds.insert(row.seconds.end(), again.seconds.begin(), again.seconds.end());
        }
    }

    std::vector<fb::ReuseRow> rows_of(const fb::ReuseSweepOptions& sweep) const {
        const fb::ReusePoints points = fb::points_of(sweep, window());
        return measure_reuse(
            model_, {.window = positions_of(points), .piece = 512, .executor = pool_, .cache = options_.settings.cache}, sweep,
            points);
    }

    const AdviseOptions& options_;
    mutable fb::ThreadPool pool_;
    std::shared_ptr<const fb::Transformer> model_;
};

Json json_of(const fb::AdvisedWay& one, double baseline) {
    return {{"way", fb::to_string(one.way)},
            {"stride", one.at.stride},
            {"k", one.at.k},
            {"seconds_per_token", one.seconds_per_token},
            {"relative_to_prepend", one.seconds_per_token / baseline}};
}

std::string count_of(const Json& number, const std::string& thing) {
    return number.dump() + ' ' + thing + (number == 1 ? "" : "s");
}

std::string lengths_of(const Json& one) {
    return one["way"].get<std::string>() + ", " +
           (one["stride"] == 1 ? "every token" : "every " + one["stride"].dump() + " tokens") + ", " +
           count_of(one["k"], "passage");
}

std::string cost_of(const Json& one) {
    return formatted("%.3g ms a token (%.2fx)", 1000 * one["seconds_per_token"].get<double>(),
                     one["relative_to_prepend"].get<double>());
}

/// Why it is this one, and what it needs.
std::string reason_of(const Json& found) {
    const Json& choice = found["choice"];
    if (choice.is_null())
        return "the budget allows nothing that was considered; the cheapest is " + lengths_of(found["beyond"]) + ": " +
               cost_of(found["beyond"]);
    std::string text =
        "it retrieves most often, then most at a time, of what the budget allows; of ways that do both alike it is "
        "the cheapest";
    if (!found["beyond"].is_null())
        text += ". Better but beyond the budget: " + lengths_of(found["beyond"]) + ", " + cost_of(found["beyond"]);
    if (choice["way"] != "prepend" && choice["way"] != "aside" && choice["way"] != "aside-stored")
        text +=
            ". Passages behind the text need a model that was fine-tuned for them (flashback finetune), and a short stride may "
            "harm it: compare strides with flashback ppl, and offer good ones with --stride";
    if (choice["way"] == "aside-stored") text += ". It holds for passages that come again, and are kept";
    return text;
}

Json advise_with(const AdviseOptions& options) {
    FilesOfCommand files;
    files.reads("--model", options.settings.model);
    options.settings.weights.tell(files, options.settings.model);
    files.reads("--sweep", options.sweep);
    files.check();
    std::optional<CalibratedMachine> machine;
    if (options.sweep.empty()) machine.emplace(options);
    const MeasuredSweep measured = machine ? machine->calibrate() : read_sweep(options.sweep);
    fb::CostModel costs = fb::fit_cost_model(measured.rows, measured.how);
    const fb::PredictionErrors errors = fb::errors_of(costs, measured.rows, measured.how);
    costs.search_seconds = options.latency / 1000;

    fb::AdviceOptions asked = options.advice;
    asked.ways = each_once(asked.ways);
    asked.strides = each_once(asked.strides);
    asked.k = each_once(asked.k);
    if (machine) asked.positions = machine->window();
    const fb::ReusePoint usual{
        .history = asked.history, .stride = std::min(usual_stride, asked.history), .passage = asked.passage};
    const double baseline = fb::predict(costs, fb::ReuseWay::prepend, usual) / static_cast<double>(usual.stride);
    asked.seconds_per_token = options.budget.number * (options.budget.relative ? baseline : 1);
    const fb::Advice advice = fb::advise(costs, asked);

    const fb::ReuseRow& worst = measured.rows[errors.worst_row];
    Json found = measured.model;
    found.update({{"history", asked.history},
                  {"passage", asked.passage},
                  {"budget_seconds_per_token", asked.seconds_per_token},
                  {"prepend_seconds_per_token", baseline},
                  {"prepend_stride", usual.stride},
                  {"considered", advice.considered},
                  {"affordable", advice.affordable}});
    for (const auto& [name, one] :
         {std::pair{"choice", &advice.choice}, {"runner_up", &advice.runner_up}, {"beyond", &advice.beyond}}) {
        found[name] = *one ? json_of(**one, baseline) : Json(nullptr);
        if (!machine || !*one || one == &advice.beyond) continue;
        found[name]["measured_seconds_per_token"] =
            machine->measure(**one) + costs.search_seconds / static_cast<double>((*one)->at.stride);
    }
    found["why"] = reason_of(found);
    found["cost_model"] = {
        {"seconds_each",
         {{"pass", costs.seconds_each[0]},
          {"token_of_the_first_32", costs.seconds_each[1]},
          {"token", costs.seconds_each[2]},
          {"attended_position", costs.seconds_each[3]},
          {"step", costs.seconds_each[4]},
          {"position_of_a_step", costs.seconds_each[5]}}},
        {"rows", errors.rows},
        {"mean_error", errors.mean},
        {"worst_error", errors.worst},
        {"worst_row", std::string{fb::to_string(worst.way)} + ", history " + std::to_string(worst.at.history) + ", stride " +
                          std::to_string(worst.at.stride) + ", passage " + std::to_string(worst.at.passage) + ", k " +
                          std::to_string(worst.at.k)}};
    return found;
}

void print_advice(const Json& found, const std::string& budget) {
    const Json& model = found["cost_model"];
    std::cout << fb::harmless(found["model"].get<std::string>()) << ", weights " << found["weights"].get<std::string>()
              << ", cache " << found["cache"].get<std::string>() << ", threads " << found["threads"] << "; a history of "
              << found["history"] << " tokens, passages of " << found["passage"] << '\n'
              << "cost model: fitted to " << model["rows"] << " measurements, "
              << formatted("mean error %.1f %%, worst %.1f %%", 100 * model["mean_error"].get<double>(),
                           100 * model["worst_error"].get<double>())
              << " (" << model["worst_row"].get<std::string>() << ")\n"
              << "budget: " << budget << ", which is "
              << formatted("%.3g ms a token; prepending a passage every %zu tokens takes %.3g",
                           1000 * found["budget_seconds_per_token"].get<double>(), found["prepend_stride"].get<std::size_t>(),
                           1000 * found["prepend_seconds_per_token"].get<double>())
              << " (1x)\n"
              << found["affordable"] << " of " << found["considered"] << " combinations fit\n\n";
    for (const auto& [field, name] : {std::pair{"choice", "choice:    "}, {"runner_up", "runner-up: "}}) {
        const Json& one = found[field];
        if (one.is_null()) continue;
        std::cout << name << lengths_of(one) << ": " << cost_of(one);
        if (one.contains("measured_seconds_per_token"))
            std::cout << formatted("; measured: %.3g", 1000 * one["measured_seconds_per_token"].get<double>());
        std::cout << '\n';
    }
    std::cout << "why: " << found["why"].get<std::string>() << '\n';
}

}  // namespace

void add_advise(CLI::App& app, Command& run) {
    auto options = std::make_shared<AdviseOptions>();
    BenchSettings& settings = options->settings;
    CLI::App& command =
        *app.add_subcommand("advise", "Pick a layout, a stride and a number of passages for a budget of time for each token");
    command
        .add_option(
            "--budget", options->budget_text,
            "The most that a generated token may take: 20ms, 0.02s, or 0.5x: that part of what it takes to prepend a passage "
            "every 16 tokens")
        ->required()
        ->type_name("TIME")
        ->check([options](const std::string& text) { return options->budget.read(text); });
    const auto counts = [&](const char* name, std::vector<std::size_t>& values, const char* meaning) {
        command.add_option(name, values, meaning)->delimiter(',')->transform(at_least(1, 1 << 20))->type_name("N,...");
    };
    command.add_option("--history", options->advice.history, "Tokens of the text")
        ->transform(at_least(1, 1 << 24))
        ->capture_default_str();
    command.add_option("--passage", options->advice.passage, "Tokens of a passage")
        ->transform(at_least(1, 1 << 20))
        ->capture_default_str();
    counts("--stride", options->advice.strides,
           "Tokens from one retrieval to the next, to choose from; by default 1, 2, 4, ..., 128");
    counts("--k", options->advice.k, "Passages at each retrieval, to choose from; by default 1, 2, 4, 8");
    command
        .add_option("--ways", options->advice.ways,
                    "Where passages may stand, to choose from, as bench --mode reuse explains them")
        ->delimiter(',')
        ->transform(one_of(reuse_way_names()))
        ->type_name("WAY,...")
        ->default_str("aside,append,prepend");
    command.add_option("--latency", options->latency, "Milliseconds of a search")
        ->check(number_from(0, 60000))
        ->type_name("MS")
        ->capture_default_str();
    auto* sweep = command
                      .add_option("--sweep", options->sweep,
                                  "Learn the costs from what bench --mode reuse --json printed, instead of measuring")
                      ->type_name("FILE");
    auto* model = command
                      .add_option("--model", settings.model,
                                  "A GGUF file or a Hugging Face folder; by default the model that is part of this program")
                      ->type_name("FILE")
                      ->excludes(sweep);
    settings.weights.add(command);
    add_shape(command, settings.shape, settings.dtype)
        ->excludes(model)
        ->excludes(sweep)
        ->excludes(command.get_option("--weights-cache"));
    add_cache(command, settings.cache);
    add_threads(command, settings.threads);
    for (const char* name : {"--cache", "--threads", "--weights-cache"}) sweep->excludes(command.get_option(name));
    add_json(command, options->json);
    command.footer(
        "The choice retrieves as often as the budget allows; with that stride, as many passages as it allows; and of ways that "
        "do both "
        "alike it is the cheapest. Costs are learned from a short sweep on this machine, and the choice is measured "
        "too.\nExample:\n"
        "  flashback advise --budget 0.5x\n  flashback bench --mode reuse --json > sweep.json\n  flashback advise --budget "
        "20ms "
        "--sweep sweep.json --k 1");
    command.callback([options, &run] {
        run = [options] {
            const Json found = advise_with(*options);
            options->json ? print(found) : print_advice(found, options->budget_text);
        };
    });
}

}  // namespace cli
