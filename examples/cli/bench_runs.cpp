#include "bench_runs.hpp"

#include "bench_parts.hpp"
#include "engine.hpp"
#include "flashback/core/thread_pool.hpp"
#include "flashback/measure/machine_peaks.hpp"
#include "flashback/measure/model_cost.hpp"
#include "flashback/measure/run_time.hpp"
#include "flashback/measure/stored_passage.hpp"
#include "flashback/model/session.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <range/v3/view/cartesian_product.hpp>
#include <range/v3/view/zip.hpp>

namespace cli {
namespace {

namespace fb = flashback;

/// A new folder for temporary files, which goes with them.
class ScratchFolder {
public:
    ScratchFolder() {
        std::string name = (std::filesystem::temp_directory_path() / "flashback-bench-XXXXXX").string();
        if (::mkdtemp(name.data()) == nullptr)
            FLASHBACK_THROW(fb::ErrorCode::io, "cannot make a folder for temporary files like '", name,
                            "': ", std::strerror(errno));
        path_ = name;
    }
    ScratchFolder(const ScratchFolder&) = delete;
    ScratchFolder& operator=(const ScratchFolder&) = delete;
    ~ScratchFolder() {
        std::error_code ignored;  // what cannot be removed stays
        std::filesystem::remove_all(path_, ignored);
    }
    const std::filesystem::path& path() const { return path_; }

private:
    std::filesystem::path path_;
};

/// Everything that runs of a model share.
class Bench {
public:
    explicit Bench(const BenchSettings& settings)
        : settings_(settings),
          pool_(start_threads(settings.threads)),
          model_(bench_model(settings, window(), pool_)),
          peaks_(peaks_of(pool_, settings)),
          session_(session_of(model_, {.window = window(), .piece = 512, .executor = pool_, .cache = settings.cache},
                              std::make_shared<fb::BlockStore>(fb::BlockStoreOptions{.budget = std::size_t{2} << 30}))),
          cost_(fb::cost_of(*model_, session_.cache_element())) {}

    const fb::MachinePeaks& peaks() const { return peaks_; }

    Json prefill(std::size_t context, std::size_t m) {
        const auto runs = repeated([&] { return fb::time_prefill(session_, context, m); });
        Json run = begin();
        run.update({{"m", m}, {"context", context}});
        const double rate = static_cast<double>(m) * cost_.operations / best(runs).seconds();
        add_speed(run, seconds_of(runs), m, rate / cost_.product_peak(peaks_));
        run["gops"] = rate / 1e9;
        return run;
    }

    Json decode(std::size_t context) {
        const std::size_t steps = settings_.steps;
        const auto runs = repeated([&] { return fb::time_decode(session_, context, steps); });
        Json run = begin();
        run.update({{"context", context}, {"steps", steps}});
        const double mean_positions = static_cast<double>(context) + static_cast<double>(steps + 1) / 2;
        const double rate = static_cast<double>(steps) * cost_.decode_bytes(mean_positions) / best(runs).seconds();
        add_speed(run, seconds_of(runs), steps, rate / peaks_.read);
        run["gbs"] = rate / 1e9;
        return run;
    }

    /// The runs of all layouts at one context, or of the whole loop, and how they compare.
    std::vector<Json> step(std::size_t context) {
        const std::size_t decoded = options_.stride;
        return compared([&](fb::RunTimeLayout layout, Json& run) {
            run["context"] = context;
            return std::pair{repeated([&] { return fb::time_retrieval(session_, layout, context, decoded, options_); }),
                             std::vector{fb::lengths_of(layout, context, decoded, options_)}};
        });
    }
    std::vector<Json> loop() {
        return compared([&](fb::RunTimeLayout layout, Json& run) {
            const auto retrievals = fb::retrievals_of(layout, settings_.init, settings_.length, options_);
            run.update({{"init", settings_.init}, {"length", settings_.length}, {"retrievals", retrievals.size()}});
            // How many retrievals were timed, while the others are interpolated; null if all were.
            run["sampled_retrievals"] = nullptr;
            if (settings_.samples) run["sampled_retrievals"] = 1 + std::min(*settings_.samples, retrievals.size() - 1);
            return std::pair{repeated([&] {
                                 if (!settings_.samples)
                                     return fb::time_loop(session_, layout, settings_.init, settings_.length, options_);
                                 return fb::sample_loop(session_, layout, settings_.init, settings_.length, *settings_.samples,
                                                        options_);
                             }),
                             retrievals};
        });
    }

