#include "bench_runs.hpp"

#include "bench_parts.hpp"
#include "files_of_command.hpp"
#include "flashback/simd/tiles.hpp"
#include "flashback/text/unicode.hpp"
#include "reuse_rows.hpp"
#include "shape_option.hpp"

#include <algorithm>
#include <cstdint>
#include <iomanip>
#include <iostream>
#include <map>
#include <memory>
#include <set>
#include <sstream>
#include <string_view>
#include <utility>

#include <range/v3/view/tail.hpp>
#include <range/v3/view/zip.hpp>

namespace cli {
namespace {

namespace fb = flashback;

struct BenchOptions {
    BenchSettings settings;
    std::string csv;
    std::string svg;
    bool json = false;
};

const std::map<std::string, BenchMode> modes{{"machine", BenchMode::machine}, {"prefill", BenchMode::prefill},
                                             {"decode", BenchMode::decode},   {"step", BenchMode::step},
                                             {"loop", BenchMode::loop},       {"reuse", BenchMode::reuse},
                                             {"stored", BenchMode::stored},   {"schedule", BenchMode::schedule}};
const std::map<std::string, fb::ReuseAxis> reuse_axes{{"history", fb::ReuseAxis::history},
                                                      {"stride", fb::ReuseAxis::stride},
                                                      {"passage", fb::ReuseAxis::passage},
                                                      {"k", fb::ReuseAxis::k}};
const std::map<std::string, fb::RunTimeLayout> layouts{{"aside", fb::RunTimeLayout::aside},
                                                       {"aside-stored", fb::RunTimeLayout::aside_stored},
                                                       {"append", fb::RunTimeLayout::append},
                                                       {"prepend", fb::RunTimeLayout::prepend},
                                                       {"recompute", fb::RunTimeLayout::recompute}};

/// All modes that need a model.
const std::set<BenchMode> modes_of_models{BenchMode::prefill, BenchMode::decode, BenchMode::step,    BenchMode::loop,
                                          BenchMode::reuse,   BenchMode::stored, BenchMode::schedule};

/// Options that only some modes read, and which.
const std::map<std::string, std::set<BenchMode>> readers{
    {"--m", {BenchMode::prefill}},
    {"--context", {BenchMode::prefill, BenchMode::decode, BenchMode::step, BenchMode::schedule}},
    {"--steps", {BenchMode::decode, BenchMode::schedule}},
    {"--layout", {BenchMode::step, BenchMode::loop, BenchMode::schedule}},
    {"--init", {BenchMode::loop}},
    {"--length", {BenchMode::loop}},
    {"--sample", {BenchMode::loop}},
    {"--passage", {BenchMode::reuse, BenchMode::stored, BenchMode::schedule}},
    {"--vary", {BenchMode::reuse}},
    {"--history", {BenchMode::reuse}},
    {"--stride", {BenchMode::reuse}},
    {"--k", {BenchMode::reuse}},
    {"--ways", {BenchMode::reuse}},
    {"--found-again", {BenchMode::reuse}},
    {"--miss", {BenchMode::reuse}},
    {"--svg", {BenchMode::reuse}},
    {"--schedule", {BenchMode::schedule}},
    {"--latency", {BenchMode::schedule}},
    {"--model", modes_of_models},
    {"--weights-cache", modes_of_models},
    {"--verify-weights-cache", modes_of_models},
    {"--cache", modes_of_models},
    {"--shape", modes_of_models},
    {"--warmup", {BenchMode::prefill, BenchMode::decode, BenchMode::step, BenchMode::loop, BenchMode::schedule}}};

/// Why an option makes no sense in a mode.
std::string not_read(BenchMode mode, const std::set<BenchMode>& by) {
    std::string here;
    std::vector<std::string> others;
    for (const auto& [name, value] : modes) {
        if (value == mode) here = name;
        if (by.contains(value)) others.push_back(name);
    }
    std::string text = ": --mode " + here + " does not read it, ";
    for (std::size_t i = 0; i < others.size(); ++i) text += (i == 0 ? "" : i + 1 < others.size() ? ", " : " and ") + others[i];
    return text + (others.size() == 1 ? " does" : " do");
}

/// How many digits behind the point a number is shown with.
int digits_of(double number) {
    if (number > 0 && number < 0.01) return 6;
    if (number < 10) return 3;
    return number < 1000 ? 1 : 0;
}

std::string cell(const Json& value) {
    if (value.is_null()) return "-";
    if (value.is_string()) return fb::harmless(value.get<std::string>());
    if (!value.is_number_float()) return value.dump();
    const auto number = value.get<double>();
    std::ostringstream text;
    text << std::fixed << std::setprecision(digits_of(number)) << number;
    return text.str();
}

/// A column's name where there is little room.
std::string title(const std::string& field) {
    static const std::map<std::string, std::string> titles{{"tokens_per_second", "tokens/s"},
                                                           {"median_tokens_per_second", "median"},
                                                           {"share_of_peak", "of peak"},
                                                           {"prefill_seconds", "prefill s"},
                                                           {"decode_seconds", "decode s"},
                                                           {"prefill_tokens", "prefilled"},
                                                           {"decode_tokens", "decoded"},
                                                           {"sampled_retrievals", "sampled"},
                                                           {"speedup_over_prepend", "speed-up"},
                                                           {"predicted_speedup_over_prepend", "predicted"},
                                                           {"cost_ratio", "decode/prefill"},
                                                           {"passage_tokens", "passage"},
                                                           {"keep_seconds", "keep s"},
                                                           {"find_seconds", "find s"},
                                                           {"file_seconds", "from file s"},
                                                           {"break_even_uses", "pays after"},
                                                           {"break_even_mbs", "pays above MB/s"},
                                                           {"f32_gops", "f32 Gop/s"},
                                                           {"bf16_gops", "bf16 Gop/s"},
                                                           {"int8_gops", "int8 Gop/s"},
                                                           {"read_gbs", "read GB/s"},
                                                           {"gops", "Gop/s"},
                                                           {"gbs", "GB/s"}};
    const auto it = titles.find(field);
    return it == titles.end() ? field : it->second;
}

/// What is the same in all runs and stands above them.
const std::set<std::string> common_fields{"model", "weights", "cache", "passage", "stride"};

/// One line for each run, with aligned columns. Columns that say nothing in any line are left out.
void print_table(const Json& runs) {
    std::vector<std::vector<std::string>> rows(runs.size() + 1);
    std::vector<std::size_t> widths;
    for (const auto& [field, first] : runs[0].items()) {
        const std::string& name = field;
        if (common_fields.contains(name) || std::ranges::all_of(runs, [&](const Json& run) { return run[name].is_null(); }))
            continue;
        rows[0].push_back(title(name));
        for (auto&& [row, run] : ranges::views::zip(rows | ranges::views::tail, runs)) row.push_back(cell(run[name]));
        std::size_t width = 0;
        for (const auto& row : rows) width = std::max(width, row.back().size());
        widths.push_back(width);
    }
    for (const auto& row : rows) {
        const char* between = "";
        for (const auto& [text, width] : ranges::views::zip(row, widths))
            std::cout << std::exchange(between, "  ") << std::setw(static_cast<int>(width)) << text;
        std::cout << '\n';
    }
}

void print_bench(const Json& json) {
    const Json& first = json["runs"][0];
    if (first.contains("model"))
        std::cout << cell(first["model"]) << ", weights " << cell(first["weights"]) << ", cache " << cell(first["cache"]);
    if (first.contains("passage")) std::cout << ", passages of " << first["passage"] << " tokens";
    if (first.contains("stride")) std::cout << ", stride " << first["stride"];
    if (first.contains("model")) std::cout << '\n';
    print_table(json["runs"]);
    if (json["mode"] == "machine") return;
    const Json& peaks = json["peaks"];
    std::cout << "peaks of " << peaks["threads"] << " threads: " << cell(peaks["f32_gops"]) << " Gop/s f32, "
              << cell(peaks["bf16_gops"]) << " bf16, " << cell(peaks["int8_gops"]) << " int8; " << cell(peaks["read_gbs"])
              << " GB/s read";
    const std::string_view tiles = fb::simd::tiles().reason;
    if (!tiles.empty()) std::cout << " (" << tiles << ')';
    std::cout << '\n';
    if (first.contains("sampled_retrievals") && !first["sampled_retrievals"].is_null()) {
        std::cout
            << "sampled: " << first["sampled_retrievals"] << " of " << first["retrievals"]
            << " retrievals were timed, each on a cache filled to its history; the seconds of the others are interpolated\n";
    }
}

/// One line for each run, with the fields of the JSON.
void write_csv(std::ostream& out, const Json& runs) {
    const auto line = [&](const Json& run, bool names) {
        bool first = true;
        for (const auto& [field, value] : run.items()) {
            std::string text = names               ? field
                               : value.is_string() ? value.get<std::string>()
                               : value.is_null()   ? ""
                                                   : value.dump();
            if (text.find_first_of(",\"\n") != text.npos) {
                for (std::size_t at = 0; (at = text.find('"', at)) != text.npos; at += 2) text.insert(at, 1, '"');
                text = '"' + text + '"';
            }
            out << (first ? "" : ",") << text;
            first = false;
        }
        out << '\n';
    };
    line(runs[0], true);
    for (const Json& run : runs) line(run, false);
}

void bench_with(const BenchOptions& options) {
    FilesOfCommand files;
    files.reads("--model", options.settings.model);
    options.settings.weights.tell(files, options.settings.model);
    files.writes_if_given("--csv", options.csv);
    files.writes_if_given("--svg", options.svg);
    files.check();  // before minutes are spent
    const Json json = bench(options.settings);
    if (options.json) {
        print(json);
    } else if (options.settings.mode == BenchMode::reuse) {
        print_reuse(json);
    } else {
        print_bench(json);
    }
    if (!options.csv.empty()) {  // if this fails, the result is printed already
        std::ostringstream rows;
        write_csv(rows, json["runs"]);
        write_whole(options.csv, rows.str());
    }
    if (!options.svg.empty()) write_whole(options.svg, reuse_picture(json));
}

}  // namespace

void add_bench(CLI::App& app, Command& run) {
    auto options = std::make_shared<BenchOptions>();
    BenchSettings& settings = options->settings;
    CLI::App& command = *app.add_subcommand("bench", "Measure how fast this machine evaluates a model, and what reuse saves");
    const auto count = [&](const char* name, std::size_t& value, std::uint64_t least, const char* meaning,
                           std::uint64_t most = most_count) {
        command.add_option(name, value, meaning)->transform(at_least(least, most))->capture_default_str();
    };
    const auto counts = [&](const char* name, std::vector<std::size_t>& values, std::uint64_t least, const char* meaning) {
        return command.add_option(name, values, meaning)->delimiter(',')->transform(at_least(least))->type_name("N,N,...");
    };
    command
        .add_option(
            "--mode", settings.mode,
            "machine: the most that it can do; prefill: tokens at once; decode: tokens one by one; step: one "
            "retrieval; loop: the paper's run-time test, a new passage every 16 tokens; reuse: what reuse saves, against "
            "history, stride, passage and k; stored: what storing a passage costs, and what it saves; schedule: a generation "
            "under "
            "each --schedule")
        ->transform(one_of(modes))
        ->type_name("MODE")
        ->default_str("prefill");
    counts("--m", settings.m, 1, "prefill: tokens at once")->capture_default_str();
    counts(
        "--context", settings.contexts, 0,
        "prefill, decode, step: tokens in the cache; by default 0, 512, 1024; schedule: tokens of the prompt; by default 256");
    count("--steps", settings.steps, 1, "decode, schedule: tokens");
    command
        .add_option("--layout", settings.layouts,
                    "step, loop, schedule: aside (passages are new), aside-stored (they were evaluated before), append, "
                    "prepend or recompute "
                    "(append, nothing reused)")
        ->delimiter(',')
        ->transform(one_of(layouts))
        ->type_name("LAYOUT,...")
        ->default_str("aside-stored,aside,append,prepend");
    constexpr std::uint64_t longest = 1 << 24;  // all its retrievals are counted at once
    count("--init", settings.init, 1, "loop: tokens of the text at the start", longest);
    count("--length", settings.length, 2, "loop: tokens of text and passage at the end", longest);
    command.add_option("--sample", settings.samples, "loop: time N retrievals, evenly spaced, and interpolate the others")
        ->transform(at_least(1))
        ->type_name("N");
    counts("--passage", settings.passages, 1,
           "reuse, stored, schedule: tokens of a passage; by default 32, 64, ..., 512; 32, 128, 512; and 128");
    add_repeated(command, "--schedule", settings.schedules,
                 "schedule: when to retrieve, as `generate --schedule` takes it; several times for several runs; by default "
                 "never, stride:16, backoff:16, entropy:3 and flare")
        ->type_name("SCHEDULE");
    command
        .add_option("--latency", settings.latency, "schedule: milliseconds that the retriever takes to find a random passage")
        ->check(number_from(0, 60000))
        ->type_name("MS")
        ->capture_default_str();
    const auto names = [&](const char* name, auto& values, const auto& known, const char* meaning) {
        return command.add_option(name, values, meaning)->delimiter(',')->transform(one_of(known));
    };
    names("--vary", settings.vary, reuse_axes, "reuse: which lengths take several values, while the others stay as they are")
        ->type_name("AXIS,...")
        ->default_str("history,stride,passage,k");
    counts("--history", settings.histories, 1, "reuse: tokens of the text; by default 256, 512, ..., 16384");
    counts("--stride", settings.strides, 1, "reuse: tokens from one retrieval to the next; by default 4, 8, ..., 128");
    counts("--k", settings.k, 1, "reuse: passages at each retrieval; by default 1, 2, 4, 8");
    names("--ways", settings.ways, reuse_way_names(),
          "reuse: where passages stand, and what is reused; the table explains them")
        ->type_name("WAY,...")
        ->default_str("append,prepend,sticky,recompute,aside,aside-stored,prefix-store");
    command.add_flag("--found-again", settings.found_again,
                     "reuse: each retrieval finds the passages of the last one; else all are new");
    command.add_flag("--miss", settings.miss,
                     "reuse: what is held differs in its first token, so that the same path finds nothing to reuse");
    auto* model = command
                      .add_option("--model", settings.model,
                                  "A GGUF file or a Hugging Face folder; by default the model that is part of this program")
                      ->type_name("FILE");
    settings.weights.add(command);
    add_shape(command, settings.shape, settings.dtype)->excludes(model)->excludes(command.get_option("--weights-cache"));
    command.add_option("--repetitions", settings.repetitions, "How often each run is timed; by default 3, in the mode loop 1")
        ->transform(at_least(1));
    command
        .add_option("--warmup", settings.warmup, "How often each runs before that, untimed; by default 1, in the mode loop 0")
        ->transform(at_least(0));
    add_cache(command, settings.cache);
    add_threads(command, settings.threads);
    count("--peak-memory", settings.peak_memory, 1,
          "MiB to read to measure the bandwidth of memory: many times what the caches hold");
    command.add_option("--csv", options->csv, "Also write the runs as comma-separated values")->type_name("FILE");
    command.add_option("--svg", options->svg, "reuse: also draw a picture")->type_name("FILE");
    add_json(command, options->json);
    command.footer(
        "Texts are random, and positions beyond the model's window count like others. The share of the peak compares the least "
        "operations or bytes that a run needs with the peaks that were measured beside it.\nExample:\n  flashback bench --mode "
        "prefill --m 16,144\n  flashback bench --mode schedule --schedule stride:16 --schedule entropy:3 --latency 20 --steps "
        "128");
    command.callback([options, &run, &command] {
        for (const auto& [name, of] : readers) {
            if (command.count(name) > 0 && !of.contains(options->settings.mode))
                throw CLI::ValidationError(name + not_read(options->settings.mode, of));
        }
        if (options->settings.mode == BenchMode::schedule) {
            std::vector<fb::RunTimeLayout>& places = options->settings.layouts;
            if (command.count("--layout") == 0) places = {fb::RunTimeLayout::append};
            if (std::ranges::find(places, fb::RunTimeLayout::aside_stored) != places.end()) {
                throw CLI::ValidationError(
                    "--layout: found aside-stored, expected aside: in this mode each query finds a passage of its own");
            }
        }
        run = [options] { bench_with(*options); };
    });
}

}  // namespace cli
