// What guesses save where a search takes long: the default model writes after a prompt and retrieves every 4 tokens (In-Context RALM's
// stride, here behind the text), over a BM25 index whose searches are made to last `us` microseconds longer.
//
// A search sleeps that long once, be it for one query or for a batch: as a remote index does, or one of vectors, whose batches cost little
// more than a query. Each case is compared with a plain run of the same latency, measured once in the same process; the tokens are checked
// to be the same, but for `stale`, which is approximate.
//
// FLASHBACK_BENCH_TOKENS says how many tokens are written (32), FLASHBACK_BENCH_STRIDE how many between two retrievals (4).
#include "flashback/core/random.hpp"
#include "flashback/decoder/decoder.hpp"
#include "flashback/decoder/speculative_decoder.hpp"
#include "flashback/files/load.hpp"
#include "flashback/model/session.hpp"
#include "flashback/policy/presets.hpp"
#include "flashback/retrieval/asynchronous.hpp"
#include "flashback/retrieval/bm25.hpp"
#include "flashback/retrieval/prefetching.hpp"
#include "flashback/retrieval/seen_passages.hpp"
#include "flashback/retrieval/tokenizer_codec.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include <benchmark/benchmark.h>

using namespace flashback;

namespace {

using Clock = std::chrono::steady_clock;

std::size_t number(const char* name, std::size_t usual) {
    const char* asked = std::getenv(name);
    return asked == nullptr ? usual : static_cast<std::size_t>(std::strtoul(asked, nullptr, 10));
}
std::size_t new_tokens() { return number("FLASHBACK_BENCH_TOKENS", 32); }
std::size_t stride() { return number("FLASHBACK_BENCH_STRIDE", 4); }

/// 2000 documents about 40 things: sentences that share words, so that searches for a text that goes on find what they found before.
std::vector<Document> documents() {
    const std::vector<std::string> things{"processor", "memory", "disk",   "network",  "compiler", "kernel", "file",
                                          "program",   "user",   "screen", "keyboard", "printer",  "server", "language",
                                          "system",    "page",   "thread", "cache",    "signal",   "process"};
    const std::vector<std::string> verbs{"reads",  "writes",        "waits for",  "controls",
                                         "shares", "sends data to", "is part of", "schedules"};
    SplitMix64 random{1};
    std::vector<Document> all(2000);
    for (std::size_t i = 0; i < all.size(); ++i) {
        const std::string& subject = things[i % things.size()];
        all[i].id = std::to_string(i);
        for (std::size_t j = 0; j < 12; ++j) {
            all[i].text += "The " + subject + " " + verbs[random.below(verbs.size())] + " the " +
                           things[random.below(things.size())] + " number " + std::to_string(random.below(100)) + ". ";
        }
    }
    return all;
}

struct Data {
    std::shared_ptr<const Transformer> model = load_model(FLASHBACK_BENCH_MODEL);
    Tokenizer tokenizer = load_tokenizer(FLASHBACK_BENCH_MODEL);
    std::vector<Document> texts = documents();
    Bm25Index index{texts, codec_of(tokenizer), {.passage_tokens = 32}};
    TokenBuffer prompt = tokenizer.encode(
        "An operating system is the program that controls a computer. It shares the processor, the memory and the devices "
        "among the "
        "programs that run, and");
    std::vector<float> weights = std::vector<float>(tokenizer.size());  ///< of each token: ln(documents / documents with it)

    Data() {
        std::vector<float> with(weights.size(), 0.5f);
        for (const Document& document : texts) {
            TokenBuffer tokens = tokenizer.encode(document.text);
            std::ranges::sort(tokens);
            tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
            for (const TokenId token : tokens) ++with[static_cast<std::size_t>(token)];
        }
        for (std::size_t i = 0; i < with.size(); ++i)
            weights[i] = std::max(0.0f, std::log(static_cast<float>(texts.size()) / with[i]));
    }
};

const Data& data() {
    static const Data all;
    return all;
}

/// BM25 over tokens instead of words, without the index: what guesses are ranked by.
float overlap(const Query& query, const Passage& passage) {
    float sum = 0;
    for (const TokenId token : query.tokens) {
        const auto count = static_cast<float>(std::ranges::count(passage.tokens, token));
        sum += data().weights[static_cast<std::size_t>(token)] * count * 1.9f / (count + 0.9f);
    }
    return sum;
}

struct Slow {
    std::chrono::microseconds latency;