    /// What storing a passage costs and saves.
    Json stored(std::size_t tokens, fb::BlockElement element) {
        const ScratchFolder folder;
        fb::SplitMix64 random{1};
        std::vector<fb::TokenId> passage(tokens);
        for (fb::TokenId& token : passage) token = static_cast<fb::TokenId>(random.below(session_.vocab_size()));
        session_.truncate(0);
        if (!session_.head().empty()) session_.evaluate(session_.head());
        const fb::StoredPassage found =
            fb::time_stored_passage(session_, passage, element, folder.path() / "passage", settings_.repetitions.value_or(3));
        Json run = begin();
        run.update({{"passage_tokens", tokens}, {"element", fb::name_of(element)}, {"bytes", found.bytes}});
        const double rate = static_cast<double>(tokens) * cost_.operations / found.evaluate_seconds;
        add_speed(run, found.evaluations, tokens, rate / cost_.product_peak(peaks_));
        run.update({{"keep_seconds", found.keep_seconds},
                    {"find_seconds", found.find_seconds},
                    {"file_seconds", found.file_seconds},
                    {"break_even_uses", nullptr},
                    {"break_even_mbs", found.break_even_rate() / 1e6}});
        if (std::isfinite(found.break_even_uses())) run["break_even_uses"] = found.break_even_uses();
        return run;
    }

private:
    /// The positions that the longest run needs.
    std::size_t window() const {
        switch (settings_.mode) {
            case BenchMode::prefill: return std::ranges::max(settings_.contexts) + std::ranges::max(settings_.m);
            case BenchMode::decode: return std::ranges::max(settings_.contexts) + settings_.steps;
            case BenchMode::step: return std::ranges::max(settings_.contexts) + options_.passage + options_.stride;
            case BenchMode::loop: return std::max(settings_.length, settings_.init + options_.passage + 1);
            case BenchMode::stored: return 1 + std::ranges::max(settings_.passages);  // and BOS
            case BenchMode::reuse:
            case BenchMode::schedule:
            case BenchMode::machine: break;
        }
        return 1;
    }

    Json begin() const { return begin_run(*model_, cost_, session_.cache_element(), settings_.threads); }

    /// Repetitions of a measurement. One that takes long needs no warm-up: then the run for that counts, too.
    template <class Measure>
    std::vector<fb::RunTime> repeated(const Measure& measure) const {
        constexpr double long_seconds = 5;
        const bool once = settings_.mode == BenchMode::loop;
        const std::size_t repetitions = settings_.repetitions.value_or(once ? 1 : 3);
        std::vector<fb::RunTime> runs;
        for (std::size_t i = settings_.warmup.value_or(once ? 0 : 1); i > 0 && runs.empty(); --i) {
            const fb::RunTime run = measure();
            if (run.seconds() >= long_seconds) runs.push_back(run);
        }
        while (runs.size() < repetitions) runs.push_back(measure());
        return runs;
    }

    static std::vector<double> seconds_of(const std::vector<fb::RunTime>& runs) {
        std::vector<double> seconds;
        seconds.reserve(runs.size());
        for (const fb::RunTime& run : runs) seconds.push_back(run.seconds());
        return seconds;
    }
    static const fb::RunTime& best(const std::vector<fb::RunTime>& runs) {
        return *std::ranges::min_element(runs, {}, &fb::RunTime::seconds);
    }

    template <class Measure>
    std::vector<Json> compared(const Measure& measure) {
        std::vector<Json> found;
        std::vector<fb::RunTime> fastest;
        for (const fb::RunTimeLayout layout : settings_.layouts) {
            Json run = begin();
            run["layout"] = fb::to_string(layout);
            const auto measured = measure(layout, run);
            const std::vector<fb::RunTime>& runs = measured.first;
            const fb::RunTime& one = fastest.emplace_back(best(runs));
            const double least = fb::least_seconds(measured.second, cost_, peaks_);
            run.update({{"passage", options_.passage},
                        {"stride", options_.stride},
                        {"evaluated", one.evaluated()},
                        {"reused", one.reused},
                        {"prefill_tokens", one.prefill_tokens},
                        {"decode_tokens", one.decode_tokens}});
            // A step is a stride of text; in a loop each evaluation gave a token.
            const std::size_t text = settings_.mode == BenchMode::step ? one.decode_tokens : one.retrievals + one.decode_tokens;
            add_speed(run, seconds_of(runs), text, least / one.seconds());
            run.update({{"prefill_seconds", one.prefill_seconds}, {"decode_seconds", one.decode_seconds}});
            found.push_back(std::move(run));
        }
        compare(found, fastest);
        return found;
    }

