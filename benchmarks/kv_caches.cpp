// What a KV cache does besides being attended to: append, cut, fork, copy on write, save and restore, and several sessions in one pass. The
// bytes a second of memcpy stand in the same run.
//
// FLASHBACK_BENCH_LAYERS as in shape_of_1b.hpp: evaluate_each needs all 22 for the figures of benchmarks/README.md.
#include "flashback/core/random.hpp"
#include "flashback/core/thread_pool.hpp"
#include "flashback/kv/contiguous_kv_cache.hpp"
#include "flashback/kv/kv_bytes.hpp"
#include "flashback/kv/kv_state.hpp"
#include "flashback/kv/paged_kv_cache.hpp"
#include "flashback/kv/prefix_store.hpp"
#include "flashback/model/session.hpp"
#include "peak.hpp"
#include "shape_of_1b.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include <benchmark/benchmark.h>

using namespace flashback;
using namespace flashback_bench;

namespace {

/// The cache of the 1.1 B shape: 45 KB a position in f32.
KVShape small_cache(DType element, std::size_t positions) {
    return {.layers = 22, .kv_heads = 4, .head_dim = 64, .positions = positions, .element = element};
}
/// The cache of Llama 2 7B: 0.5 MB a position in f16. Nothing below writes to it, so it takes no memory.
constexpr KVShape large_cache{.layers = 32, .kv_heads = 32, .head_dim = 128, .positions = 4096, .element = DType::f16};

double bytes_of(KVShape shape, std::size_t positions) {
    shape.positions = tile_positions;
    return static_cast<double>(kv_bytes(shape)) / tile_positions * static_cast<double>(positions);
}

/// Holds so many positions, all alike.
template <class Cache>
void fill(Cache& cache, std::size_t positions) {
    const KVShape shape = cache.shape();
    const std::vector<float> row(shape.head_dim, 0.5f);
    cache.reserve(positions);
    for (std::size_t p = 0; p < positions; ++p)
        for (std::size_t layer = 0; layer < shape.layers; ++layer)
            for (std::size_t head = 0; head < shape.kv_heads; ++head) cache.write(layer, head, p, row.data(), row.data());
    cache.commit(positions);
}

void copy_memory(benchmark::State& state) {
    const auto bytes = static_cast<std::size_t>(state.range(0)) << 20;
    const std::vector<char> from(bytes, 1);
    std::vector<char> to(bytes);
    for ([[maybe_unused]] auto _ : state) {
        std::memcpy(to.data(), from.data(), bytes);
        benchmark::ClobberMemory();
    }
    count_bytes(state, static_cast<double>(bytes));
}
BENCHMARK(copy_memory)->ArgName("MiB")->Arg(3)->Arg(100)->Unit(benchmark::kMicrosecond);

template <class Cache, DType element>
void append(benchmark::State& state) {
    constexpr std::size_t positions = 64;
    const KVShape shape = small_cache(element, 1024);
    Cache cache{shape};
    for ([[maybe_unused]] auto _ : state) {
        cache.truncate(0);
        fill(cache, positions);
        benchmark::ClobberMemory();
    }
    count_bytes(state, bytes_of(shape, positions));
}
BENCHMARK(append<ContiguousKVCache, DType::f32>)->Unit(benchmark::kMicrosecond);
BENCHMARK(append<ContiguousKVCache, DType::f16>)->Unit(benchmark::kMicrosecond);
BENCHMARK(append<ContiguousKVCache, DType::bf16>)->Unit(benchmark::kMicrosecond);
BENCHMARK(append<ContiguousKVCache, DType::i8>)->Unit(benchmark::kMicrosecond);
BENCHMARK(append<PagedKVCache, DType::f32>)->Unit(benchmark::kMicrosecond);
BENCHMARK(append<PagedKVCache, DType::f16>)->Unit(benchmark::kMicrosecond);
BENCHMARK(append<PagedKVCache, DType::bf16>)->Unit(benchmark::kMicrosecond);
BENCHMARK(append<PagedKVCache, DType::i8>)->Unit(benchmark::kMicrosecond);

/// Cuts a cache of 4096 positions to range(0), of which the reservation that brings it back is not timed.
template <class Cache>
void truncate(benchmark::State& state) {
    Cache cache{large_cache};
    for ([[maybe_unused]] auto _ : state) {
        state.PauseTiming();
        cache.reserve(large_cache.positions);
        cache.commit(large_cache.positions);
        state.ResumeTiming();
        cache.truncate(static_cast<std::size_t>(state.range(0)));
    }
}
BENCHMARK(truncate<ContiguousKVCache>)->Arg(4000)->Arg(0)->Unit(benchmark::kNanosecond)->Iterations(2000);
BENCHMARK(truncate<PagedKVCache>)->Arg(4000)->Arg(0)->Unit(benchmark::kNanosecond)->Iterations(2000);

/// A fork of 4096 positions of the 7 B shape, and its end.
void fork_paged(benchmark::State& state) {
    PagedKVCache cache{large_cache};
    cache.reserve(large_cache.positions);
    cache.commit(large_cache.positions);
    for ([[maybe_unused]] auto _ : state) benchmark::DoNotOptimize(cache.fork().size());
    state.counters["new_bytes"] = static_cast<double>(cache.pool()->bytes()) - bytes_of(large_cache, large_cache.positions);
}
BENCHMARK(fork_paged)->Unit(benchmark::kMicrosecond);

/// A fork that copies, of 2048 positions of the 1.1 B shape.
void fork_contiguous(benchmark::State& state) {
    const KVShape shape = small_cache(DType::f32, 2048);
    ContiguousKVCache cache{shape};
    fill(cache, shape.positions);
    for ([[maybe_unused]] auto _ : state) benchmark::DoNotOptimize(cache.fork().size());
    count_bytes(state, bytes_of(shape, shape.positions));
}
BENCHMARK(fork_contiguous)->Unit(benchmark::kMicrosecond);

/// A branch takes a position of its own: its last page, of which it holds range(0) positions, is copied.
template <DType element>
void copy_on_write(benchmark::State& state) {
    const auto held = static_cast<std::size_t>(state.range(0));
    const KVShape shape = small_cache(element, 1024);
    PagedKVCache trunk{shape};
    fill(trunk, held);
    for ([[maybe_unused]] auto _ : state) {
        PagedKVCache branch = trunk.fork();
        branch.reserve(held + 1);
        benchmark::ClobberMemory();
    }
    count_bytes(state, bytes_of(shape, held));
}
BENCHMARK(copy_on_write<DType::f32>)->Arg(1)->Arg(63)->Unit(benchmark::kMicrosecond);
BENCHMARK(copy_on_write<DType::f16>)->Arg(63)->Unit(benchmark::kMicrosecond);
BENCHMARK(copy_on_write<DType::bf16>)->Arg(63)->Unit(benchmark::kMicrosecond);
BENCHMARK(copy_on_write<DType::i8>)->Arg(63)->Unit(benchmark::kMicrosecond);

/// Saves and restores 2240 positions of the 1.1 B shape: 100 MB in f32.
template <class Cache>
Cache filled_cache(DType element) {
    Cache cache{small_cache(element, 2240)};
    fill(cache, cache.shape().positions);
    return cache;
}
template <class Cache>
void save_to(std::vector<std::byte>& bytes, const Cache& cache) {
    bytes.clear();
    write_kv_state({1, TokenBuffer(cache.size(), 7)}, cache,
                   [&](std::span<const std::byte> some) { bytes.insert(bytes.end(), some.begin(), some.end()); });
}
template <class Cache, DType element>
void save_state(benchmark::State& state) {
    const auto cache = filled_cache<Cache>(element);
    std::vector<std::byte> bytes;
    save_to(bytes, cache);  // from here on there is memory for it
    for ([[maybe_unused]] auto _ : state) {
        save_to(bytes, cache);
        benchmark::ClobberMemory();
    }
    count_bytes(state, bytes_of(cache.shape(), cache.size()));
}
/// Into memory that the cache or its pool has already.
template <class Cache, DType element>
void restore_state(benchmark::State& state) {
    auto cache = filled_cache<Cache>(element);
    std::vector<std::byte> bytes;
    save_to(bytes, cache);
    for ([[maybe_unused]] auto _ : state) {
        cache.truncate(0);
        std::span<const std::byte> rest = bytes;
        const auto read = [&](std::span<std::byte> to, std::string_view) {
            std::memcpy(to.data(), rest.data(), to.size());
            rest = rest.subspan(to.size());
        };
        benchmark::DoNotOptimize(read_kv_state(1, cache, cache.shape().positions, "state", read).whole);
    }
    count_bytes(state, bytes_of(cache.shape(), cache.size()));
}
BENCHMARK(save_state<PagedKVCache, DType::f32>)->Unit(benchmark::kMillisecond);
BENCHMARK(save_state<PagedKVCache, DType::f16>)->Unit(benchmark::kMillisecond);
BENCHMARK(save_state<PagedKVCache, DType::bf16>)->Unit(benchmark::kMillisecond);
BENCHMARK(save_state<PagedKVCache, DType::i8>)->Unit(benchmark::kMillisecond);
BENCHMARK(save_state<ContiguousKVCache, DType::f32>)->Unit(benchmark::kMillisecond);
BENCHMARK(save_state<ContiguousKVCache, DType::i8>)->Unit(benchmark::kMillisecond);
BENCHMARK(restore_state<PagedKVCache, DType::f32>)->Unit(benchmark::kMillisecond);
BENCHMARK(restore_state<PagedKVCache, DType::f16>)->Unit(benchmark::kMillisecond);
BENCHMARK(restore_state<PagedKVCache, DType::bf16>)->Unit(benchmark::kMillisecond);
BENCHMARK(restore_state<PagedKVCache, DType::i8>)->Unit(benchmark::kMillisecond);
BENCHMARK(restore_state<ContiguousKVCache, DType::f32>)->Unit(benchmark::kMillisecond);
BENCHMARK(restore_state<ContiguousKVCache, DType::i8>)->Unit(benchmark::kMillisecond);

/// Finds 2000 tokens among 64 texts of as many that differ from one token on; range(0) says from which.
void find_prefix(benchmark::State& state) {
    const KVShape shape{.layers = 1, .kv_heads = 1, .head_dim = 4, .positions = 2048};
    const auto pool = std::make_shared<KVPagePool>(shape);
    PrefixStore store{pool, std::size_t{1} << 30};
    TokenBuffer tokens(2000, 7);
    for (TokenId text = 0; text < 64; ++text) {
        PagedKVCache cache{shape, pool};
        cache.reserve(tokens.size());
        cache.commit(tokens.size());
        tokens[static_cast<std::size_t>(state.range(0))] = text;
        store.keep(1, tokens, cache);
    }
    for ([[maybe_unused]] auto _ : state) benchmark::DoNotOptimize(store.find(1, tokens, shape.positions).size());
}
BENCHMARK(find_prefix)->Arg(0)->Arg(1000)->Unit(benchmark::kMicrosecond);

/// Keeps a page for which another has to go, in a store of 4096.
void evict_page(benchmark::State& state) {
    const KVShape shape{.layers = 1, .kv_heads = 1, .head_dim = 4, .positions = 64};
    const auto pool = std::make_shared<KVPagePool>(shape);
    PrefixStore store{pool, 4096 * pool->page_bytes()};
    PagedKVCache cache{shape, pool};
    cache.reserve(64);
    cache.commit(64);
    TokenBuffer tokens(64, 7);
    for ([[maybe_unused]] auto _ : state) {
        ++tokens[0];
        store.keep(1, tokens, cache);
    }
    state.counters["evictions"] = static_cast<double>(store.counts().evictions);
}
BENCHMARK(evict_page)->Unit(benchmark::kMicrosecond)->Iterations(20000);

/// range(0) branches of a text of range(2) tokens evaluate range(1) tokens each, in one pass.
template <class Cache, DType element>
void evaluate_each(benchmark::State& state) {
    const auto branches = static_cast<std::size_t>(state.range(0));
    const auto count = static_cast<std::size_t>(state.range(1));
    const auto before = static_cast<std::size_t>(state.range(2));
    ThreadPool pool{2};
    using S = BasicSession<Cache>;
    S trunk{shape_of_1b<DType::bf16>(), {.piece = 512, .executor = pool, .cache = element}};
    SplitMix64 random{1};
    TokenBuffer tokens(before + count);
    for (TokenId& token : tokens) token = static_cast<TokenId>(random.below(trunk.vocab_size()));
    if (before > 0) trunk.evaluate(TokenSpan{tokens}.first(before));
    std::vector<S> sessions;
    for (std::size_t i = 0; i < branches; ++i) sessions.push_back(trunk.fork());
    std::vector<S*> all;
    for (S& session : sessions) all.push_back(&session);
    const std::vector<TokenSpan> spans(branches, TokenSpan{tokens}.last(count));
    for ([[maybe_unused]] auto _ : state) {
        for (S& session : sessions) session.truncate(before);
        benchmark::DoNotOptimize(S::evaluate_each(all, spans).data());
    }
    state.counters["token/s"] =
        benchmark::Counter(static_cast<double>(branches * count), benchmark::Counter::kIsIterationInvariantRate);
    state.counters["layers"] = static_cast<double>(shape_of_1b<DType::bf16>()->config.layers);
    label_narrow(state);
}
BENCHMARK(evaluate_each<PagedKVCache, DType::f32>)
    ->ArgNames({"branches", "tokens", "before"})
    ->Args({1, 1, 0})
    ->Args({8, 1, 0})
    ->Args({1, 1, 512})
    ->Args({8, 1, 512})
    ->Args({1, 1152, 0})
    ->Args({8, 144, 0})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);