    std::vector<Passage> retrieve(const Query& query, std::size_t k) const {
        std::this_thread::sleep_for(latency);
        return data().index.retrieve(query, k);
    }
    std::vector<std::vector<Passage>> retrieve_batch(std::span<const Query> queries, std::size_t k) const {
        std::this_thread::sleep_for(latency);
        return data().index.retrieve_batch(queries, k);
    }
};

struct Run {
    Generation text;
    double seconds = 0;
};

template <class DecoderT>
Run run(DecoderT& decoder) {
    const auto began = Clock::now();
    Run run{decoder.generate(data().prompt, {.max_tokens = new_tokens(), .ignore_eos = true})};
    run.seconds = std::chrono::duration<double>(Clock::now() - began).count();
    return run;
}

const auto policies = Policies{}.schedule(EveryNTokens{stride()}).query(LastNTokens{32});

Run plain_run(std::chrono::microseconds latency) {
    Session session{data().model};
    Slow slow{latency};
    Decoder decoder{session, slow, policies};
    return run(decoder);
}

/// The plain run of a latency, once it is warm.
const Run& plain_once(std::chrono::microseconds latency) {
    static std::map<std::chrono::microseconds, Run> runs;
    if (runs.empty()) plain_run(std::chrono::microseconds{0});
    const auto known = runs.find(latency);
    return known != runs.end() ? known->second : runs.emplace(latency, plain_run(latency)).first->second;
}

/// A case: `generate(session, slow)` gives a Run.
template <class Generate>
void measure(benchmark::State& state, bool same, const Generate& generate) {
    const std::chrono::microseconds latency{state.range(0)};
    const Run& expected = plain_once(latency);
    double seconds = 0;
    Speculation speculation;
    for ([[maybe_unused]] auto _ : state) {
        Session session{data().model};
        const Run found = generate(session, Slow{latency});
        if (same && found.text.tokens != expected.text.tokens) state.SkipWithError("the text is another than without guesses");
        state.SetIterationTime(found.seconds);
        seconds += found.seconds;
        speculation = found.text.stats.speculation;
    }
    const double each = seconds / static_cast<double>(state.iterations());
    state.counters["s/token"] = each / static_cast<double>(new_tokens());
    state.counters["speedup"] = expected.seconds / each;
    if (speculation.speculated > 0) {
        state.counters["matched"] = static_cast<double>(speculation.matched) / static_cast<double>(speculation.speculated);
        state.counters["in_vain/token"] = static_cast<double>(speculation.discarded) / static_cast<double>(new_tokens());
    }
}

/// Guesses that are checked in turn, or in a thread; the cache is empty at first.
template <bool asynchronous>
void speculate(benchmark::State& state, const SpeculationOptions& options) {
    measure(state, true, [&](Session& session, Slow slow) {
        if constexpr (asynchronous) {
            SeenPassages seen{Asynchronous{slow}, &overlap};
            SpeculativeDecoder decoder{session, seen, policies, options};
            return run(decoder);
        } else {
            SeenPassages seen{slow, &overlap};
            SpeculativeDecoder decoder{session, seen, policies, options};
            return run(decoder);
        }
    });
}

void plain(benchmark::State& state) {
    measure(state, true, [](Session& session, Slow slow) {
        Decoder decoder{session, slow, policies};
        return run(decoder);
    });
}
void ralm_spec_3(benchmark::State& state) { speculate<false>(state, {.stride = 3}); }
void ralm_spec_optimal(benchmark::State& state) { speculate<false>(state, {}); }
void ralm_spec_optimal_prefetch_20(benchmark::State& state) { speculate<false>(state, {.prefetched = 20}); }
void ralm_spec_asynchronous(benchmark::State& state) { speculate<true>(state, {}); }
void ralm_spec_asynchronous_prefetch_20(benchmark::State& state) { speculate<true>(state, {.prefetched = 20}); }
void stale(benchmark::State& state) {
    measure(state, false, [](Session& session, Slow slow) {
        auto retriever = flashback::stale(slow);
        Decoder decoder{session, retriever, policies.schedule(StaleEveryN{stride()})};
        return run(decoder);
    });
}

void latencies(benchmark::internal::Benchmark* of) {
    of->ArgName("us")->UseManualTime()->Unit(benchmark::kMillisecond);
    for (const int latency : {100, 1000, 10000, 50000, 200000}) of->Arg(latency);
}
BENCHMARK(plain)->Apply(latencies);
BENCHMARK(ralm_spec_3)->Apply(latencies);
BENCHMARK(ralm_spec_optimal)->Apply(latencies);
BENCHMARK(ralm_spec_optimal_prefetch_20)->Apply(latencies);
BENCHMARK(ralm_spec_asynchronous)->Apply(latencies);
BENCHMARK(ralm_spec_asynchronous_prefetch_20)->Apply(latencies);
BENCHMARK(stale)->Apply(latencies);

}  // namespace