    /// Adds how many times faster than the prepended one each layout was, and what its counts predict: c, the cost of a
    /// decoded token in prefilled ones, is that of the appended run, if there is one.
    void compare(std::vector<Json>& found, const std::vector<fb::RunTime>& fastest) const {
        const auto find = [&](fb::RunTimeLayout layout) -> const fb::RunTime* {
            const auto it = std::ranges::find(settings_.layouts, layout);
            return it == settings_.layouts.end() ? nullptr : &fastest[static_cast<std::size_t>(it - settings_.layouts.begin())];
        };
        const fb::RunTime* append = find(fb::RunTimeLayout::append);
        const fb::RunTime* prepend = find(fb::RunTimeLayout::prepend);
        for (auto&& [run, time] : ranges::views::zip(found, fastest)) {
            const double ratio = (append ? *append : time).cost_ratio();
            run["cost_ratio"] = ratio;
            run["speedup_over_prepend"] = nullptr;
            run["predicted_speedup_over_prepend"] = nullptr;
            if (!prepend) continue;
            run["speedup_over_prepend"] = prepend->seconds() / time.seconds();
            run["predicted_speedup_over_prepend"] = fb::predicted_speedup(*prepend, time, ratio);
        }
    }

    const BenchSettings& settings_;
    fb::RunTimeOptions options_;
    fb::ThreadPool pool_;
    std::shared_ptr<const fb::Transformer> model_;
    fb::MachinePeaks peaks_;
    fb::Session session_;
    fb::ModelCost cost_;
};

/// 1, 2, 4, ... and the most.
std::vector<std::size_t> thread_counts(std::size_t most) {
    std::vector<std::size_t> counts;
    for (std::size_t n = 1; n < most; n *= 2) counts.push_back(n);
    counts.push_back(most);
    return counts;
}

Json bench_machine(const BenchSettings& settings) {
    Json runs = Json::array();
    Json last;
    const double seconds = 0.2 * static_cast<double>(settings.repetitions.value_or(3));
    for (const std::size_t threads : thread_counts(settings.threads)) {
        fb::ThreadPool pool = start_threads(threads);
        last = to_json(peaks_of(pool, settings, seconds));
        Json run = last;
        // There are no tokens here; the fields are those of every mode.
        for (const char* name : {"tokens_per_second", "median_tokens_per_second"}) run[name] = nullptr;
        run["seconds"] = seconds;
        run["share_of_peak"] = nullptr;
        runs.push_back(std::move(run));
    }
    return {{"mode", "machine"}, {"runs", runs}, {"peaks", last}};
}

}  // namespace

Json bench(const BenchSettings& given) {
    if (given.mode == BenchMode::machine) return bench_machine(given);
    if (given.mode == BenchMode::reuse) return bench_reuse(given);
    if (given.mode == BenchMode::schedule) return bench_schedule(given);
    BenchSettings settings = given;
    if (settings.passages.empty()) settings.passages = {32, 128, 512};
    if (settings.contexts.empty()) {
        settings.contexts = {settings.mode == BenchMode::prefill ? 0u : settings.mode == BenchMode::decode ? 512u : 1024u};
    }
    if (settings.mode == BenchMode::loop)  // a loop that generates nothing is refused before anything is loaded
        static_cast<void>(fb::retrievals_of(settings.layouts.front(), settings.init, settings.length));
    Bench bench{settings};
    Json runs = Json::array();
    const auto add = [&](const std::vector<Json>& some) {
        for (const Json& run : some) runs.push_back(run);
    };
    std::string_view mode;
    switch (settings.mode) {
        case BenchMode::prefill:
            mode = "prefill";
            for (const auto& [context, m] : ranges::views::cartesian_product(settings.contexts, settings.m))
                runs.push_back(bench.prefill(context, m));
            break;
        case BenchMode::decode:
            mode = "decode";
            for (const std::size_t context : settings.contexts) runs.push_back(bench.decode(context));
            break;
        case BenchMode::step:
            mode = "step";
            for (const std::size_t context : settings.contexts) add(bench.step(context));
            break;
        case BenchMode::loop:
            mode = "loop";
            add(bench.loop());
            break;
        case BenchMode::stored: {
            mode = "stored";
            const std::array all{fb::BlockElement::as_evaluated, fb::BlockElement::f16, fb::BlockElement::int8};
            for (const auto& [tokens, element] : ranges::views::cartesian_product(settings.passages, all))
                runs.push_back(bench.stored(tokens, element));
            break;
        }
        case BenchMode::reuse:
        case BenchMode::schedule:
        case BenchMode::machine: break;
    }
    return {{"mode", mode}, {"runs", runs}, {"peaks", to_json(bench.peaks())}};
}

}  // namespace cli