/// The other elements and the other cache: single tokens, where keys and values count most.
void single_tokens(benchmark::internal::Benchmark* benchmark) {
    benchmark->ArgNames({"branches", "tokens", "before"})->Args({8, 1, 512})->UseRealTime()->Unit(benchmark::kMillisecond);
}
BENCHMARK(evaluate_each<PagedKVCache, DType::f16>)->Apply(single_tokens);
BENCHMARK(evaluate_each<PagedKVCache, DType::bf16>)->Apply(single_tokens);
BENCHMARK(evaluate_each<PagedKVCache, DType::i8>)->Apply(single_tokens);
BENCHMARK(evaluate_each<ContiguousKVCache, DType::f32>)->Apply(single_tokens);
BENCHMARK(evaluate_each<ContiguousKVCache, DType::f16>)->Apply(single_tokens);
BENCHMARK(evaluate_each<ContiguousKVCache, DType::bf16>)->Apply(single_tokens);
BENCHMARK(evaluate_each<ContiguousKVCache, DType::i8>)->Apply(single_tokens);

/// Prefill and single steps over pages or one block: what pages cost attention.
template <class Cache>
void attend(benchmark::State& state) {
    const auto count = static_cast<std::size_t>(state.range(0));
    const auto before = static_cast<std::size_t>(state.range(1));
    ThreadPool pool{2};
    BasicSession<Cache> session{shape_of_1b<DType::bf16>(), {.piece = 512, .executor = pool}};
    SplitMix64 random{1};
    TokenBuffer tokens(before + count);
    for (TokenId& token : tokens) token = static_cast<TokenId>(random.below(session.vocab_size()));
    session.evaluate(TokenSpan{tokens}.first(before));
    for ([[maybe_unused]] auto _ : state) {
        session.truncate(before);
        benchmark::DoNotOptimize(session.evaluate(TokenSpan{tokens}.subspan(before)).data());
    }
    label_narrow(state);
}
BENCHMARK(attend<ContiguousKVCache>)
    ->ArgNames({"tokens", "before"})
    ->Args({1, 2000})
    ->Args({144, 1800})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK(attend<PagedKVCache>)
    ->ArgNames({"tokens", "before"})
    ->Args({1, 2000})
    ->Args({144, 1800})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
