// Our index beside Xapian and SQLite's FTS5, all in files, on the same documents and queries of 32 words in the same run, one thread.
//
// FLASHBACK_BENCH_DOCUMENTS  how many documents of 100 words are made, by default 10,000
// FLASHBACK_BENCH_TEXTS      a folder of JSON lines {"_id","text"}: documents are pairs of pieces of 50 words of these texts, and queries come
//                            from pieces that no document has. Without it words are drawn by the law of Zipf and Mandelbrot
#include "flashback/core/random.hpp"
#include "flashback/core/thread_pool.hpp"
#include "flashback/retrieval/bm25.hpp"
#include "flashback/retrieval/corpus.hpp"
#include "flashback/retrieval/index_writer.hpp"
#include "flashback/text/unicode.hpp"
#include "support/temporary_folder.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <benchmark/benchmark.h>
#include <sqlite3.h>
#include <xapian.h>

using namespace flashback;

namespace {

constexpr std::size_t query_words = 32;
constexpr std::size_t queries = 64;

std::vector<std::string> words_of(std::string_view text) {
    std::vector<std::string> words;
    for_each_word(text, [&](std::string_view word) { words.emplace_back(word); });
    return words;
}

/// Pieces of so many words, from the texts of a folder.
std::vector<std::string> pieces_of_texts(const std::filesystem::path& folder, std::size_t words) {
    std::vector<std::string> pieces;
    for (const auto& file : std::filesystem::directory_iterator{folder}) {
        for (const Document& document : read_corpus(file.path(), TextForm::pages).documents) {
            std::string piece;
            std::size_t held = 0;
            for (const std::string& word : words_of(document.text)) {
                piece += word + ' ';
                if (++held % words != 0) continue;
                pieces.push_back(std::move(piece));
                piece.clear();
            }
        }
    }
    return pieces;
}

struct Data {
    std::vector<std::string> documents = {};
    std::vector<std::string> queries = {};
    std::size_t bytes = 0;

    Data() {
        const char* count = std::getenv("FLASHBACK_BENCH_DOCUMENTS");
        documents.resize(count ? std::strtoul(count, nullptr, 10) : 10000);
        const char* texts = std::getenv("FLASHBACK_BENCH_TEXTS");
        SplitMix64 random{1};
        if (texts) {
            std::vector<std::string> pieces = pieces_of_texts(texts, 50);
            if (pieces.size() < 1000) throw std::runtime_error("FLASHBACK_BENCH_TEXTS has less than 1,000 pieces of 50 words");
            for (std::size_t i = pieces.size() - 1; i > 0; --i) std::swap(pieces[i], pieces[random.below(i + 1)]);
            const std::size_t held_out = pieces.size() / 20;
            for (std::string& document : documents) {
                for (int half = 0; half < 2; ++half) document += pieces[held_out + random.below(pieces.size() - held_out)];
            }
            while (queries.size() < ::queries) add_query(pieces[random.below(held_out)]);
        } else {
            zipf(random);
        }
        for (const std::string& document : documents) bytes += document.size();
    }

    void add_query(const std::string& text) {
        std::string query;
        const auto words = words_of(text);
        for (std::size_t i = 0; i < query_words && i < words.size(); ++i) query += words[i] + ' ';
        queries.push_back(std::move(query));
    }

