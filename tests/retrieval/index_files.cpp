// An index in files: it gives what one in memory gives, whoever wrote it in how many steps, and a damaged one is noticed.
#include "flashback/core/random.hpp"
#include "flashback/core/thread_pool.hpp"
#include "flashback/retrieval/bm25.hpp"
#include "flashback/retrieval/index_writer.hpp"
#include "flashback/retrieval/token_analyzer.hpp"
#include "support/errors.hpp"
#include "support/temporary_folder.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

namespace test_retrieval_index_files {

using namespace flashback;
using flashback_test::check_error;
using flashback_test::TemporaryFolder;

std::string some_text(SplitMix64& random, std::size_t words) {
    std::string text;
    for (; words > 0; --words) text += "w" + std::to_string(random.below(1 + random.below(400))) + ' ';
    return text;
}

std::vector<Document> some_documents(std::size_t count, std::uint64_t seed) {
    SplitMix64 random{seed};
    std::vector<Document> documents;
    for (std::size_t d = 0; d < count; ++d)
        documents.push_back(
            {"doc" + std::to_string(d * 7919 % 100003), "Title " + std::to_string(d), some_text(random, 1 + random.below(80))});
    return documents;
}

std::string file_bytes(const std::filesystem::path& path) {
    std::ifstream file{path, std::ios::binary};
    return {std::istreambuf_iterator<char>{file}, {}};
}

void write_byte(const std::filesystem::path& path, std::size_t at, char byte) {
    std::fstream file{path, std::ios::binary | std::ios::in | std::ios::out};
    file.seekp(static_cast<std::streamoff>(at));
    file.put(byte);
}

/// Every character is a token.
Codec characters() {
    return {.encode =
                [](std::string_view text) {
                    return std::vector<TokenId>{text.begin(), text.end()};
                },
            .decode =
                [](TokenSpan tokens) {
                    return std::string{tokens.begin(), tokens.end()};
                },
            .fingerprint = 99};
}

struct Found {
    std::string id, title, text;
    std::vector<TokenId> tokens;
    float score;
    bool operator==(const Found&) const = default;
};

std::vector<Found> found_by(const Bm25Index& index, const std::string& query, std::size_t k) {
    std::vector<Found> found;
    for (const Passage& p : index.retrieve({.text = query}, k))
        found.push_back(
            {std::string{p.id}, std::string{p.title}, std::string{p.text}, {p.tokens.begin(), p.tokens.end()}, p.score});
    return found;
}

/// Whether two indexes answer alike.
bool alike(const Bm25Index& a, const Bm25Index& b, std::size_t queries = 20) {
    SplitMix64 random{12};
    bool same = a.size() == b.size() && a.documents() == b.documents();
    for (std::size_t i = 0; i < queries; ++i) {
        const std::string query = some_text(random, 1 + random.below(12));
        same = same && found_by(a, query, 10) == found_by(b, query, 10);
    }
    return same;
}

void write_all(const std::filesystem::path& folder, const std::vector<Document>& documents,
               const IndexWriterOptions& options = {}) {
    IndexWriter writer{folder, options};
    for (const Document& document : documents) writer.add(document);
    writer.commit();
}

TEST_CASE("An index in files answers as one in memory, written at once, in batches or in several commits") {
    const auto documents = some_documents(900, 1);
    const Bm25Index memory{documents};
    const TemporaryFolder folder;
    ThreadPool pool{2};
    write_all(folder.path() / "once", documents);
    write_all(folder.path() / "batches", documents, {.batch_bytes = 5000, .executor = pool});
    for (std::size_t i = 0; i < 3; ++i)
        write_all(folder.path() / "commits", {documents.begin() + static_cast<std::ptrdiff_t>(300 * i),
                                              documents.begin() + static_cast<std::ptrdiff_t>(300 * i + 300)});
    CHECK(read_index_info(folder.path() / "batches").segments == 1);
    CHECK(read_index_info(folder.path() / "commits").segments == 3);
    for (const char* name : {"once", "batches", "commits"}) {
        CAPTURE(name);
        const Bm25Index index = Bm25Index::open(folder.path() / name, {.verify = true});
        CHECK(alike(index, memory));
        for (const Bm25Formula formula : {Bm25Formula{1.2, 0.75}, Bm25Formula{0, 0}, Bm25Formula{1000, 1}})
            CHECK(alike(Bm25Index::open(folder.path() / name, {.formula = formula}), Bm25Index{documents, {.formula = formula}},
                        5));
    }
    IndexWriter{folder.path() / "commits"}.merge();
    CHECK(read_index_info(folder.path() / "commits").segments == 1);
    CHECK(alike(Bm25Index::open(folder.path() / "commits", {.verify = true}), memory));
}

TEST_CASE("A formula or an average other than when the index was made leaves nothing out, in many windows") {
    const auto documents = some_documents(20000, 11);
    const TemporaryFolder folder;
    write_all(folder.path() / "index", {documents.begin(), documents.begin() + 14000});
    std::vector<Document> rest(documents.begin() + 14000, documents.end());
    for (Document& document : rest) document.text += document.text + document.text + document.text;  // a longer average
    write_all(folder.path() / "index", rest);
    SplitMix64 random{13};
    for (const Bm25Formula formula :
         {Bm25Formula{}, Bm25Formula{0, 0}, Bm25Formula{1000, 1}, Bm25Formula{2, 1}, Bm25Formula{0.1, 0}}) {
        const Bm25Index index = Bm25Index::open(folder.path() / "index", {.formula = formula});
        for (int i = 0; i < 6; ++i) {
            const std::string query = some_text(random, 1 + random.below(20));
            const auto all = index.search(query, documents.size());
            for (const std::size_t k : {1u, 7u, 100u}) {
                const auto found = index.search(query, k);
                REQUIRE(found.size() == std::min(k, all.size()));
                for (std::size_t j = 0; j < found.size(); ++j) {
                    CHECK(found[j].passage == all[j].passage);
                    CHECK(found[j].score == all[j].score);
                }
            }
        }
    }
}

TEST_CASE("Passages come back with ids, titles, texts and tokens") {
    auto documents = some_documents(60, 2);
    documents.push_back({"doc7#1", "", "an id that looks like a passage"});
    documents.push_back({"blank", "", "  "});
    const TemporaryFolder folder;
    write_all(folder.path() / "index", documents, {.codec = characters(), .passage_tokens = 40});
    const Bm25Index memory{documents, characters(), {.passage_tokens = 40}};
    const Bm25Index index = Bm25Index::open(folder.path() / "index", {.codec = characters()});
    REQUIRE(index.size() == memory.size());
    CHECK(index.documents() == 61);
    for (std::size_t p = 0; p < index.size(); ++p) {
        CHECK(index[p].id == memory[p].id);
        CHECK(index[p].text == memory[p].text);
        CHECK(index[p].title == memory[p].title);
        CHECK(std::ranges::equal(index[p].tokens, memory[p].tokens));
        CHECK(index.document_of(p) == memory.document_of(p));
    }
    CHECK(alike(index, memory));
    const auto query = characters().encode("looks");
    CHECK(index.retrieve({.tokens = query}, 1).at(0).id == "doc7#1#1");
    check_error(ErrorCode::contract, "an index was asked for passage", [&] { index[index.size()]; });
}

TEST_CASE("Documents are removed, replaced and added, and a reader keeps what it opened") {
    const auto documents = some_documents(300, 3);
    const TemporaryFolder folder;
    const auto path = folder.path() / "index";
    write_all(path, documents);
    const Bm25Index before = Bm25Index::open(path);
    const Bm25Index memory{documents};
    {
        IndexWriter writer{path};
        CHECK(writer.remove(documents[17].id));
        CHECK_FALSE(writer.remove(documents[17].id));
        CHECK_FALSE(writer.remove("absent"));
        writer.add({documents[17].id, "", "unheard of"});
        writer.add({"short-lived", "", "unheard of"});
        CHECK(writer.remove("short-lived"));
        CHECK(writer.documents() == 300);
        writer.commit();
    }
    const Bm25Index after = Bm25Index::open(path, {.verify = true});
    CHECK(after.documents() == 300);
    CHECK(after.size() == 300);
    const auto found = found_by(after, "unheard", 5);
    REQUIRE(found.size() == 1);
    CHECK(found[0].id == documents[17].id);
    std::size_t seen = 0;
    const auto count = [&](const Passage&) { ++seen; };
    after.for_each_passage(count);
    CHECK(seen == 300);
    IndexWriter{path}.merge();
    auto changed = documents;
    changed.erase(changed.begin() + 17);
    changed.push_back({documents[17].id, "", "unheard of"});
    CHECK(alike(Bm25Index::open(path, {.verify = true}), Bm25Index{changed}));
    CHECK(alike(before, memory));
    IndexWriter writer{path};
    for (const Document& document : changed) CHECK(writer.remove(document.id));
    writer.merge();
    const Bm25Index empty = Bm25Index::open(path, {.verify = true});
    CHECK(empty.size() == 0);
    CHECK(found_by(empty, "w1", 3).empty());
}

TEST_CASE("What is not committed is not there, and files that nobody names go") {
    const auto documents = some_documents(50, 4);
    const TemporaryFolder folder;
    const auto path = folder.path() / "index";
    write_all(path, documents);
    {
        IndexWriter writer{path, {.batch_bytes = 100}};
        writer.add({"more", "", "unheard of"});
        check_error(ErrorCode::corpus, "has a document with the id 'more' already", [&] { writer.add({"more", "", ""}); });
        check_error(ErrorCode::io, "another writer has it", [&] { IndexWriter{path}; });
    }
    CHECK(found_by(Bm25Index::open(path), "unheard", 5).empty());
    folder.write("index/77.segment.part0", "a writer was killed");
    for (const char* name : {"2024.segments.csv", "7.gone.txt", "index.partial", "segment"})
        folder.write("index/" + std::string{name}, "somebody else's");
    IndexWriter{path};
    std::size_t files = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator{path}) ++files;
    CHECK(files == 3 + 4);  // index, lock, one segment; what is not ours stays
}

