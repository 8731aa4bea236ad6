// What the policies cost by themselves: planning, schedules, and the whole loop over a model that costs nothing; each beside
// a baseline that does the same with nothing of the library.
#include "flashback/decoder/decoder.hpp"
#include "flashback/policy/any_policy.hpp"
#include "flashback/testing/null_model.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <numeric>
#include <vector>

#include <benchmark/benchmark.h>

using namespace flashback;

namespace {

constexpr std::size_t vocab = 64;
constexpr std::size_t passage_tokens = 128;
constexpr std::size_t stride = 16;
constexpr std::size_t new_tokens = 256;

TokenBuffer counting(std::size_t count) {
    TokenBuffer tokens(count);
    std::iota(tokens.begin(), tokens.end(), 0);
    return tokens;
}

/// Seconds of each of `count` things that an iteration does; printed as 120n and the like.
benchmark::Counter each_of(std::size_t count) {
    return {static_cast<double>(count), benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert};
}

/// One plan after a history of range(0) tokens, of which the last 16 are new.
template <class Layout>
void plan(benchmark::State& state) {
    const auto policies = Policies{}.layout(Layout{});
    const TokenBuffer history = counting(static_cast<std::size_t>(state.range(0)));
    const TokenBuffer passage = counting(passage_tokens);
    const std::array<Passage, 1> passages{Passage{.tokens = passage}};
    const std::array<TokenId, 1> head{1};
    PlanScratch held, scratch;
    plan_context(policies, {}, {head, passages, TokenSpan{history}.first(history.size() - stride)}, held);
    ContextPlan planned;
    for ([[maybe_unused]] auto _ : state) {
        planned = plan_context(policies, held.wanted, {head, passages, history}, scratch);
        benchmark::DoNotOptimize(planned);
        benchmark::ClobberMemory();
    }
    state.counters["keep"] = static_cast<double>(planned.keep);
    state.counters["feed"] = static_cast<double>(planned.feed.size());
}
BENCHMARK(plan<AppendPassages>)->RangeMultiplier(2)->Range(256, 4096);
BENCHMARK(plan<PrependPassages>)->RangeMultiplier(2)->Range(256, 4096);

/// The least that a plan can cost: the same tokens copied once, and compared from the front.
void plan_baseline(benchmark::State& state) {
    const TokenBuffer history = counting(static_cast<std::size_t>(state.range(0)));
    const TokenBuffer passage = counting(passage_tokens);
    TokenBuffer held = history, wanted(1 + history.size() + passage_tokens);
    held.resize(history.size() - stride);
    held.insert(held.begin(), 1);
    for ([[maybe_unused]] auto _ : state) {
        wanted[0] = 1;
        std::ranges::copy(history, wanted.begin() + 1);
        std::ranges::copy(passage, wanted.begin() + 1 + static_cast<std::ptrdiff_t>(history.size()));
        auto keep = std::ranges::mismatch(held, wanted).in1 - held.begin();
        benchmark::DoNotOptimize(keep);
        benchmark::ClobberMemory();
    }
}
BENCHMARK(plan_baseline)->RangeMultiplier(2)->Range(256, 4096);

/// 256 decisions of a schedule, in a text with a retrieval every 16 tokens.
template <class Schedule>
void decide(benchmark::State& state, const Schedule& chosen) {
    Schedule schedule = chosen;
    const TokenBuffer context(new_tokens, 5);
    std::vector<float> logits(vocab);
    for (std::size_t i = 0; i < vocab; ++i) logits[i] = static_cast<float>(i % 7);
    for ([[maybe_unused]] auto _ : state) {
        std::size_t retrievals = 0;
        for (std::size_t i = 1; i <= new_tokens; ++i) {
            StepView step{.context = TokenSpan{context}.first(i),
                          .prompt_tokens = 1,
                          .retrievals = retrievals,
                          .since_retrieval = i % stride,
                          .logits = logits};
            benchmark::DoNotOptimize(step);
            retrievals += Decision{schedule(step)}.retrieves();
        }
        benchmark::DoNotOptimize(retrievals);
    }
    state.counters["time/decision"] = each_of(new_tokens);
}
BENCHMARK_CAPTURE(decide, baseline, [](const StepView& step) { return step.since_retrieval == 0; });
BENCHMARK_CAPTURE(decide, never, Never{});
BENCHMARK_CAPTURE(decide, every_16, EveryNTokens{stride});
BENCHMARK_CAPTURE(decide, at_most_8_of_any_of_3,
                  at_most(8, any_of(EveryNTokens{stride}, Once{}, [](const StepView& s) { return s.last_token() == 3; })));
BENCHMARK_CAPTURE(decide, any_schedule_of_every_16, AnySchedule{EveryNTokens{stride}});
BENCHMARK_CAPTURE(decide, entropy_of_64_logits, [](const StepView& step) { return step.entropy() > 4; });

/// 256 tokens after a prompt of range(0).
template <class P>
void generate(benchmark::State& state, const P& policies) {
    const TokenBuffer prompt(static_cast<std::size_t>(state.range(0)), 1);
    testing::NullModel model{vocab};
    testing::NullRetriever retriever{passage_tokens, vocab};
    Decoder decoder{model, retriever, policies};
    Statistics stats;
    for ([[maybe_unused]] auto _ : state) stats = decoder.generate(prompt, {.max_tokens = new_tokens}).stats;
    state.counters["time/token"] = each_of(new_tokens);
    state.counters["evaluated/token"] = static_cast<double>(stats.counts.evaluated) / new_tokens;
}
constexpr auto every_16 = Policies{}.schedule(EveryNTokens{stride});
BENCHMARK_CAPTURE(generate, append, every_16.layout(AppendPassages{}))->RangeMultiplier(2)->Range(256, 4096);
BENCHMARK_CAPTURE(generate, prepend, every_16.layout(PrependPassages{}))->RangeMultiplier(2)->Range(256, 4096);
BENCHMARK_CAPTURE(generate, append_chosen_at_run_time, AnyPolicies{})->RangeMultiplier(16)->Range(256, 4096);
BENCHMARK_CAPTURE(generate, closed_book, Policies{}.schedule(Never{}))->RangeMultiplier(16)->Range(256, 4096);

/// The baseline of `generate`: the same model and sampler in a bare loop, without passages.
void generate_baseline(benchmark::State& state) {
    testing::NullModel model{vocab};
    TokenId token = 1;
    for ([[maybe_unused]] auto _ : state) {
        for (std::size_t i = 0; i < new_tokens; ++i) token = Greedy{}(model.evaluate({&token, 1}));
        benchmark::DoNotOptimize(token);
    }
    state.counters["time/token"] = each_of(new_tokens);
}
BENCHMARK(generate_baseline);

}  // namespace
