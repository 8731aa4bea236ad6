// Exact search among vectors: one query and 32 at once, for each element. `share_of_memory` is of the bytes that as many threads read from
// memory in this run, `share_of_peak` of their fused multiply-adds of f32.
//
// There are 200,000 vectors of dimension 384, a usual size of an embedding: 307 MB of f32.
#include "flashback/core/executor.hpp"
#include "flashback/core/random.hpp"
#include "flashback/core/thread_pool.hpp"
#include "flashback/dense/exact_index.hpp"
#include "flashback/dense/vector_store.hpp"
#include "flashback/measure/machine_peaks.hpp"
#include "peak.hpp"

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include <benchmark/benchmark.h>

using namespace flashback;
using namespace flashback_bench;

namespace {

constexpr std::size_t dimension = 384;
constexpr std::size_t vectors = 200000;
constexpr std::size_t best = 10;

std::vector<float> random_floats(std::size_t count, std::uint64_t seed) {
    SplitMix64 random{seed};
    std::vector<float> values(count);
    for (float& x : values) x = static_cast<float>(2 * random.uniform() - 1);
    return values;
}

const std::shared_ptr<const VectorStore>& stored(DType element) {
    static std::map<DType, std::shared_ptr<const VectorStore>> known;
    auto& store = known[element];
    if (!store) {
        auto made = std::make_shared<VectorStore>(dimension, VectorOptions{.element = element});
        constexpr std::size_t together = 1000;
        for (std::size_t i = 0; i < vectors; i += together) made->add(random_floats(together * dimension, i));
        store = made;
    }
    return store;
}

/// Bytes that so many threads read from memory in a second.
double memory_peak(std::size_t threads) {
    static std::map<std::size_t, double> known;
    if (!known.contains(threads)) {
        ThreadPool pool{threads};
        known[threads] = ReadStream{pool, PeakOptions{}.bytes}.measure(0.4);
    }
    return known[threads];
}

/// Arguments: queries, threads.
template <DType Element>
void search(benchmark::State& state) {
    using benchmark::Counter;
    const auto count = static_cast<std::size_t>(state.range(0));
    const auto threads = static_cast<std::size_t>(state.range(1));
    ThreadPool pool{threads};
    const ExactIndex index{stored(Element), pool};
    const std::vector<float> queries = random_floats(count * dimension, 1);
    for ([[maybe_unused]] auto _ : state) benchmark::DoNotOptimize(index.search_batch(queries, best).data());
    const auto bytes = static_cast<double>(vectors * index.vectors().row_bytes());
    count_bytes(state, bytes);
    state.counters["share_of_memory"] = Counter(bytes / memory_peak(threads), Counter::kIsIterationInvariantRate);
    count_operations(state, 2.0 * static_cast<double>(count * vectors * dimension), threads);
    state.counters["queries/s"] = Counter(static_cast<double>(count), Counter::kIsIterationInvariantRate);
}

void each_size(benchmark::internal::Benchmark* bench) {
    bench->ArgNames({"queries", "threads"})->ArgsProduct({{1, 32}, {1, 2}})->Unit(benchmark::kMillisecond)->UseRealTime();
}
BENCHMARK_TEMPLATE(search, DType::f32)->Apply(each_size);
BENCHMARK_TEMPLATE(search, DType::f16)->Apply(each_size);
BENCHMARK_TEMPLATE(search, DType::i8)->Apply(each_size);

}  // namespace