TEST_CASE("After a failure a writer is of no use, and the index is as it was") {
    const auto documents = some_documents(50, 8);
    const TemporaryFolder folder;
    const auto path = folder.path() / "index";
    write_all(path, documents);
    bool fails = false;
    struct Failing {
        const bool* fails;
        void analyze(std::string_view text, FunctionRef<void(std::string_view)> on_term) const {
            if (*fails) throw std::runtime_error("no terms today");
            WordAnalyzer{}.analyze(text, on_term);
        }
        static std::string_view name() { return "words"; }
    };
    IndexWriter writer{path, {.analyzer = Failing{&fails}}};
    writer.add({"more", "", "unheard of"});
    fails = true;
    CHECK_THROWS_AS(writer.commit(), std::runtime_error);
    fails = false;
    for (const auto& again :
         {std::function<void()>{[&] { writer.commit(); }}, {[&] { writer.merge(); }}, {[&] { writer.remove("x"); }}, {[&] {
              writer.add({"y", "", ""});
          }}})
        check_error(ErrorCode::contract, "failed before; destroy it and make another", again);
    CHECK(alike(Bm25Index::open(path, {.verify = true}), Bm25Index{documents}, 5));
}

TEST_CASE("A damaged file is not merged into a new one, nor taken for another, and other documents give another fingerprint") {
    const TemporaryFolder folder;
    const auto path = folder.path() / "index";
    write_all(path, some_documents(20, 9));
    write_all(folder.path() / "other", some_documents(20, 10));
    CHECK(read_index_info(path).fingerprint != read_index_info(folder.path() / "other").fingerprint);
    const std::string whole = file_bytes(path / "1.segment");
    write_byte(path / "1.segment", 40, static_cast<char>(whole[40] ^ 1));  // a text
    {
        IndexWriter writer{path};
        CHECK(writer.remove(some_documents(1, 9)[0].id));
        check_error(ErrorCode::format, "is damaged: section 0", [&] { writer.merge(); });
    }
    folder.write("index/1.segment", file_bytes(folder.path() / "other" / "1.segment"));
    check_error(ErrorCode::format, "is not the file of this index", [&] { Bm25Index::open(path); });
    folder.write("index/1.segment", whole);
    CHECK(Bm25Index::open(path, {.verify = true}).size() == 20);
}