    void zipf(SplitMix64& random) {
        constexpr std::size_t vocabulary = 50000;
        std::vector<std::string> words(vocabulary);
        std::vector<double> sums(vocabulary);
        double sum = 0;
        for (std::size_t rank = 0; rank < vocabulary; ++rank) {
            for (std::size_t n = rank + 26; n > 0; n /= 26) words[rank] += static_cast<char>('a' + n % 26);
            sums[rank] = sum += 1 / (static_cast<double>(rank) + 2.7);
        }
        const auto text = [&](std::size_t count) {
            std::string made;
            for (; count > 0; --count)
                made += words[static_cast<std::size_t>(std::ranges::lower_bound(sums, random.uniform() * sum) - sums.begin())] +
                        ' ';
            return made;
        };
        for (std::string& document : documents) document = text(100);
        while (queries.size() < ::queries) add_query(text(query_words));
    }
};

const Data& data() {
    static const Data made;
    return made;
}

const std::filesystem::path& folder() {
    static const flashback_test::TemporaryFolder made;
    return made.path();
}

void count(benchmark::State& state) {
    state.counters["documents"] = static_cast<double>(data().documents.size());
    state.counters["queries/s"] = benchmark::Counter(queries, benchmark::Counter::kIsIterationInvariantRate);
}

/// Our index; made once.
const std::filesystem::path& our_index() {
    static const std::filesystem::path path = [] {
        ThreadPool pool{2};
        IndexWriter writer{folder() / "ours", {.executor = pool}};
        for (std::size_t d = 0; d < data().documents.size(); ++d) writer.add({std::to_string(d), "", data().documents[d]});
        writer.commit();
        return folder() / "ours";
    }();
    return path;
}

void build_ours(benchmark::State& state) {
    ThreadPool pool{2};
    for ([[maybe_unused]] auto _ : state) {
        IndexWriter writer{folder() / "built", {.executor = pool}};
        for (std::size_t d = 0; d < data().documents.size(); ++d) writer.add({std::to_string(d), "", data().documents[d]});
        writer.commit();
        state.PauseTiming();
        std::filesystem::remove_all(folder() / "built");
        state.ResumeTiming();
    }
    state.counters["documents/s"] =
        benchmark::Counter(static_cast<double>(data().documents.size()), benchmark::Counter::kIsIterationInvariantRate);
    state.counters["index/text"] =
        static_cast<double>(Bm25Index::open(our_index()).search_bytes()) / static_cast<double>(data().bytes);
}
BENCHMARK(build_ours)->Unit(benchmark::kMillisecond)->UseRealTime();

void open_ours(benchmark::State& state) {
    our_index();
    for ([[maybe_unused]] auto _ : state) benchmark::DoNotOptimize(Bm25Index::open(our_index()).size());
}
BENCHMARK(open_ours)->Unit(benchmark::kMicrosecond);

/// range(0): passages asked for
void ours(benchmark::State& state) {
    const Bm25Index index = Bm25Index::open(our_index());
    std::vector<double> seconds;
    for ([[maybe_unused]] auto _ : state) {
        for (const std::string& query : data().queries) {
            const auto start = std::chrono::steady_clock::now();
            auto found = index.search(query, static_cast<std::size_t>(state.range(0)));
            benchmark::DoNotOptimize(found.data());
            seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
        }
    }
    count(state);
    std::ranges::sort(seconds);
    state.counters["median/ms"] = seconds[seconds.size() / 2] * 1e3;
    state.counters["p95/ms"] = seconds[seconds.size() * 95 / 100] * 1e3;
}
BENCHMARK(ours)->Arg(2)->Arg(10)->Unit(benchmark::kMillisecond);

const std::string& xapian_index() {
    static const std::string path = [] {
        std::string made = (folder() / "xapian").string();
        Xapian::WritableDatabase database{made, Xapian::DB_CREATE_OR_OVERWRITE};
        for (const std::string& text : data().documents) {
            Xapian::Document document;
            for (const std::string& word : words_of(text)) document.add_term(word);
            database.add_document(document);
        }
        database.commit();
        return made;
    }();
    return path;
}

void xapian(benchmark::State& state) {
    const Xapian::Database database{xapian_index()};
    for ([[maybe_unused]] auto _ : state) {
        for (const std::string& text : data().queries) {
            const auto words = words_of(text);
            Xapian::Enquire enquire{database};
            enquire.set_query(Xapian::Query{Xapian::Query::OP_OR, words.begin(), words.end()});
            enquire.set_weighting_scheme(Xapian::BM25Weight{0.9, 0, 1, 0.4, 0});
            const Xapian::MSet found = enquire.get_mset(0, static_cast<Xapian::doccount>(state.range(0)));
            benchmark::DoNotOptimize(found.size());
        }
    }
    count(state);
}
BENCHMARK(xapian)->Arg(2)->Arg(10)->Unit(benchmark::kMillisecond);

/// A database of SQLite, closed at the end.
class Sqlite {
public:
    explicit Sqlite(const std::string& path) { check(::sqlite3_open(path.c_str(), &database_)); }
    Sqlite(const Sqlite&) = delete;
    Sqlite& operator=(const Sqlite&) = delete;
    ~Sqlite() { ::sqlite3_close(database_); }

    void run(const char* sql) { check(::sqlite3_exec(database_, sql, nullptr, nullptr, nullptr)); }

    /// Runs a statement with a text, and a number if it takes one; gives the number of rows.
    std::size_t run(const char* sql, const std::string& text, std::int64_t number) {
        ::sqlite3_stmt* statement = nullptr;
        check(::sqlite3_prepare_v2(database_, sql, -1, &statement, nullptr));
        check(::sqlite3_bind_text(statement, 1, text.c_str(), -1, SQLITE_TRANSIENT));
        if (::sqlite3_bind_parameter_count(statement) > 1) check(::sqlite3_bind_int64(statement, 2, number));
        std::size_t rows = 0;
        while (::sqlite3_step(statement) == SQLITE_ROW) ++rows;
        check(::sqlite3_finalize(statement));
        return rows;
    }

private:
    void check(int result) const {
        if (result != SQLITE_OK) throw std::runtime_error(std::string{"SQLite: "} + ::sqlite3_errmsg(database_));
    }
    ::sqlite3* database_ = nullptr;
};

void sqlite(benchmark::State& state) {
    static const std::unique_ptr<Sqlite> database = [] {
        auto made = std::make_unique<Sqlite>((folder() / "fts5.db").string());
        made->run("CREATE VIRTUAL TABLE documents USING fts5(text); BEGIN");
        for (const std::string& text : data().documents) made->run("INSERT INTO documents(text) VALUES (?)", text, 0);
        made->run("COMMIT");
        return made;
    }();
    for ([[maybe_unused]] auto _ : state) {
        for (const std::string& text : data().queries) {
            std::string match;
            for (const std::string& word : words_of(text)) match += (match.empty() ? "\"" : " OR \"") + word + '"';
            benchmark::DoNotOptimize(database->run("SELECT rowid FROM documents WHERE documents MATCH ? ORDER BY rank LIMIT ?",
                                                   match, state.range(0)));
        }
    }
    count(state);
}
BENCHMARK(sqlite)->Arg(10)->Unit(benchmark::kMillisecond);

}  // namespace
