// A whole step of training: forward, backward, sum of gradients, AdamW; the default model of 5 million parameters.
//
// `op/s` counts what a step needs: for each token two operations a weight forward, two for the gradient of what enters, and two for
// that of the weight if it trains; attention over the keys that a token sees, twice forward and four times backward; nothing for
// what is computed again, for elementwise work and for the optimiser. FlashBack's examples predict 16 tokens: then only these need the
// head and, but for keys and values, the last block. `MB` is what the trainer holds. Two more benchmarks are beside Eigen's: the
// products of a feed-forward layer that take most of the time, forward and the gradient of the weights.
#include "flashback/core/random.hpp"
#include "flashback/core/thread_pool.hpp"
#include "flashback/data/shared_history.hpp"
#include "flashback/simd/gemm.hpp"
#include "flashback/train/initial_model.hpp"
#include "flashback/train/trainer.hpp"
#include "peak.hpp"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include <benchmark/benchmark.h>
#include <Eigen/Core>

using namespace flashback;
using namespace flashback_bench;

namespace {

constexpr std::size_t tokens = 512;
constexpr std::size_t batch_size = 8;
constexpr TokenId left = 4096;
constexpr TokenId right = 4097;

std::shared_ptr<const Transformer> default_shape() {
    static const std::shared_ptr<const Transformer> model = [] {
        TransformerConfig c;
        c.name = "5m";
        c.vocab = 4098;
        c.window = 512;
        c.layers = 6;
        c.width = 256;
        c.heads = 8;
        c.kv_heads = 4;
        c.head_dim = 32;
        c.rotary_dim = 32;
        c.hidden = 704;
        c.norm_epsilon = 1e-5f;
        return initial_transformer(c);
    }();
    return model;
}

/// What one example of `tokens` tokens needs, of which the last `predicted` are targets.
double operations(const TrainingTargets& targets, std::size_t predicted) {
    const TransformerConfig& c = default_shape()->config;
    const double passes = targets.all ? 3 : 2;
    double multiply_adds = passes * static_cast<double>(c.vocab * c.width * predicted);
    for (std::size_t l = 0; l < c.layers; ++l) {
        const std::size_t rows = l + 1 < c.layers ? tokens : std::min(tokens, predicted + 1);
        for (const LinearModule m : linear_modules) {
            const bool of_keys = m == LinearModule::k || m == LinearModule::v;
            const auto of = static_cast<double>(of_keys ? tokens : rows);
            multiply_adds += passes * of * static_cast<double>(c.inputs(m) * c.outputs(m));
            if (targets.lora.has(m))
                multiply_adds += 3 * of * static_cast<double>(targets.lora.rank * (c.inputs(m) + c.outputs(m)));
        }
        const std::size_t pairs = tokens * (tokens + 1) / 2 - (tokens - rows) * (tokens - rows + 1) / 2;
        multiply_adds += 6 * static_cast<double>(c.heads * c.head_dim * pairs);
    }
    return 2 * multiply_adds;
}

void step(benchmark::State& state, const TrainingTargets& targets, std::size_t predicted) {
    const auto threads = static_cast<std::size_t>(state.range(0));
    ThreadPool pool{threads};
    Trainer trainer{default_shape(), targets, {.cut_columns = {left, right}, .executor = pool}};
    SplitMix64 random{1};
    std::vector<TrainingExample> batch;
    for (std::size_t i = 0; i < batch_size; ++i) {
        TokenBuffer text(tokens);
        for (TokenId& token : text) token = static_cast<TokenId>(random.below(4096));
        batch.push_back(predict_last(text, predicted));
    }
    trainer.step(batch);  // makes the workspaces
    for ([[maybe_unused]] auto _ : state) benchmark::DoNotOptimize(trainer.step(batch).loss);
    count_operations(state, operations(targets, predicted) * static_cast<double>(batch_size), threads);
    state.counters["token/s"] =
        benchmark::Counter(static_cast<double>(tokens * batch_size), benchmark::Counter::kIsIterationInvariantRate);
    state.counters["MB"] = static_cast<double>(trainer.bytes()) / 1e6;
}

void train_all(benchmark::State& state) { step(state, {.all = true}, tokens - 1); }
BENCHMARK(train_all)->ArgName("threads")->Arg(1)->Arg(2)->UseRealTime()->Unit(benchmark::kMillisecond);

TrainingTargets lora(std::vector<LinearModule> modules, float dropout) {
    TrainingTargets targets;
    targets.lora.modules = std::move(modules);
    targets.lora.dropout = dropout;
    targets.markers = {left, right};
    return targets;
}
// The adapter of FlashBack: q and v, two marker rows, 16 tokens predicted.
void train_lora(benchmark::State& state) { step(state, lora({LinearModule::q, LinearModule::v}, 0.05f), 16); }
BENCHMARK(train_lora)->ArgName("threads")->Arg(1)->Arg(2)->UseRealTime()->Unit(benchmark::kMillisecond);
void train_lora_everywhere(benchmark::State& state) {
    step(state, lora({linear_modules.begin(), linear_modules.end()}, 0.05f), 16);
}
BENCHMARK(train_lora_everywhere)->ArgName("threads")->Arg(1)->Arg(2)->UseRealTime()->Unit(benchmark::kMillisecond);

// Strides of a text of 382 tokens, each with a passage of 128 and two markers: examples of their own, or branches of a text that some
// of them share.
void strides_of_text(benchmark::State& state) {
    const auto together = static_cast<std::size_t>(state.range(0));
    constexpr std::size_t stride = 16;
    constexpr std::size_t passage = 128;
    constexpr std::size_t shortest = 128;  // contexts, so that the shortest example has half a window
    constexpr std::size_t texts = 2;
    ThreadPool pool{texts};
    Trainer trainer{
        default_shape(), lora({LinearModule::q, LinearModule::v}, 0.05f), {.cut_columns = {left, right}, .executor = pool}};
    SplitMix64 random{1};
    const auto drawn = [&](std::size_t count) {
        TokenBuffer some(count);
        for (TokenId& token : some) token = static_cast<TokenId>(random.below(4096));
        return some;
    };
    std::vector<TrainingExample> batch;
    std::size_t targets = 0;
    for (std::size_t t = 0; t < texts; ++t) {
        const TokenBuffer text = drawn(tokens - passage - 2);
        std::vector<TrainingExample> of_text;
        for (std::size_t at = shortest; at + stride <= text.size(); at += stride) {
            TokenBuffer all{text.begin(), text.begin() + static_cast<std::ptrdiff_t>(at)};
            all.push_back(left);
            append(all, drawn(passage));
            all.push_back(right);
            append(all, TokenSpan{text}.subspan(at, stride));
            of_text.push_back(predict_last(std::move(all), stride));
            targets += stride;
        }
        for (std::size_t i = 0; together > 1 && i < of_text.size(); i += together)
            batch.push_back(share_history(std::span{of_text}.subspan(i, std::min(together, of_text.size() - i))));
        if (together == 1) batch.insert(batch.end(), of_text.begin(), of_text.end());
    }
    std::size_t evaluated = 0;
    for (const TrainingExample& example : batch) evaluated += example.tokens.size();
    trainer.step(batch);
    for ([[maybe_unused]] auto _ : state) benchmark::DoNotOptimize(trainer.step(batch).loss);
    state.counters["target/s"] =
        benchmark::Counter(static_cast<double>(targets), benchmark::Counter::kIsIterationInvariantRate);
    state.counters["tokens_per_target"] = static_cast<double>(evaluated) / static_cast<double>(targets);
    state.counters["MB"] = static_cast<double>(trainer.bytes()) / 1e6;
}

BENCHMARK(strides_of_text)
    ->ArgName("strides")
    ->Arg(1)
    ->Arg(2)
    ->Arg(4)
    ->Arg(8)
    ->Arg(15)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

constexpr std::size_t inputs = 256;
constexpr std::size_t outputs = 704;
constexpr std::size_t lanes = simd::panel_outputs;
constexpr auto product_operations = 2.0 * tokens * inputs * outputs;

AlignedBuffer<float> random_floats(std::size_t count) {
    SplitMix64 random{1};
    AlignedBuffer<float> values{count};
    for (std::size_t i = 0; i < count; ++i) values.data()[i] = static_cast<float>(random.below(1000)) / 1000 - 0.5f;
    return values;
}

void time_product(benchmark::State& state, const float* product, const auto& multiply) {
    for ([[maybe_unused]] auto _ : state) {
        multiply();
        benchmark::DoNotOptimize(product);
        benchmark::ClobberMemory();
    }
    count_operations(state, product_operations, 1);
}

void gemm_forward_kernel(benchmark::State& state) {
    const auto x = random_floats(tokens * inputs);
    const auto w = random_floats(inputs * outputs);
    AlignedBuffer<float> y{tokens * outputs};
    time_product(state, y.data(), [&] {
        simd::gemm({x.data(), inputs}, {w.data(), inputs * lanes, lanes}, {y.data(), lanes, outputs},
                   {tokens, outputs / lanes, inputs});
    });
}
BENCHMARK(gemm_forward_kernel)->Unit(benchmark::kMicrosecond);

void gemm_gradient_kernel(benchmark::State& state) {
    const auto x = random_floats(tokens * inputs);
    const auto dy = random_floats(tokens * outputs);
    AlignedBuffer<float> dw{inputs * outputs};
    time_product(state, dw.data(), [&] {
        simd::gemm({dy.data(), outputs, true}, {x.data(), lanes, inputs}, {dw.data(), lanes, inputs},
                   {outputs, inputs / lanes, tokens});
    });
}
BENCHMARK(gemm_gradient_kernel)->Unit(benchmark::kMicrosecond);

using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

void gemm_forward_eigen(benchmark::State& state) {
    const RowMajor x = RowMajor::Random(tokens, inputs);
    const RowMajor w = RowMajor::Random(outputs, inputs);
    RowMajor y{tokens, outputs};
    time_product(state, y.data(), [&] { y.noalias() = x * w.transpose(); });
}
BENCHMARK(gemm_forward_eigen)->Unit(benchmark::kMicrosecond);

void gemm_gradient_eigen(benchmark::State& state) {
    const RowMajor x = RowMajor::Random(tokens, inputs);
    const RowMajor dy = RowMajor::Random(tokens, outputs);
    RowMajor dw{outputs, inputs};
    time_product(state, dw.data(), [&] { dw.noalias() = dy.transpose() * x; });
}
BENCHMARK(gemm_gradient_eigen)->Unit(benchmark::kMicrosecond);

}  // namespace