TEST_CASE("Another analyzer, codec, passage length or formula is refused in a sentence") {
    const TemporaryFolder folder;
    const auto path = folder.path() / "index";
    write_all(path, some_documents(10, 5), {.codec = characters(), .passage_tokens = 40});
    check_error(ErrorCode::contract, "was made with the analyzer 'words', but it is used with 'tokens",
                [&] { Bm25Index::open(path, {.analyzer = TokenAnalyzer{characters()}}); });
    Codec other = characters();
    other.fingerprint = 5;
    check_error(ErrorCode::contract, "were cut with the vocabulary 99, but it is used with 5",
                [&] { Bm25Index::open(path, {.codec = other}); });
    check_error(ErrorCode::contract, "k1 of BM25 must lie in [0, 1000]",
                [&] { Bm25Index::open(path, {.formula = {.k1 = -1}}); });
    check_error(ErrorCode::contract, "have at most 40 tokens", [&] { IndexWriter{path, {.codec = characters()}}; });
    check_error(ErrorCode::contract, "have at most 40 tokens", [&] { IndexWriter{path}; });
    check_error(ErrorCode::io, "there is no such folder", [&] { Bm25Index::open(folder.path() / "absent"); });
    check_error(ErrorCode::io, "it has no file 'index'", [&] { Bm25Index::open(folder.path()); });
    check_error(ErrorCode::contract, "without a codec cannot read a query of tokens", [&] {
        const TokenId token = 5;
        Bm25Index::open(path).retrieve({.tokens = {&token, 1}}, 1);
    });
    folder.write("file", "");
    check_error(ErrorCode::io, "cannot make the folder", [&] { IndexWriter{folder.path() / "file"}; });
}

