// The whole forward pass: prefill and decode of the 1.1 B shape with random weights, and decode of the default model.
//
// FLASHBACK_BENCH_LAYERS says how many layers of the 1.1 B shape are made; it has 22 of them, which take 4.2 GB. The default of
// 1 is for running this as a test. `op/s` counts 2 operations for each element of the matrices of the layers, as
// reference figures do: embedding, head and attention are not counted.
#include "flashback/core/thread_pool.hpp"
#include "flashback/model/load.hpp"
#include "flashback/model/session.hpp"
#include "flashback/policy/random.hpp"
#include "peak.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <map>
#include <memory>
#include <vector>

#include <benchmark/benchmark.h>

using namespace flashback;
using namespace flashback_bench;

namespace {

std::size_t layers() {
    const char* text = std::getenv("FLASHBACK_BENCH_LAYERS");
    return text ? std::max<std::size_t>(std::strtoul(text, nullptr, 10), 1) : 1;
}

simd::PackedMatrix random_matrix(std::size_t outputs, std::size_t inputs) {
    const auto most = static_cast<float>(std::sqrt(3.0 / static_cast<double>(inputs)));
    SplitMix64 random{outputs + inputs};
    return simd::PackedMatrix::of(DType::f32, outputs, inputs, [&](std::size_t, std::size_t) {
        return static_cast<float>(2 * random.uniform() - 1) * most;
    });
}

/// The shape of TinyLlama 1.1 B.
std::shared_ptr<const Transformer> shape_of_1b() {
    static const std::shared_ptr<const Transformer> model = [] {
        auto m = std::make_shared<Transformer>();
        TransformerConfig& c = m->config;
        c.vocab = 32000;
        c.window = 2048;
        c.layers = layers();
        c.width = 2048;
        c.heads = 32;
        c.kv_heads = 4;
        c.head_dim = 64;
        c.rotary_dim = 64;
        c.hidden = 5632;
        c.norm_epsilon = 1e-5f;
        m->embedding = random_matrix(c.vocab, c.width);  // also serves as the head
        for (std::size_t l = 0; l < c.layers; ++l) {
            m->layers.push_back({.attention_norm = std::vector<float>(c.width, 1.0f),
                                 .q = random_matrix(c.width, c.width),
                                 .k = random_matrix(c.kv_heads * c.head_dim, c.width),
                                 .v = random_matrix(c.kv_heads * c.head_dim, c.width),
                                 .output = random_matrix(c.width, c.width),
                                 .ffn_norm = std::vector<float>(c.width, 1.0f),
                                 .gate = random_matrix(c.hidden, c.width),
                                 .up = random_matrix(c.hidden, c.width),
                                 .down = random_matrix(c.width, c.hidden)});
        }
        m->output_norm.assign(c.width, 1.0f);
        for (std::size_t i = 0; i < c.rotary_dim / 2; ++i)
            m->rotary_frequencies.push_back(std::pow(c.rotary_base, -2.0 * static_cast<double>(i) / 64.0));
        return m;
    }();
    return model;
}

double elements_of_layers(const Transformer& model) {
    double elements = 0;
    for (const TransformerLayer& layer : model.layers) {
        for (const simd::PackedMatrix* w : {&layer.q, &layer.k, &layer.v, &layer.output, &layer.gate, &layer.up, &layer.down})
            elements += static_cast<double>(w->outputs() * w->inputs());
    }
    return elements;
}

/// Evaluates range(0) tokens behind range(1) others, with range(2) threads.
void evaluate(benchmark::State& state, const std::shared_ptr<const Transformer>& model) {
    const auto count = static_cast<std::size_t>(state.range(0));
    const auto before = static_cast<std::size_t>(state.range(1));
    const auto threads = static_cast<std::size_t>(state.range(2));
    ThreadPool pool{threads};
    Session session{model, {.piece = 512, .executor = pool}};
    SplitMix64 random{1};
    TokenBuffer tokens(before + count);
    for (TokenId& token : tokens) token = static_cast<TokenId>(random.below(session.vocab_size()));
    if (before > 0) session.evaluate(TokenSpan{tokens}.first(before));
    for ([[maybe_unused]] auto _ : state) {
        session.truncate(before);
        benchmark::DoNotOptimize(session.evaluate(TokenSpan{tokens}.subspan(before)).data());
    }
    using benchmark::Counter;
    state.counters["token/s"] = Counter(static_cast<double>(count), Counter::kIsIterationInvariantRate);
    state.counters["layers"] = static_cast<double>(model->config.layers);
    count_operations(state, 2 * elements_of_layers(*model) * static_cast<double>(count), threads);
    if (count == 1) {
        const double head = static_cast<double>(model->config.vocab * model->config.width);
        count_bytes(state, 4 * (elements_of_layers(*model) + head));
    }
}

void prefill_1b(benchmark::State& state) { evaluate(state, shape_of_1b()); }
BENCHMARK(prefill_1b)
    ->ArgNames({"tokens", "before", "threads"})
    ->ArgsProduct({{16, 144, 512}, {0}, {1, 2}})
    ->Args({16, 1024, 2})
    ->Args({144, 1024, 2})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);
void decode_1b(benchmark::State& state) { evaluate(state, shape_of_1b()); }
BENCHMARK(decode_1b)
    ->ArgNames({"tokens", "before", "threads"})
    ->ArgsProduct({{1}, {0, 512}, {1, 2}})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

std::shared_ptr<const Transformer> default_model() {
    static const std::shared_ptr<const Transformer> model = load_model(FLASHBACK_BENCH_MODEL);
    return model;
}
void default_model_prefill(benchmark::State& state) { evaluate(state, default_model()); }
BENCHMARK(default_model_prefill)
    ->ArgNames({"tokens", "before", "threads"})
    ->ArgsProduct({{16, 144, 256}, {0}, {1, 2}})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);
void default_model_decode(benchmark::State& state) { evaluate(state, default_model()); }
BENCHMARK(default_model_decode)
    ->ArgNames({"tokens", "before", "threads"})
    ->ArgsProduct({{1}, {0, 128, 255}, {1, 2}})
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

}  // namespace
