// Collections and queries that nobody means well with; the numbers are those of hostile_cases.md.
#include "flashback/retrieval/bm25.hpp"
#include "flashback/retrieval/corpus.hpp"
#include "support/allocations.hpp"
#include "support/errors.hpp"

#include <cmath>
#include <string>

#include <doctest/doctest.h>

namespace test_retrieval_hostile {

using namespace flashback;
using flashback_test::allocations_of;
using flashback_test::check_error;

TEST_CASE("hostile 43: an id with raw bytes stands in no sentence") {
    const std::string line = "{\"_id\":\"\\u001b[2J\\u00e4\",\"text\":\"x\"}\n";
    for (const TextForm form : {TextForm::dictionary, TextForm::whole}) {
        check_error(ErrorCode::corpus, "has two documents with the id '?[2J",
                    [&] { parse_corpus(line + line, "x.jsonl", form); });
    }
    check_error(ErrorCode::corpus, "'x.jsonl' line 1 is no JSON",
                [] { parse_corpus("{\"_id\":\"\\ud800\",\"text\":\"\"}", "x.jsonl"); });
}

TEST_CASE("hostile 46: memory for a document and for a query grows as they do") {
    for (const std::size_t megabytes : {std::size_t{1}, std::size_t{4}}) {
        const std::size_t bytes = megabytes << 20;
        CAPTURE(megabytes);
        std::string words;
        while (words.size() < bytes) words += "word ";
        const std::string json = "{\"id\":\"a\",\"contents\":\"" + words + "\"}";
        CHECK(allocations_of([&] { parse_corpus(json, "x.jsonl"); }).bytes < 12 * bytes);
        CHECK(allocations_of([&] { parse_corpus("Title\n   " + words, "x.txt"); }).bytes < 12 * bytes);
        const Bm25Index index{{{"a", "", words}, {"b", "", "word"}}};
        CHECK(index.search("word", 2).size() == 2);
        const auto query = allocations_of([&] { CHECK(index.search(words, 2).size() == 2); });  // as many words as the document
        CHECK(query.bytes < 10'000);
    }
}

TEST_CASE("hostile 46: JSON that is deep is refused before it takes memory") {
    for (const char open : {'[', '{'}) {
        std::string deep = "{\"id\":\"a\",\"other\":";
        for (int i = 0; i < 1'000'000; ++i) deep += open == '[' ? "[" : "{\"a\":";
        const auto used = allocations_of([&] {
            check_error(ErrorCode::corpus, "line 1 has lists in lists, more than 100 deep",
                        [&] { parse_corpus(deep, "x.jsonl"); });
        });
        CHECK(used.bytes < 4 * deep.size());
    }
}

TEST_CASE("hostile 47: b that is no number or negative is refused") {
    check_error(ErrorCode::contract, "b of BM25 must lie in [0, 1]", [] { Bm25Index({}, {.formula = {.b = std::nan("")}}); });
    check_error(ErrorCode::contract, "b of BM25 must lie in [0, 1]", [] { Bm25Index({}, {.formula = {.b = -0.5}}); });
    check_error(ErrorCode::contract, "k1 of BM25 must lie in [0, 1000]", [] { Bm25Index({}, {.formula = {.k1 = INFINITY}}); });
}

}  // namespace test_retrieval_hostile
