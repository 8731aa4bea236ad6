// The search engine: building an index, and queries of 32 words beside a scorer that looks at every document.
//
// The corpus is made by a seeded generator, so that figures of two days can be compared. For a real one:
//     examples/pretrain/texts.py --whole --out build foldoc
//     FLASHBACK_BENCH_CORPUS=build/foldoc.jsonl build/release/benchmarks/bench_bm25
#include "flashback/retrieval/bm25.hpp"
#include "flashback/core/random.hpp"
#include "flashback/files/load.hpp"
#include "flashback/retrieval/corpus.hpp"
#include "flashback/retrieval/tokenizer_codec.hpp"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include <benchmark/benchmark.h>

using namespace flashback;

namespace {

constexpr std::size_t query_words = 32;
constexpr std::size_t queries = 64;
constexpr std::size_t best = 10;
constexpr double k1 = 0.9, b = 0.4;

std::vector<std::string> words_of(std::string_view text) {
    std::vector<std::string> words;
    std::string word;
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (std::isalnum(byte)) {
            word += static_cast<char>(std::tolower(byte));
        } else if (!word.empty()) {
            words.push_back(std::exchange(word, {}));
        }
    }
    if (!word.empty()) words.push_back(std::move(word));
    return words;
}

/// 10 000 documents of 20 to 180 words, about 3.5 MB. The word of rank r has a probability of 1 / (r + 2.7), up to a factor: the
/// law of Zipf and Mandelbrot, in a vocabulary of 50 000.
std::vector<Document> synthetic_documents() {
    constexpr std::size_t count = 10000, vocabulary = 50000;
    SplitMix64 random{1};
    std::vector<std::string> words(vocabulary);
    for (std::size_t rank = 0; rank < vocabulary; ++rank) {
        for (std::size_t n = rank + 26; n > 0; n /= 26) words[rank] += static_cast<char>('a' + n % 26);  // each is another
    }
    std::vector<double> sums(vocabulary);
    double sum = 0;
    for (std::size_t rank = 0; rank < vocabulary; ++rank) sums[rank] = sum += 1 / (static_cast<double>(rank) + 2.7);
    std::vector<Document> documents(count);
    for (std::size_t d = 0; d < count; ++d) {
        documents[d].id = std::to_string(d);
        for (std::size_t i = 20 + random.below(161); i > 0; --i) {
            const auto rank = std::ranges::lower_bound(sums, random.uniform() * sum) - sums.begin();
            documents[d].text += words[static_cast<std::size_t>(rank)] + (random.below(12) == 0 ? ". " : " ");
        }
    }
    return documents;
}

/// Everything that is made once: documents, queries, and for the baseline the count of each word in each document.
struct Data {
    std::vector<Document> documents;
    std::size_t bytes = 0;
    std::vector<std::string> queries;
    std::vector<std::unordered_map<std::string, double>> counts;
    std::unordered_map<std::string, double> documents_with;
    std::vector<double> lengths;
    double average = 0;

    Data() {
        const char* path = std::getenv("FLASHBACK_BENCH_CORPUS");
        documents = path ? read_corpus(path).documents : synthetic_documents();
        counts.resize(documents.size());
        SplitMix64 random{2};
        std::vector<std::vector<std::string>> split;
        for (std::size_t d = 0; d < documents.size(); ++d) {
            bytes += documents[d].text.size();
            split.push_back(words_of(documents[d].text));
            for (const std::string& word : split[d]) ++counts[d][word];
            for (const auto& [word, count] : counts[d]) ++documents_with[word];
            lengths.push_back(static_cast<double>(split[d].size()));
            average += lengths[d] / static_cast<double>(documents.size());
        }
        // A query is a piece of a document, as the newest words of a text about it would be.
        while (queries.size() < ::queries) {
            const auto& words = split[random.below(split.size())];
            if (words.size() < query_words) continue;
            std::string query;
            const std::size_t first = random.below(words.size() - query_words + 1);
            for (std::size_t i = 0; i < query_words; ++i) query += words[first + i] + ' ';
            queries.push_back(std::move(query));
        }
    }

