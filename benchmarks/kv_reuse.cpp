// What reuse is worth: 64 tokens after a history, on a small transformer with random weights.
#include "flashback/decoder/decoder.hpp"
#include "flashback/model/session.hpp"
#include "flashback/testing/null_model.hpp"
#include "support/random_model.hpp"

#include <benchmark/benchmark.h>

using namespace flashback;

namespace {

constexpr std::size_t vocab = 500;

template <class Layout, class Reuse>
void generate(benchmark::State& state) {
    constexpr std::size_t new_tokens = 64;
    const auto history = static_cast<std::size_t>(state.range(0));
    SplitMix64 random{1};
    const TokenBuffer prompt = flashback_test::random_tokens(random, history, vocab);
    Session session{flashback_test::random_model(
        {.layers = 2, .width = 64, .heads = 4, .kv_heads = 2, .head_dim = 16, .hidden = 128, .vocab = vocab, .window = 8192})};
    testing::NullRetriever retriever{128, vocab};
    Decoder decoder{session, retriever, Policies{}.layout(Layout{}).reuse(Reuse{})};
    Statistics stats;
    for ([[maybe_unused]] auto _ : state) {
        state.PauseTiming();
        session.truncate(0);
        session.evaluate(session.head());
        session.evaluate(prompt);  // what the text cost before does not belong to a retrieval
        state.ResumeTiming();
        stats = decoder.generate(prompt, {.max_tokens = new_tokens}).stats;
    }
    state.counters["evaluated/token"] = static_cast<double>(stats.counts.evaluated) / new_tokens;
    state.counters["reused"] = static_cast<double>(stats.counts.reused);
}
BENCHMARK(generate<AppendPassages, KeepCommonPrefix>)
    ->Name("append")
    ->RangeMultiplier(4)
    ->Range(256, 4096)
    ->Unit(benchmark::kMillisecond);
BENCHMARK(generate<PrependPassages, KeepCommonPrefix>)
    ->Name("prepend")
    ->RangeMultiplier(4)
    ->Range(256, 4096)
    ->Unit(benchmark::kMillisecond);
BENCHMARK(generate<AppendPassages, RecomputeAll>)
    ->Name("append_recomputed")
    ->RangeMultiplier(4)
    ->Range(256, 4096)
    ->Unit(benchmark::kMillisecond);

}  // namespace
