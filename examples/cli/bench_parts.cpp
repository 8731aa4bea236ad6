#include "bench_parts.hpp"

#include "flashback/files/load.hpp"
#include "flashback/model/random_transformer.hpp"

#include <algorithm>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

namespace cli {

namespace fb = flashback;

namespace {

Json giga(std::optional<double> value) { return value ? Json(*value / 1e9) : Json(nullptr); }

}  // namespace

Json to_json(const fb::MachinePeaks& peaks) {
    return {{"threads", peaks.threads},
            {"f32_gops", giga(peaks.f32)},
            {"bf16_gops", giga(peaks.bf16)},
            {"int8_gops", giga(peaks.int8)},
            {"read_gbs", giga(peaks.read)}};
}

void add_speed(Json& run, std::vector<double> seconds, std::size_t tokens, double share_of_peak) {
    std::ranges::sort(seconds);
    const std::size_t half = seconds.size() / 2;
    const double median = seconds.size() % 2 == 1 ? seconds[half] : (seconds[half - 1] + seconds[half]) / 2;
    run["tokens_per_second"] = static_cast<double>(tokens) / seconds.front();
    run["median_tokens_per_second"] = static_cast<double>(tokens) / median;
    run["seconds"] = seconds.front();
    run["share_of_peak"] = share_of_peak;
}

fb::MachinePeaks peaks_of(fb::ExecutorRef executor, const BenchSettings& settings, double seconds) {
    try {
        return fb::measure_peaks(executor, {.seconds = seconds, .bytes = settings.peak_memory << 20});
    } catch (const std::bad_alloc&) {
        throw std::runtime_error("--peak-memory: there is no memory for " + std::to_string(settings.peak_memory) + " MiB");
    }
}

Json begin_run(const fb::Transformer& model, const fb::ModelCost& cost, fb::DType cache, std::size_t threads) {
    return {{"model", model.config.name},
            {"weights", fb::layout_of(cost.type).name},
            {"cache", fb::layout_of(cache).name},
            {"threads", threads}};
}

std::shared_ptr<const fb::Transformer> bench_model(const BenchSettings& settings, std::size_t window, fb::ThreadPool& pool,
                                                   bool cut) {
    // Beyond the positions that a model was trained for, its text means nothing, but takes the same time.
    if (settings.shape) {
        fb::TransformerConfig shape = *settings.shape;
        shape.window = std::max(shape.window, window);
        return fb::random_transformer(shape, settings.dtype, 1, pool);
    }
    const fb::ModelSource source = open_model(settings.model);
    auto model = load_weights(source, settings.weights.options(source, pool));
    auto& config = std::const_pointer_cast<fb::Transformer>(model)->config;  // nobody else has the model yet
    if (config.positions == fb::Positions::learned && window > config.window) {
        if (cut) return model;
        throw std::runtime_error("'" + settings.model + "' has a table of " + std::to_string(config.window) +
                                 " positions, but the longest run needs " + std::to_string(window) +
                                 ": expected less text and shorter passages");
    }
    config.window = std::max(config.window, window);
    return model;
}

}  // namespace cli
