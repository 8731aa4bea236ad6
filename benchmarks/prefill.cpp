// The whole forward pass: prefill and decode of the 1.1 B shape with random weights, and decode of the default model.
//
// FLASHBACK_BENCH_LAYERS says how many layers of the 1.1 B shape are made (shape_of_1b.hpp). `op/s` counts 2 operations for each element of the matrices of the layers, as reference
// figures do: embedding, head and attention are not counted.
#include "flashback/core/random.hpp"
#include "flashback/core/thread_pool.hpp"
#include "flashback/files/load.hpp"
#include "flashback/measure/model_cost.hpp"
#include "flashback/model/session.hpp"
#include "peak.hpp"
#include "shape_of_1b.hpp"

#include <algorithm>
#include <cstddef>
#include <memory>

#include <benchmark/benchmark.h>

using namespace flashback;
using namespace flashback_bench;

namespace {

/// Evaluates range(0) tokens after range(1) others, with range(2) threads.
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
    const ModelCost cost = cost_of(*model);
    count_operations(state, cost.operations * static_cast<double>(count), threads);
    if (count == 1) count_bytes(state, cost.decode_bytes(static_cast<double>(before + 1)));
}

void evaluate_1b(benchmark::State& state) {
    evaluate(state, shape_of_1b<DType::f32>());
    label_narrow(state);
}
void prefill_1b(benchmark::State& state) { evaluate_1b(state); }
BENCHMARK(prefill_1b)
    ->ArgNames({"tokens", "before", "threads"})
    ->ArgsProduct({{16, 144, 512}, {0}, {1, 2}})
    ->Args({16, 1024, 2})
    ->Args({144, 1024, 2})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);
void decode_1b(benchmark::State& state) { evaluate_1b(state); }
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
