// What the policies cost by themselves: planning and the whole loop over a model that costs nothing.
#include "flashback/decoder/decoder.hpp"
#include "flashback/testing/null_model.hpp"

#include <array>
#include <numeric>

#include <benchmark/benchmark.h>

using namespace flashback;

namespace {

constexpr std::size_t vocab = 64;
constexpr std::size_t passage_tokens = 128;

TokenBuffer counting(std::size_t count) {
    TokenBuffer tokens(count);
    std::iota(tokens.begin(), tokens.end(), 0);
    return tokens;
}

/// One plan behind a history of range(0) tokens, of which the last 16 are new.
template <class Layout>
void plan(benchmark::State& state) {
    const auto policies = Policies{}.layout(Layout{});
    const TokenBuffer history = counting(static_cast<std::size_t>(state.range(0)));
    const TokenBuffer passage = counting(passage_tokens);
    const std::array<TokenSpan, 1> documents{passage};
    const std::array<TokenId, 1> head{1};
    PlanScratch held, scratch;
    plan_context(policies, {}, {head, documents, TokenSpan{history}.first(history.size() - 16)}, held);
    ContextPlan planned;
    for ([[maybe_unused]] auto _ : state) {
        planned = plan_context(policies, held.wanted, {head, documents, history}, scratch);
        benchmark::DoNotOptimize(planned);
    }
    state.counters["keep"] = static_cast<double>(planned.keep);
    state.counters["feed"] = static_cast<double>(planned.feed.size());
}
BENCHMARK(plan<AppendDocuments>)->RangeMultiplier(4)->Range(256, 4096);
BENCHMARK(plan<PrependDocuments>)->RangeMultiplier(4)->Range(256, 4096);

/// 256 tokens behind a prompt of range(0), a retrieval every 16; the baseline is the same model and sampler in a bare loop.
template <class Layout>
void loop(benchmark::State& state) {
    const TokenBuffer prompt(static_cast<std::size_t>(state.range(0)), 1);
    constexpr std::size_t new_tokens = 256;
    testing::NullModel model{vocab};
    testing::NullRetriever retriever{passage_tokens, vocab};
    Decoder decoder{model, retriever, Policies{}.layout(Layout{})};
    Statistics stats;
    for ([[maybe_unused]] auto _ : state) stats = decoder.generate(prompt, {.max_tokens = new_tokens}).stats;
    state.counters["time/token"] =
        benchmark::Counter(new_tokens, benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
    state.counters["evaluated/token"] = static_cast<double>(stats.counts.evaluated) / new_tokens;
}
BENCHMARK(loop<AppendDocuments>)->RangeMultiplier(4)->Range(256, 4096);
BENCHMARK(loop<PrependDocuments>)->RangeMultiplier(4)->Range(256, 4096);

void bare_loop(benchmark::State& state) {
    constexpr std::size_t new_tokens = 256;
    testing::NullModel model{vocab};
    TokenId token = 1;
    for ([[maybe_unused]] auto _ : state) {
        for (std::size_t i = 0; i < new_tokens; ++i) token = Greedy{}(model.evaluate({&token, 1}));
        benchmark::DoNotOptimize(token);
    }
    state.counters["time/token"] =
        benchmark::Counter(new_tokens, benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}
BENCHMARK(bare_loop);

}  // namespace
