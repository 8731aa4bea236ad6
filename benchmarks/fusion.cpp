// What k passages cost if each has a branch of its own (MeanOfLogits): seconds and evaluated tokens for each generated token, a retrieval
// every 16 tokens included, after a history of 2,048 tokens. Every passage is new, of 128 tokens.
//
// FLASHBACK_BENCH_LAYERS as in shape_of_1b.hpp: all 22 for the figures of benchmarks/README.md. In front of the text the history is evaluated
// for each branch, so that row is run with one layer only.
#include "flashback/core/random.hpp"
#include "flashback/core/thread_pool.hpp"
#include "flashback/decoder/decoder.hpp"
#include "flashback/kv/block_store.hpp"
#include "flashback/kv/paged_kv_cache.hpp"
#include "flashback/model/session.hpp"
#include "flashback/policy/any_policy.hpp"
#include "shape_of_1b.hpp"

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include <benchmark/benchmark.h>

using namespace flashback;
using namespace flashback_bench;

namespace {

constexpr std::size_t history = 2048;
constexpr std::size_t stride = 16;
constexpr std::size_t passage_tokens = 128;

TokenBuffer random_tokens(SplitMix64& random, std::size_t count) {
    TokenBuffer tokens(count);
    for (TokenId& token : tokens) token = static_cast<TokenId>(3 + random.below(30000));
    return tokens;
}

/// Gives passages that nobody has seen; or always the same ones.
struct Passages {
    SplitMix64 random{5};
    bool same = false;
    std::vector<TokenBuffer> tokens = {};
    std::vector<Passage> found = {};

    std::span<const Passage> retrieve(const Query& /*query*/, std::size_t k) {
        if (!same || tokens.size() != k) {
            tokens.clear();
            for (std::size_t i = 0; i < k; ++i) tokens.push_back(random_tokens(random, passage_tokens));
        }
        found.clear();
        for (const TokenBuffer& passage : tokens) found.push_back({.tokens = passage, .score = 1});
        return found;
    }
};

/// One retrieval and a stride, again and again behind the same history. range(0): passages
void fused(benchmark::State& state, const AnyLayout& layout, bool same) {
    ThreadPool pool{2};
    const auto store = std::make_shared<PagedBlockStore>(BlockStoreOptions{.budget = std::size_t{1} << 30});
    PagedSession session{shape_of_1b<DType::bf16, 4096>(), {.executor = pool}, store};
    SplitMix64 random{6};
    const TokenBuffer prompt = random_tokens(random, history);
    Passages passages;
    passages.same = same;
    const auto policies = Policies{}.schedule(EveryNTokens{stride}).layout(layout).fusion(MeanOfLogits{});
    Decoder decoder{session, passages, policies};
    const GenerateOptions options{
        .max_tokens = stride, .passages = static_cast<std::size_t>(state.range(0)), .ignore_eos = true};
    decoder.generate(prompt, options);
    std::size_t evaluated = 0;
    for ([[maybe_unused]] auto _ : state) evaluated = decoder.generate(prompt, options).stats.counts.evaluated;
    using benchmark::Counter;
    state.counters["s/token"] = Counter(stride, Counter::kIsIterationInvariantRate | Counter::kInvert);
    state.counters["evaluated/token"] = static_cast<double>(evaluated) / stride;
    state.counters["layers"] = static_cast<double>(layers_of_1b());
    label_narrow(state);
}

void append(benchmark::State& state) { fused(state, AnyLayout{AppendPassages{}}, false); }
void aside_new(benchmark::State& state) { fused(state, AnyLayout{PassagesAside{}}, false); }
void aside_stored(benchmark::State& state) { fused(state, AnyLayout{PassagesAside{}}, true); }
void prepend(benchmark::State& state) {
    if (layers_of_1b() > 1)
        return state.SkipWithError("run with FLASHBACK_BENCH_LAYERS=1: it evaluates the history for each passage");
    fused(state, AnyLayout{PrependPassages{}}, false);
}
BENCHMARK(append)->ArgName("k")->Arg(1)->Arg(2)->Arg(4)->Arg(8)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(aside_new)->ArgName("k")->Arg(1)->Arg(4)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(aside_stored)->ArgName("k")->Arg(1)->Arg(4)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(prepend)->ArgName("k")->Arg(1)->Arg(4)->Unit(benchmark::kMillisecond)->UseRealTime()->Iterations(1);

}  // namespace