    /// Additions that an inverted index has to do for all queries together.
    double postings() const {
        double sum = 0;
        for (const std::string& query : queries) {
            for (const std::string& word : words_of(query)) sum += documents_with.at(word);
        }
        return sum;
    }
};

const Data& data() {
    static const Data made;
    return made;
}

void count_corpus(benchmark::State& state) {
    state.counters["documents"] = static_cast<double>(data().documents.size());
    state.counters["documents/s"] =
        benchmark::Counter(static_cast<double>(data().documents.size()), benchmark::Counter::kIsIterationInvariantRate);
    state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(data().bytes));
}

void build(benchmark::State& state) {
    for ([[maybe_unused]] auto _ : state) {
        state.PauseTiming();
        std::vector<Document> documents = data().documents;
        state.ResumeTiming();
        const Bm25Index index{std::move(documents)};
        benchmark::DoNotOptimize(index.size());
    }
    count_corpus(state);
}
BENCHMARK(build)->Unit(benchmark::kMillisecond);

/// As `build`, but the documents are tokenised and cut into passages of 128 tokens first.
void build_passages(benchmark::State& state) {
    const Tokenizer tokenizer = load_tokenizer(FLASHBACK_BENCH_MODEL);
    for ([[maybe_unused]] auto _ : state) {
        const Bm25Index index{data().documents, codec_of(tokenizer)};
        benchmark::DoNotOptimize(index.size());
    }
    count_corpus(state);
}
BENCHMARK(build_passages)->Unit(benchmark::kMillisecond);

/// The least that a build has to do: split the text into words.
void build_baseline(benchmark::State& state) {
    for ([[maybe_unused]] auto _ : state) {
        std::size_t words = 0;
        for (const Document& document : data().documents) words += words_of(document.text).size();
        benchmark::DoNotOptimize(words);
    }
    count_corpus(state);
}
BENCHMARK(build_baseline)->Unit(benchmark::kMillisecond);

void count_queries(benchmark::State& state) {
    state.counters["queries/s"] = benchmark::Counter(queries, benchmark::Counter::kIsIterationInvariantRate);
}

void query(benchmark::State& state) {
    const Bm25Index index{data().documents};
    for ([[maybe_unused]] auto _ : state) {
        for (const std::string& text : data().queries) {
            auto found = index.retrieve({.tokens = {}, .text = text}, best);
            benchmark::DoNotOptimize(found.data());
        }
    }
    count_queries(state);
    state.counters["postings/s"] = benchmark::Counter(data().postings(), benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(query)->Unit(benchmark::kMillisecond);

/// Scores every document, with its counts in a hash table.
std::vector<std::pair<double, std::size_t>> naive_search(const Data& d, std::string_view text) {
    std::vector<std::pair<double, std::size_t>> scores;
    const auto words = words_of(text);
    const auto total = static_cast<double>(d.documents.size());
    for (std::size_t i = 0; i < d.documents.size(); ++i) {
        double score = 0;
        for (const std::string& word : words) {
            const auto found = d.counts[i].find(word);
            if (found == d.counts[i].end()) continue;
            const double n = d.documents_with.at(word);
            const double tf = found->second;
            score += std::log1p((total - n + 0.5) / (n + 0.5)) * tf / (tf + k1 * (1 - b + b * d.lengths[i] / d.average));
        }
        scores.emplace_back(-score, i);
    }
    std::ranges::partial_sort(scores, scores.begin() + best);
    scores.resize(best);
    return scores;
}

void query_baseline(benchmark::State& state) {
    const Bm25Index index{data().documents};
    for (const std::string& text : data().queries) {
        const double ours = index.search(text, 1).at(0).score;
        const double theirs = -naive_search(data(), text)[0].first;
        if (std::getenv("FLASHBACK_BENCH_CORPUS") == nullptr && std::abs(ours - theirs) > 1e-4 * theirs) {
            state.SkipWithError("the two scorers disagree");
            return;
        }
    }
    for ([[maybe_unused]] auto _ : state) {
        for (const std::string& text : data().queries) {
            auto found = naive_search(data(), text);
            benchmark::DoNotOptimize(found.data());
        }
    }
    count_queries(state);
}
BENCHMARK(query_baseline)->Unit(benchmark::kMillisecond);

}  // namespace
