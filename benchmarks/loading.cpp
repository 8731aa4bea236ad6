// From the name of a model file to the logits behind the first token: repacked, and with a file of repacked weights, mapped or copied.
//
// FLASHBACK_BENCH_GGUF names the model file, and the repacked weights are written beside it. Without it a small random model is
// loaded, whose figures say nothing. `bench_loading --write llama2-7b:q4_0 FILE` writes a random model of a known shape; of the
// types that are written, random weights have f32, bf16, q8_0 and q4_0. Files are in the system's memory when they are read: each
// case loads once before it is measured.
#include "flashback/core/error.hpp"
#include "flashback/core/thread_pool.hpp"
#include "flashback/files/load.hpp"
#include "flashback/files/weights_cache.hpp"
#include "flashback/files/write_model.hpp"
#include "flashback/model/random_transformer.hpp"
#include "flashback/model/session.hpp"
#include "support/temporary_folder.hpp"

#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <string>
#include <string_view>

#include <benchmark/benchmark.h>

using namespace flashback;

namespace {

/// Writes a random model whose shape and type are named as the tool names them.
void write_random(std::string_view name, const std::filesystem::path& to) {
    const std::size_t colon = name.find(':');
    auto shape = shape_of(name.substr(0, colon));
    if (!shape || colon == name.npos) FLASHBACK_THROW(ErrorCode::contract, "there is no shape ", name);
    for (const DType type : {DType::f32, DType::bf16, DType::q8_0, DType::q4_0}) {
        std::string lower{layout_of(type).name};
        for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
        if (lower != name.substr(colon + 1)) continue;
        ThreadPool pool{2};
        write_model(to, *random_transformer(*shape, type, 1, pool), nullptr, type);
        return;
    }
    FLASHBACK_THROW(ErrorCode::contract, "there is no type ", name.substr(colon + 1));
}

const std::filesystem::path& model_file() {
    static const flashback_test::TemporaryFolder folder;
    static const std::filesystem::path file = [] {
        if (const char* given = std::getenv("FLASHBACK_BENCH_GGUF")) return std::filesystem::path{given};
        TransformerConfig c = *shape_of("tinyllama-1.1b");
        c.layers = 1;
        c.vocab = 256;
        const auto small = folder.path() / "small.gguf";
        write_model(small, *random_transformer(c, DType::q4_0), nullptr, DType::q4_0);
        return small;
    }();
    return file;
}

double seconds_since(std::chrono::steady_clock::time_point begin) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

enum Way : int { repacked, mapped, copied, verified };

/// Loads with range(1) threads in the way range(0), and evaluates one token.
void first_token(benchmark::State& state) {
    const auto way = static_cast<Way>(state.range(0));
    LoadOptions options;
    if (way != repacked) options.weights_cache = weights_cache_beside(model_file());
    if (way == copied) options.cache_access = FileAccess::copy;
    options.verify_cache = way == verified;
    ThreadPool pool{static_cast<std::size_t>(state.range(1))};
    options.executor = pool;
    load_model(model_file(), options);
    double loading = 0;
    double evaluating = 0;
    double decoding = 0;
    for ([[maybe_unused]] auto _ : state) {
        const auto begin = std::chrono::steady_clock::now();
        const auto model = load_model(model_file(), options);
        const double loaded = seconds_since(begin);
        Session session{model, {.window = 64, .executor = pool}};
        benchmark::DoNotOptimize(session.evaluate(TokenBuffer{1}).data());
        const double all = seconds_since(begin);
        loading += loaded;
        evaluating += all - loaded;
        state.SetIterationTime(all);
        const auto later = std::chrono::steady_clock::now();
        for (int i = 0; i < 8; ++i) benchmark::DoNotOptimize(session.evaluate(TokenBuffer{1}).data());
        decoding += seconds_since(later) / 8;
        if (!model->notes.empty()) state.SkipWithError(model->notes.front().c_str());
    }
    using benchmark::Counter;
    state.counters["load_s"] = Counter(loading, Counter::kAvgIterations);
    state.counters["evaluate_s"] = Counter(evaluating, Counter::kAvgIterations);
    state.counters["next_token_s"] = Counter(decoding, Counter::kAvgIterations);
    const char* const names[]{"repacked", "mapped", "copied", "mapped, verified"};
    state.SetLabel(names[way]);
}
BENCHMARK(first_token)
    ->ArgNames({"way", "threads"})
    ->ArgsProduct({{repacked, mapped, copied, verified}, {1, 2}})
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace

int main(int count, char** arguments) {
    if (count == 4 && std::string_view{arguments[1]} == "--write") {
        try {
            write_random(arguments[2], arguments[3]);
        } catch (const std::exception& error) {
            std::fprintf(stderr, "bench_loading: %s\n", error.what());
            return 1;
        }
        return 0;
    }
    benchmark::Initialize(&count, arguments);
    if (benchmark::ReportUnrecognizedArguments(count, arguments)) return 1;
    benchmark::RunSpecifiedBenchmarks();
}
