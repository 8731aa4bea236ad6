// Every kernel beside its plain loop and, if it has one, Eigen's version. `share_of_peak` is of the fused multiply-adds that
// the same number of threads reached in this run.
#include "flashback/core/executor.hpp"
#include "flashback/core/random.hpp"
#include "flashback/kv/contiguous_kv_cache.hpp"
#include "flashback/simd/activation.hpp"
#include "flashback/simd/attention.hpp"
#include "flashback/simd/elementwise.hpp"
#include "flashback/simd/matmul.hpp"
#include "flashback/simd/norm.hpp"
#include "flashback/simd/softmax.hpp"
#include "flashback/testing/plain/attention.hpp"
#include "flashback/testing/plain/exp.hpp"
#include "flashback/testing/plain/matmul.hpp"
#include "flashback/testing/plain/rows.hpp"
#include "peak.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include <benchmark/benchmark.h>
#include <Eigen/Core>

using namespace flashback;
using namespace flashback_bench;

namespace {

using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

constexpr std::size_t outputs = 5632;
constexpr std::size_t inputs = 2048;
constexpr std::size_t matrices = 4;  // in turn: 176 MiB, so that at m = 1 the weights come from memory

float random_value(SplitMix64& random) { return static_cast<float>(2 * random.uniform() - 1); }

std::vector<float> random_row(std::size_t n, std::uint64_t seed) {
    SplitMix64 random{seed};
    std::vector<float> row(n);
    for (float& value : row) value = random_value(random);
    return row;
}

/// As many matrices in turn as make 176 MiB, so that at m = 1 the weights come from memory.
template <DType Type>
const std::vector<simd::PackedMatrix>& packed_weights() {
    static const std::vector<simd::PackedMatrix> all = [] {
        std::vector<simd::PackedMatrix> made;
        std::size_t bytes = 0;
        while (bytes < matrices * sizeof(float) * outputs * inputs) {
            const std::vector<float> row = random_row(inputs, made.size());
            made.push_back(simd::PackedMatrix::of(Type, outputs, inputs,
                                                  [&](std::size_t o, std::size_t k) { return row[(k + o) % inputs]; }));
            bytes += made.back().bytes();
        }
        return made;
    }();
    return all;
}

const std::vector<RowMajor>& eigen_weights() {
    static const std::vector<RowMajor> all = [] {
        std::vector<RowMajor> made;
        for (std::size_t i = 0; i < matrices; ++i) made.push_back(RowMajor::Random(outputs, inputs));
        return made;
    }();
    return all;
}

void count_product(benchmark::State& state, double bytes) {
    count_operations(state, 2.0 * static_cast<double>(state.range(0)) * outputs * inputs,
                     static_cast<std::size_t>(state.range(1)));
    count_bytes(state, bytes);
}

/// Arguments: rows, threads. Rows of activations are converted beforehand, as a transformer does once for several matrices.
template <DType Type>
void matmul_kernel(benchmark::State& state) {
    const auto rows = static_cast<std::size_t>(state.range(0));
    constexpr std::size_t x_stride = simd::row_stride(inputs);
    constexpr std::size_t y_stride = simd::row_stride(outputs);
    const std::vector<float> x = random_row(rows * x_stride, 2);
    simd::ActivationBuffer converted{rows, inputs};
    for (std::size_t r = 0; r < rows; ++r) converted.convert(simd::operand_of(Type), r, x.data() + r * x_stride, 0, inputs);
    const simd::Activations a = converted.view(x.data(), x_stride);
    AlignedBuffer<float> y{rows * y_stride};
    ThreadPool pool{static_cast<std::size_t>(state.range(1))};
    const ExecutorRef executor{pool};
    std::size_t turn = 0;
    const auto& weights = packed_weights<Type>();
    for ([[maybe_unused]] auto _ : state) {
        const simd::PackedMatrix& w = weights[turn++ % weights.size()];
        executor.run_ranges(w.panels(), 4, [&](std::size_t first, std::size_t last) {
            simd::matmul(w, {first, last}, a, rows, {y.data(), y_stride});
        });
        benchmark::DoNotOptimize(y.data());
        benchmark::ClobberMemory();
    }
    count_product(state, static_cast<double>(weights.front().bytes()));
}

/// The loops of testing::plain::dot over rows of f32.
void matmul_plain(benchmark::State& state) {
    const auto rows = static_cast<std::size_t>(state.range(0));
    static const std::vector<float> w = random_row(outputs * inputs, 1);
    const std::vector<float> x = random_row(rows * inputs, 2);
    std::vector<float> y(rows * outputs);
    for ([[maybe_unused]] auto _ : state) {
        for (std::size_t r = 0; r < rows; ++r) {
            for (std::size_t o = 0; o < outputs; ++o)
                y[r * outputs + o] = testing::plain::dot(w.data() + o * inputs, x.data() + r * inputs, inputs);
        }
        benchmark::DoNotOptimize(y.data());
        benchmark::ClobberMemory();
    }
    count_product(state, 4.0 * outputs * inputs);
}

void matmul_eigen(benchmark::State& state) {
    const Eigen::Index rows = state.range(0);
    const RowMajor x = RowMajor::Random(rows, inputs);
    RowMajor y{rows, static_cast<Eigen::Index>(outputs)};
    ThreadPool pool{static_cast<std::size_t>(state.range(1))};
    const ExecutorRef executor{pool};
    std::size_t turn = 0;
    const auto& weights = eigen_weights();
    for ([[maybe_unused]] auto _ : state) {
        const RowMajor& w = weights[turn++ % matrices];
        executor.run_ranges(outputs, 64, [&](std::size_t first, std::size_t last) {
            const auto begin = static_cast<Eigen::Index>(first);
            const auto count = static_cast<Eigen::Index>(last - first);
            y.middleCols(begin, count).noalias() = x * w.middleRows(begin, count).transpose();
        });
        benchmark::DoNotOptimize(y.data());
        benchmark::ClobberMemory();
    }
    count_product(state, 4.0 * outputs * inputs);
}

void products(benchmark::internal::Benchmark* b) {
    b->ArgNames({"m", "threads"})->ArgsProduct({{1, 16, 144, 512}, {1, 2}})->UseRealTime()->Unit(benchmark::kMillisecond);
}
BENCHMARK(matmul_kernel<DType::f32>)->Name("matmul_kernel_f32")->Apply(products);
BENCHMARK(matmul_kernel<DType::f16>)->Name("matmul_kernel_f16")->Apply(products);
BENCHMARK(matmul_kernel<DType::bf16>)->Name("matmul_kernel_bf16")->Apply(products);
BENCHMARK(matmul_kernel<DType::q8_0>)->Name("matmul_kernel_q8_0")->Apply(products);
BENCHMARK(matmul_kernel<DType::q4_0>)->Name("matmul_kernel_q4_0")->Apply(products);
BENCHMARK(matmul_plain)->ArgNames({"m", "threads"})->ArgsProduct({{1, 16}, {1}})->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(matmul_eigen)->Apply(products);
// What is between the sizes of the everyday: no step may be slow.
BENCHMARK(matmul_kernel<DType::f32>)
    ->Name("matmul_sweep_f32")
    ->ArgNames({"m", "threads"})
    ->ArgsProduct({{2, 3, 4, 5, 7, 8, 9, 12, 17, 24, 31, 32, 33, 48, 64}, {2}})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

/// A row of range(0) elements. `operations` counts the additions, multiplications, comparisons and divisions of an element.
template <class Call>
void row_kernel(benchmark::State& state, double operations, const Call& call) {
    const auto n = static_cast<std::size_t>(state.range(0));
    const std::vector<float> x = random_row(n, 3);
    const std::vector<float> a = random_row(n, 4);
    const std::vector<float> b = random_row(n, 5);
    std::vector<float> y(n);
    for ([[maybe_unused]] auto _ : state) {
        call(x.data(), a.data(), b.data(), n, y.data());
        benchmark::DoNotOptimize(y.data());
        benchmark::ClobberMemory();
    }
    count_operations(state, operations * static_cast<double>(n), 1);
    count_bytes(state, 8.0 * static_cast<double>(n));
}

using Row = Eigen::Map<const Eigen::ArrayXf>;
using OutRow = Eigen::Map<Eigen::ArrayXf>;
Eigen::Index index(std::size_t n) { return static_cast<Eigen::Index>(n); }

// An exponential is 22 operations, a division one.
constexpr double exp_operations = 22;

#define FLASHBACK_ROW_BENCHMARK(name, operations, n, ...)                                                                \
    void name(benchmark::State& state) {                                                                                 \
        row_kernel(state, operations,                                                                                    \
                   []([[maybe_unused]] const float* x, [[maybe_unused]] const float* a, [[maybe_unused]] const float* b, \
                      std::size_t count, float* y) { __VA_ARGS__; });                                                    \
    }                                                                                                                    \
    BENCHMARK(name)->Arg(n)

FLASHBACK_ROW_BENCHMARK(rms_norm_kernel, 4, 2048, simd::rms_norm(x, a, count, 1e-5f, y));
FLASHBACK_ROW_BENCHMARK(rms_norm_plain, 4, 2048, testing::plain::rms_norm(x, a, count, 1e-5f, y));
FLASHBACK_ROW_BENCHMARK(rms_norm_eigen, 4, 2048, const Row in(x, index(count));
                        OutRow(y, index(count)) = in * (1 / std::sqrt(in.square().mean() + 1e-5f)) * Row(a, index(count)));
FLASHBACK_ROW_BENCHMARK(layer_norm_kernel, 8, 2048, simd::layer_norm(x, a, b, count, 1e-5f, y));
FLASHBACK_ROW_BENCHMARK(layer_norm_plain, 8, 2048, testing::plain::layer_norm(x, a, b, count, 1e-5f, y));
FLASHBACK_ROW_BENCHMARK(layer_norm_eigen, 8, 2048, const Row in(x, index(count)); const float mean = in.mean();
                        const float scale = 1 / std::sqrt((in - mean).square().mean() + 1e-5f);
                        OutRow(y, index(count)) = (in - mean) * scale * Row(a, index(count)) + Row(b, index(count)));
FLASHBACK_ROW_BENCHMARK(softmax_kernel, exp_operations + 4, 2048, simd::softmax(x, count, y));
FLASHBACK_ROW_BENCHMARK(softmax_plain, exp_operations + 4, 2048, testing::plain::softmax(x, count, y));
FLASHBACK_ROW_BENCHMARK(softmax_eigen, exp_operations + 4, 2048, const Row in(x, index(count)); OutRow out(y, index(count));
                        out = (in - in.maxCoeff()).exp(); out /= out.sum());
FLASHBACK_ROW_BENCHMARK(exp_kernel, exp_operations, 2048, simd::exp(x, count, y));
FLASHBACK_ROW_BENCHMARK(exp_plain, exp_operations, 2048,
                        for (std::size_t i = 0; i < count; ++i) y[i] = testing::plain::exp(x[i]));
FLASHBACK_ROW_BENCHMARK(exp_eigen, exp_operations, 2048, OutRow(y, index(count)) = Row(x, index(count)).exp());
// These change a row in place; y starts as zeros, which cost what other numbers cost.
FLASHBACK_ROW_BENCHMARK(silu_times_kernel, exp_operations + 4, 5632, simd::silu_times(y, a, count));
FLASHBACK_ROW_BENCHMARK(silu_times_plain, exp_operations + 4, 5632, testing::plain::silu_times(y, a, count));
FLASHBACK_ROW_BENCHMARK(silu_times_eigen, exp_operations + 4, 5632, OutRow out(y, index(count));
                        out = out / (1 + (-out).exp()) * Row(a, index(count)));
FLASHBACK_ROW_BENCHMARK(gelu_kernel, exp_operations + 6, 5632, simd::gelu(y, count));
FLASHBACK_ROW_BENCHMARK(gelu_plain, exp_operations + 6, 5632, testing::plain::gelu(y, count));
FLASHBACK_ROW_BENCHMARK(relu_kernel, 1, 5632, simd::relu(y, count));
FLASHBACK_ROW_BENCHMARK(relu_plain, 1, 5632, testing::plain::relu(y, count));
FLASHBACK_ROW_BENCHMARK(add_kernel, 1, 2048, simd::add(y, a, count));
FLASHBACK_ROW_BENCHMARK(add_plain, 1, 2048, testing::plain::add(y, a, count));
FLASHBACK_ROW_BENCHMARK(rotate_pairs_kernel, 3, 64, simd::rotate_pairs(y, a, b, count / 2));
FLASHBACK_ROW_BENCHMARK(rotate_pairs_plain, 3, 64, testing::plain::rotate_pairs(y, a, b, count / 2));
FLASHBACK_ROW_BENCHMARK(rotate_halves_kernel, 3, 64, simd::rotate_halves(y, a, b, count / 2));
FLASHBACK_ROW_BENCHMARK(rotate_halves_plain, 3, 64, testing::plain::rotate_halves(y, a, b, count / 2));

constexpr std::size_t head_dim = 64;
constexpr std::size_t heads = 8;  // that share keys and values, at one position

template <class Element>
void count_attention(benchmark::State& state) {
    const auto positions = static_cast<double>(state.range(0));
    count_operations(state, positions * heads * (4.0 * head_dim + exp_operations + 3), 1);
    count_bytes(state, positions * head_dim * 2 * sizeof(Element));
}

/// One row of 8 heads that share their keys and values attends to range(0) positions.
template <class Element, class Attend>
void attention(benchmark::State& state, const Attend& attend) {
    const auto positions = static_cast<std::size_t>(state.range(0));
    constexpr DType element = std::is_same_v<Element, simd::Half> ? DType::f16 : DType::f32;
    ContiguousKVCache cache{{1, 1, head_dim, positions, element}};
    for (std::size_t p = 0; p < positions; ++p)
        cache.write(0, 0, p, random_row(head_dim, p).data(), random_row(head_dim, positions + p).data());
    const std::vector<float> q = random_row(heads * head_dim, 6);
    std::vector<float> out(heads * head_dim);
    for ([[maybe_unused]] auto _ : state) {
        attend(
            q.data(), [&](std::size_t t) { return cache.tile(0, 0, t); }, positions - 1, out.data());
        benchmark::DoNotOptimize(out.data());
        benchmark::ClobberMemory();
    }
    count_attention<Element>(state);
}

template <class Element>
void attention_kernel(benchmark::State& state) {
    attention<Element>(state, [](const float* q, const auto& tile, std::size_t position, float* out) {
        simd::AttentionQuery queries[heads];
        for (std::size_t h = 0; h < heads; ++h) queries[h] = {q + h * head_dim, out + h * head_dim, position};
        simd::attend<Element>(queries, tile, head_dim);
    });
}
/// Some rows of 8 heads that share their keys and values, the last of which attends to range(0) positions. Arguments: positions, rows.
void attention_rows(benchmark::State& state) {
    const auto positions = static_cast<std::size_t>(state.range(0));
    const auto rows = static_cast<std::size_t>(state.range(1));
    ContiguousKVCache cache{{1, 1, head_dim, positions, DType::f16}};
    for (std::size_t p = 0; p < positions; ++p)
        cache.write(0, 0, p, random_row(head_dim, p).data(), random_row(head_dim, positions + p).data());
    const auto tile = [&](std::size_t t) { return cache.tile(0, 0, t); };
    const std::vector<float> q = random_row(rows * heads * head_dim, 6);
    std::vector<float> out(rows * heads * head_dim);
    std::vector<simd::AttentionQuery> queries;
    for (std::size_t a = 0; a < rows * heads; ++a)
        queries.push_back({q.data() + a * head_dim, out.data() + a * head_dim, positions - rows + a / heads});
    for ([[maybe_unused]] auto _ : state) {
        for (std::size_t a = 0; a < queries.size(); a += simd::attention_queries) {
            const std::size_t count = std::min(simd::attention_queries, queries.size() - a);
            simd::attend<simd::Half>({queries.data() + a, count}, tile, head_dim);
        }
        benchmark::DoNotOptimize(out.data());
        benchmark::ClobberMemory();
    }
    const double pairs =
        static_cast<double>(rows * heads) * (static_cast<double>(positions) - static_cast<double>(rows - 1) / 2);
    count_operations(state, pairs * (4.0 * head_dim + exp_operations + 3), 1);
}
/// The same positions in three spans: a text, a passage of 128 tokens beside it, and the 16 newest tokens, which see both.
void attention_beside(benchmark::State& state) {
    constexpr std::size_t newest = 16;
    constexpr std::size_t passage = 128;
    attention<float>(state, [](const float* q, const auto& tile, std::size_t position, float* out) {
        simd::AttentionQuery queries[heads];
        for (std::size_t h = 0; h < heads; ++h) queries[h] = {q + h * head_dim, out + h * head_dim, newest - 1};
        const std::size_t text = position + 1 - passage - newest;
        const std::size_t text_tiles = (text + tile_positions - 1) / tile_positions;
        simd::attend<float>(queries, tile, head_dim, [&](const auto& visit) {
            visit(tile, text);
            visit([&](std::size_t t) { return tile(text_tiles + t); }, passage);
        });
    });
}
void attention_plain(benchmark::State& state) {
    attention<float>(state, [](const float* q, const auto& tile, std::size_t position, float* out) {
        for (std::size_t h = 0; h < heads; ++h)
            testing::plain::attend<float>(q + h * head_dim, tile, head_dim, position, out + h * head_dim);
    });
}
void attention_eigen(benchmark::State& state) {
    const RowMajor q = RowMajor::Random(heads, head_dim);
    const RowMajor k = RowMajor::Random(state.range(0), head_dim);
    const RowMajor v = RowMajor::Random(state.range(0), head_dim);
    RowMajor scores{static_cast<Eigen::Index>(heads), static_cast<Eigen::Index>(state.range(0))};
    RowMajor out{static_cast<Eigen::Index>(heads), static_cast<Eigen::Index>(head_dim)};
    for ([[maybe_unused]] auto _ : state) {
        scores.noalias() = q * k.transpose();
        for (Eigen::Index h = 0; h < scores.rows(); ++h) {
            auto row = scores.row(h).array();
            row = (row - row.maxCoeff()).exp();
            row /= row.sum();
        }
        out.noalias() = scores * v;
        benchmark::DoNotOptimize(out.data());
        benchmark::ClobberMemory();
    }
    count_attention<float>(state);
}
BENCHMARK(attention_kernel<float>)->Arg(64)->Arg(512)->Arg(4096);
BENCHMARK(attention_kernel<simd::Half>)->Arg(512)->Arg(4096)->Arg(16384);
BENCHMARK(attention_rows)
    ->ArgNames({"positions", "m"})
    ->ArgsProduct({{4096, 8192, 16384}, {1, 16, 144}})
    ->Unit(benchmark::kMillisecond);
BENCHMARK(attention_beside)->Arg(512)->Arg(4096);
BENCHMARK(attention_plain)->Arg(64)->Arg(512)->Arg(4096);
BENCHMARK(attention_eigen)->Arg(64)->Arg(512)->Arg(4096);

}  // namespace
