// Xapian on this machine: passages come back as they were, scores are those of the formula, and shards are as one database.
#include "flashback/interop/xapian.hpp"

#include "flashback/core/any_retriever.hpp"
#include "interop/xapian_corpus.hpp"
#include "support/errors.hpp"
#include "support/temporary_folder.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;
using namespace flashback_test;
using doctest::Approx;

namespace test_interop_xapian {

namespace {

std::map<std::string, double> counts_of(const std::string& text) {
    std::map<std::string, double> counts;
    for_each_word(text, [&](std::string_view word) { counts[std::string{word}] += 1; });
    return counts;
}

/// The formula of the doc block, word by word.
std::map<std::string, double> oracle(const std::vector<XapianPassage>& passages, const std::string& query, double k1,
                                     double b) {
    double total = 0;
    for (const XapianPassage& passage : passages) {
        for (const auto& count : counts_of(passage.text)) total += count.second;
    }
    const double all = static_cast<double>(passages.size());
    std::map<std::string, double> scores;
    for (const auto& [word, times] : counts_of(query)) {
        double n = 0;
        for (const XapianPassage& passage : passages) n += counts_of(passage.text).contains(word) ? 1 : 0;
        if (n == 0) continue;
        const double odds = (all - n + 0.5) / (n + 0.5);
        const double idf = odds >= 2 ? std::log(odds) : std::log(1 + odds / 2);
        for (const XapianPassage& passage : passages) {
            const auto counts = counts_of(passage.text);
            const auto tf = counts.find(word);
            if (tf == counts.end()) continue;
            double length = 0;
            for (const auto& count : counts) length += count.second;
            scores[passage.id] +=
                times * idf * (k1 + 1) * tf->second / (tf->second + k1 * (1 - b + b * length / (total / all)));
        }
    }
    return scores;
}

std::string folder_of(const TemporaryFolder& folder, const char* name) { return (folder.path() / name).string(); }

}  // namespace

TEST_CASE("Xapian: passages come back as they were, with their tokens, which are made once") {
    const TemporaryFolder folder;
    const std::string database = folder_of(folder, "one");
    const std::vector<XapianPassage> passages{
        {"a", "A title", "The kernel shares memory.", {{"source", "a.txt"}, {"", "12:x"}}},
        {std::string{"b\0\xff:3", 5}, "", std::string{"kernel \0 \xff na\xc3\xafve", 17}, {{"k\0", std::string(100000, 'x')}}},
        {std::string(240, 'c'), "long", "kernel kernel kernel " + std::string(300, 'y'), {}},
    };
    write_database(database, passages);
    std::size_t encoded = 0;
    XapianRetriever retriever{{database}, [&](std::string_view text) {
                                  ++encoded;
                                  return bytes_as_tokens(text);
                              }};
    const auto answer = retriever.retrieve({.text = "Kernels!"}, 10);
    REQUIRE(answer.size() == 3);
    REQUIRE(retriever.found().size() == 3);
    for (std::size_t i = 0; i < 3; ++i) {
        const XapianPassage& found = retriever.found()[i];
        CHECK(std::ranges::count(passages, found) == 1);
        CHECK(answer[i].id == found.id);
        CHECK(answer[i].title == found.title);
        CHECK(answer[i].text == found.text);
        CHECK(tokens_as_bytes(answer[i].tokens) == found.text);
        CHECK(answer[i].score > 0);
        if (i > 0) CHECK(answer[i].score <= answer[i - 1].score);
    }
    CHECK(encoded == 3);
    CHECK(retriever.retrieve({.text = "kernel"}, 2).size() == 2);
    CHECK(encoded == 3);
    CHECK(retriever.missing_shards().empty());

    AnyRetriever any{std::ref(retriever)};
    CHECK(any.retrieve({.text = "na\xc3\xafve"}, 5).size() == 1);
    XapianRetriever moved = std::move(retriever);
    CHECK(found_by(moved, "naive", 5).empty());
    CHECK(found_by(moved, std::string(300, 'y'), 5).empty());  // longer than a word that Xapian takes
}

TEST_CASE("Xapian: few cached passages are as good as many, and take more time") {
    const TemporaryFolder folder;
    write_database(folder_of(folder, "one"), {{"a", "", "first kernel", {}}, {"b", "", "second kernel", {}}});
    for (const std::size_t cached : {0u, 1u, 2u}) {
        CAPTURE(cached);
        std::size_t encoded = 0;
        XapianRetriever retriever{{folder_of(folder, "one")},
                                  [&](std::string_view text) {
                                      ++encoded;
                                      return bytes_as_tokens(text);
                                  },
                                  {},
                                  {.cached_passages = cached}};
        for (const char* query : {"kernel", "first", "first", "second", "first"}) {
            for (const Passage& passage : retriever.retrieve({.text = query}, 2))
                CHECK(tokens_as_bytes(passage.tokens) == passage.text);
        }
        CHECK(encoded == std::vector<std::size_t>{6, 5, 2}[cached]);
    }
}

TEST_CASE("Xapian: scores are those of the formula, equal ones by id, whatever k") {
    const TemporaryFolder folder;
    const auto passages = random_passages(150, 2);
    const std::string database = folder_of(folder, "one");
    write_database(database, passages, XapianStemming::none);
    for (const auto& [k1, b] : {std::pair{0.9, 0.4}, {1.2, 0.75}, {0.0, 0.0}, {2.0, 1.0}}) {
        XapianRetriever retriever{{database}, bytes_as_tokens, {}, {.k1 = k1, .b = b}};
        for (const char* query : {"w1", "w0", "w50 w50 w50 w1", "w0 w1 w2 w3 w4 w5 w6 w7 W8 w0", "unknown w55"}) {
            CAPTURE(query);
            const auto expected = oracle(passages, query, k1, b);
            const auto all = found_by(retriever, query, 1000);
            REQUIRE(all.size() == expected.size());
            for (std::size_t i = 0; i < all.size(); ++i) {
                CHECK(static_cast<double>(all[i].score) == Approx(expected.at(all[i].id)).epsilon(1e-5));
                if (i == 0) continue;
                CHECK(all[i].score <= all[i - 1].score);
                if (all[i].score == all[i - 1].score) CHECK(all[i].id > all[i - 1].id);
            }
            for (std::size_t k = 0; k < 20; ++k) {
                const auto some = found_by(retriever, query, k);
                CHECK(std::ranges::equal(some, std::span{all}.first(std::min(k, all.size()))));
            }
        }
    }
}

TEST_CASE("Xapian: several shards find the same passages with the same scores in the same order as one") {
    const TemporaryFolder folder;
    const auto passages = random_passages(300, 3);
    XapianRetriever one{write_shards(folder.path(), 1, passages), bytes_as_tokens};
    for (const std::size_t count : {2u, 3u, 7u}) {
        XapianRetriever several{write_shards(folder.path(), count, passages), bytes_as_tokens};
        SplitMix64 random{count};
        for (int repetition = 0; repetition < 40; ++repetition) {
            std::string query;
            for (std::uint64_t words = 1 + random.below(12); words > 0; --words)
                query += "w" + std::to_string(random.below(60)) + ' ';
            CAPTURE(query);
            const std::size_t k = 1 + random.below(30);
            const auto expected = found_by(one, query, k);
            CHECK(!expected.empty());
            CHECK(found_by(several, query, k) == expected);
        }
    }
}

TEST_CASE("Xapian: of passages that are all equal, those with the first ids are found") {
    const TemporaryFolder folder;
    std::vector<XapianPassage> passages;
    for (int i = 0; i < 400; ++i)
        passages.push_back({"p" + std::to_string(1000 + (i * 7) % 400), "", "the same words in all", {}});
    XapianRetriever retriever{write_shards(folder.path(), 3, passages), bytes_as_tokens};
    for (const std::size_t k : {1u, 2u, 5u, 399u, 400u, 401u}) {
        const auto found = found_by(retriever, "same words in the", k);
        REQUIRE(found.size() == std::min<std::size_t>(k, 400));
        for (std::size_t i = 0; i < found.size(); ++i) {
            CHECK(found[i].id == "p" + std::to_string(1000 + i));
            CHECK(found[i].score == found[0].score);
        }
    }
}

TEST_CASE("Xapian: queries of nothing, of tokens, and of bytes that are no text") {
    const TemporaryFolder folder;
    write_database(folder_of(folder, "one"), {{"a", "", "A kernel.", {}}, {"b", "", "Notes AND \"phrases\" -x +y z*", {}}});
    XapianRetriever retriever{{folder_of(folder, "one")}, bytes_as_tokens, tokens_as_bytes};
    for (const char* query : {"", " ", "!? --", "\xff\xfe", "xyzzy"}) CHECK(found_by(retriever, query, 5).empty());
    CHECK(retriever.retrieve({}, 5).empty());
    CHECK(found_by(retriever, "kernel", 0).empty());
    CHECK(found_by(retriever, "kernel", std::numeric_limits<std::size_t>::max()).size() == 1);
    const TokenBuffer tokens = bytes_as_tokens("the kernel");
    CHECK(retriever.retrieve({.tokens = tokens}, 5).size() == 1);
    CHECK(retriever.retrieve({.tokens = tokens, .text = "notes"}, 5)[0].id == "b");
    for (const char* query : {"AND", "kernel OR xyzzy", "-kernel", "\"kernel", "(kernel", "kernel*", "\xffkernel\xc3"})
        CHECK(found_by(retriever, query, 5).size() == 1);
    XapianRetriever text_only{{folder_of(folder, "one")}, bytes_as_tokens};
    check_error(ErrorCode::contract, "makes text of tokens",
                [&] { static_cast<void>(text_only.retrieve({.tokens = tokens}, 1)); });
    CHECK(found_by(text_only, "kernel", 1).size() == 1);

    // An empty database, too.
    { XapianIndexer empty{folder_of(folder, "empty")}; }
    XapianRetriever none{{folder_of(folder, "empty")}, bytes_as_tokens};
    CHECK(found_by(none, "kernel", 5).empty());
}

TEST_CASE("Xapian: stemming is a property of the database, and of all shards") {
    const TemporaryFolder folder;
    const std::vector<XapianPassage> passages{{"a", "", "It searches memories", {}}};
    write_database(folder_of(folder, "english"), passages);
    write_database(folder_of(folder, "none"), passages, XapianStemming::none);
    XapianRetriever english{{folder_of(folder, "english")}, bytes_as_tokens};
    XapianRetriever none{{folder_of(folder, "none")}, bytes_as_tokens};
    CHECK(found_by(english, "searching memory", 1).size() == 1);
    CHECK(found_by(none, "searching memory", 1).empty());
    CHECK(found_by(none, "Searches", 1).size() == 1);
    check_error(
        ErrorCode::format, "has passages 1, stemming none, expected that of the others: passages 1, stemming english", [&] {
            static_cast<void>(XapianRetriever{{folder_of(folder, "english"), folder_of(folder, "none")}, bytes_as_tokens});
        });
    check_error(ErrorCode::format, "has the mark 'passages 1, stemming none', expected 'passages 1, stemming english'",
                [&] { static_cast<void>(XapianIndexer{folder_of(folder, "none")}); });
}

TEST_CASE("Xapian: a passage is replaced by one with its id, and reopen sees what is new") {
    const TemporaryFolder folder;
    XapianIndexer indexer{folder_of(folder, "one")};
    indexer.add({"a", "", "old words", {}});
    indexer.commit();
    XapianRetriever retriever{{folder_of(folder, "one")}, bytes_as_tokens};
    indexer.add({"a", "", "new words", {}});
    indexer.add({"b", "", "other words", {}});
    CHECK(indexer.size() == 2);
    CHECK(found_by(retriever, "old", 1).size() == 1);
    indexer.commit();
    retriever.reopen();
    CHECK(found_by(retriever, "old", 1).empty());
    CHECK(found_by(retriever, "words", 5).size() == 2);
}

TEST_CASE("Xapian: a search whose revision was overwritten begins again with the newest") {
    const TemporaryFolder folder;
    auto passages = random_passages(600, 4);
    write_database(folder_of(folder, "one"), passages);
    XapianRetriever retriever{{folder_of(folder, "one")}, bytes_as_tokens};
    for (int revision = 0; revision < 4; ++revision) {
        for (XapianPassage& passage : passages) passage.text = "newer" + std::to_string(revision) + ' ' + passage.text;
        write_database(folder_of(folder, "one"), passages);
    }
    CHECK(found_by(retriever, "newer3", 5).size() == 5);
    CHECK(found_by(retriever, "w0 w1 w2 w3", 600).size() > 100);
    CHECK(retriever.missing_shards().empty());
}

TEST_CASE("Xapian: a folder without a database is a dead shard") {
    const TemporaryFolder folder;
    write_database(folder_of(folder, "here"), {{"a", "", "words here", {}}});
    const std::string gone = folder_of(folder, "gone");
    const std::vector<std::string> shards{folder_of(folder, "here"), gone};
    check_error(ErrorCode::io, "1 of 2 shards of Xapian did not answer: '" + gone + "' (", [&] {
        static_cast<void>(XapianRetriever{shards, bytes_as_tokens});
    });
    check_error(ErrorCode::io, "1 of 1 shards of Xapian did not answer: '" + gone + "' (", [&] {
        static_cast<void>(XapianRetriever{{gone}, bytes_as_tokens, {}, {.dead_shard = DeadShard::partial}});
    });
    XapianRetriever partial{shards, bytes_as_tokens, {}, {.dead_shard = DeadShard::partial}};
    CHECK(found_by(partial, "words", 5).size() == 1);
    REQUIRE(partial.missing_shards().size() == 1);
    CHECK(partial.missing_shards()[0].shard == gone);
    CHECK(!partial.missing_shards()[0].reason.empty());
    write_database(gone, {{"b", "", "words there", {}}});
    CHECK(found_by(partial, "words", 5).size() == 1);
    partial.reopen();
    CHECK(partial.missing_shards().empty());
    CHECK(found_by(partial, "words", 5).size() == 2);
}

TEST_CASE("Xapian: what is wrong is refused in words") {
    const TemporaryFolder folder;
    const std::string good = folder_of(folder, "good");
    write_database(good, {{"a", "", "words", {}}});
    const auto refused = [&](std::string_view words, const std::vector<std::string>& shards,
                             const XapianOptions& options = {}) {
        check_error(ErrorCode::contract, words, [&] {
            static_cast<void>(XapianRetriever{shards, bytes_as_tokens, {}, options});
        });
    };
    refused("at least one shard", {});
    refused("has no name", {""});
    refused("is named twice", {good, good});
    for (const char* name : {"tcp://", "tcp://host", "tcp://host:", "tcp://:80", "tcp://host:0", "tcp://host:65536",
                             "tcp://host:8x", "tcp://host:-1", "tcp://host:99999999999", "tcp://[]:80"})
        refused("is no address, expected tcp://HOST:PORT", {name});
    using namespace std::chrono_literals;
    const double nan = std::nan("");
    for (const double k1 : {-0.1, nan, std::numeric_limits<double>::infinity()}) refused("k1 of BM25", {good}, {.k1 = k1});
    for (const double b : {-0.1, 1.1, nan}) refused("b of BM25", {good}, {.b = b});
    for (const auto timeout : {0ms, -1ms, std::chrono::milliseconds{2h}}) {
        refused("a timeout of Xapian must be", {good}, {.timeout = timeout});
        refused("a timeout of Xapian must be", {good}, {.connect_timeout = timeout});
    }
    check_error(ErrorCode::contract, "makes tokens of texts", [&] { static_cast<void>(XapianRetriever{{good}, {}}); });

    XapianIndexer indexer{good};
    check_error(ErrorCode::io, "DatabaseLockError", [&] { static_cast<void>(XapianIndexer{good}); });
    for (const std::string& id : {std::string{}, std::string(241, 'x'), std::string(121, '\0')})
        check_error(ErrorCode::corpus, "a passage has the id '", [&] { indexer.add({id, "", "x", {}}); });
    check_error(ErrorCode::io, "cannot write the Xapian database", [] { static_cast<void>(XapianIndexer{"/nowhere/deep"}); });

    // A database that something else wrote.
    const std::string foreign = folder_of(folder, "foreign");
    {
        Xapian::WritableDatabase database{foreign, Xapian::DB_CREATE};
        Xapian::Document document;
        document.add_term("words");
        database.add_document(document);
        database.commit();
    }
    check_error(ErrorCode::format, "has the mark '', expected 'passages 1", [&] { static_cast<void>(XapianIndexer{foreign}); });
    for (const DeadShard dead : {DeadShard::error, DeadShard::partial}) {
        check_error(ErrorCode::format, "foreign' has the mark '', expected one of those that XapianIndexer writes", [&] {
            static_cast<void>(XapianRetriever{{good, foreign}, bytes_as_tokens, {}, {.dead_shard = dead}});
        });
    }
}

TEST_CASE("Xapian: a damaged passage names its database, and a function that throws leaves the retriever whole") {
    const TemporaryFolder folder;
    write_database(folder_of(folder, "good"), {{"a", "", "fine words", {}}});
    for (const char* data : {"", "1:", "1:a", "1:a0:", "x", "1:a0:3:ab", "1:a0:1:b1:k",
                             "1:a0:1:b99999999999999999999:", "18446744073709551615:a", "-1:a0:0:", "1a", "1xa1:b1:c"}) {
        CAPTURE(data);
        const TemporaryFolder place;
        const std::string bad = folder_of(place, "bad");
        write_database(bad, {{"b", "", "x", {}}});
        {
            Xapian::WritableDatabase database{bad, Xapian::DB_OPEN};
            Xapian::Document document;
            document.add_term("damag");
            document.set_data(data);
            database.add_document(document);
            database.commit();
        }
        XapianRetriever retriever{{folder_of(folder, "good"), bad}, bytes_as_tokens};
        check_error(ErrorCode::format, "document 2 of the Xapian database '" + bad + "' is damaged",
                    [&] { static_cast<void>(retriever.retrieve({.text = "damage"}, 3)); });
        if (std::string_view{data} == "1:a0:3:ab") {
            check_error(ErrorCode::format, "its field at byte 5 of 9 is no length",
                        [&] { static_cast<void>(retriever.retrieve({.text = "damage"}, 3)); });
        }
        CHECK(found_by(retriever, "words", 3).size() == 1);
    }
    bool fails = true;
    XapianRetriever retriever{{folder_of(folder, "good")}, [&](std::string_view text) {
                                  if (fails) throw std::runtime_error{"no tokens"};
                                  return bytes_as_tokens(text);
                              }};
    CHECK_THROWS_WITH(static_cast<void>(retriever.retrieve({.text = "words"}, 1)), "no tokens");
    fails = false;
    CHECK(found_by(retriever, "words", 1).size() == 1);
}

}  // namespace test_interop_xapian