TEST_CASE("hostile 48: every byte of a small index that changes is noticed, and nothing outside of it is read") {
    const TemporaryFolder folder;
    const auto path = folder.path() / "index";
    std::vector<Document> documents;
    for (int d = 0; d < 130; ++d)
        documents.push_back({std::to_string(d), "", d % 9 == 0 ? "all w1 w2" : "all"});  // a full block
    write_all(path, documents, {.codec = characters(), .passage_tokens = 9});
    {
        IndexWriter writer{path, {.codec = characters(), .passage_tokens = 9}};
        writer.remove(documents[3].id);
        writer.commit();
    }
    const std::string query = documents[0].text;
    const auto expected = found_by(Bm25Index::open(path), query, 10);
    std::size_t noticed = 0;
    std::size_t bytes = 0;
    for (const auto& entry : std::filesystem::directory_iterator{path}) {
        const std::string name = entry.path().filename().string();
        if (name == "lock") continue;
        const std::string whole = file_bytes(entry.path());
        for (std::size_t i = 0; i < whole.size(); ++i) {
            write_byte(entry.path(), i, static_cast<char>(whole[i] ^ (1 << i % 8)));
            ++bytes;
            try {
                static_cast<void>(Bm25Index::open(path, {.verify = true}));
            } catch (const Error&) {
                ++noticed;
            }
            try {  // without `verify`: an answer or a sentence
                const Bm25Index index = Bm25Index::open(path);
                static_cast<void>(found_by(index, query, 10));
                static_cast<void>(found_by(index, query, 2));  // pruned
                static_cast<void>(index.search("all", 150));
            } catch (const Error& error) {
                CHECK(error.code() != ErrorCode::engine);
            }
            write_byte(entry.path(), i, whole[i]);
        }
        for (const std::size_t size : {std::size_t{0}, std::size_t{7}, whole.size() / 2, whole.size() - 1}) {
            folder.write("index/" + name, whole.substr(0, size));
            CHECK_THROWS_AS(Bm25Index::open(path), Error);
        }
        folder.write("index/" + name, whole);
    }
    CHECK(noticed == bytes);
    CHECK(found_by(Bm25Index::open(path), query, 10) == expected);
}

TEST_CASE("Readers open what there is while a writer commits and merges") {
    const auto documents = some_documents(200, 7);
    const TemporaryFolder folder;
    const auto path = folder.path() / "index";
    write_all(path, {documents.begin(), documents.begin() + 100});
    std::thread writer{[&] {
        for (std::size_t d = 100; d < 200; d += 10) {
            IndexWriter more{path};
            for (std::size_t i = d; i < d + 10; ++i) more.add(documents[i]);
            more.commit();
            if (d % 30 == 0) more.merge();
        }
    }};
    std::size_t last = 100;
    for (int i = 0; i < 200 && last < 200; ++i) {
        const Bm25Index index = Bm25Index::open(path);
        CHECK(index.documents() >= last);
        last = index.documents();
        CHECK(last % 10 == 0);
        CHECK(found_by(index, "w1 w2 w3", 5).size() == 5);
    }
    writer.join();
    CHECK(alike(Bm25Index::open(path), Bm25Index{documents}));
}

}  // namespace test_retrieval_index_files
