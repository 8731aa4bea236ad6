#include "flashback/retrieval/bm25.hpp"
#include "flashback/retrieval/tokenizer_codec.hpp"
#include "flashback/text/unicode.hpp"

#include "flashback/core/random.hpp"
#include "flashback/files/load.hpp"

#include <cmath>
#include <map>
#include <set>
#include <string>

#include <doctest/doctest.h>

using namespace flashback;

namespace {

std::vector<std::string> split(const std::string& text) {
    std::vector<std::string> words;
    for_each_word(text, [&](std::string_view word) { words.emplace_back(word); });
    return words;
}

/// The formula of the issue, straight and in double.
double bm25(const std::vector<Document>& documents, std::size_t d, const std::string& query, double k1, double b) {
    double average = 0;
    for (const auto& document : documents)
        average += static_cast<double>(split(document.text).size()) / static_cast<double>(documents.size());
    const auto in_document = split(documents[d].text);
    double score = 0;
    for (const auto& word : split(query)) {
        double n = 0;
        for (const auto& document : documents) {
            const auto all = split(document.text);
            n += std::ranges::count(all, word) > 0;
        }
        const auto tf = static_cast<double>(std::ranges::count(in_document, word));
        if (tf == 0) continue;
        const double idf = std::log(1 + (static_cast<double>(documents.size()) - n + 0.5) / (n + 0.5));
        score += idf * tf / (tf + k1 * (1 - b + b * static_cast<double>(in_document.size()) / average));
    }
    return score;
}

std::vector<Document> random_documents(std::size_t count, std::uint64_t seed) {
    SplitMix64 random{seed};
    std::vector<Document> documents;
    for (std::size_t d = 0; d < count; ++d) {
        std::string text;
        for (std::uint64_t i = random.below(30); i-- > 0;)
            text += "w" + std::to_string(random.below(40) * random.below(3)) + ' ';
        documents.push_back({std::to_string(d), "", text});
    }
    return documents;
}

}  // namespace

TEST_CASE("Scores are those of the formula, the best first") {
    const auto documents = random_documents(60, 1);
    for (const auto& [k1, b] : {std::pair{0.9, 0.4}, std::pair{1.2, 0.75}, std::pair{0.0, 0.0}, std::pair{2.0, 1.0}}) {
        const Bm25Index index{documents, {.formula = {.k1 = k1, .b = b}}};
        for (const std::string query : {"w1", "w0 w2 w7", "W5, w5; unknown w12 w0"}) {
            CAPTURE(query);
            const auto hits = index.search(query, 1000);
            std::set<std::size_t> found;
            double last = 1e9;
            for (const auto& hit : hits) {
                found.insert(hit.passage);
                CHECK(hit.score == doctest::Approx(bm25(documents, hit.passage, query, k1, b)).epsilon(1e-6));
                CHECK(hit.score <= last);
                last = hit.score;
            }
            for (std::size_t d = 0; d < documents.size(); ++d)
                CHECK((bm25(documents, d, query, k1, b) > 0) == found.contains(d));
        }
    }
}

TEST_CASE("A word that the query repeats counts each time") {
    const Bm25Index index{random_documents(20, 2)};
    const auto once = index.search("w1", 1);
    const auto twice = index.search("w1 w1", 1);
    REQUIRE(once.size() == 1);
    CHECK(twice[0].score == 2 * once[0].score);
}

TEST_CASE("Equal scores come in the order of their ids") {
    const Bm25Index index{{{"b", "", "same text"}, {"c", "", "same text"}, {"a", "", "same text"}, {"10", "", "same text"}}};
    const auto hits = index.retrieve({.tokens = {}, .text = "text"}, 3);
    REQUIRE(hits.size() == 3);
    CHECK(hits[0].id == "10");
    CHECK(hits[1].id == "a");
    CHECK(hits[2].id == "b");
}

TEST_CASE("Words are runs of Unicode letters in lower case") {
    const Bm25Index index{{{"1", "",
                            "\xc3\x9c"
                            "bung macht"},
                           {"2", "", "ubung"}}};
    const auto hits = index.retrieve({.tokens = {},
                                      .text = "\xc3\xbc"
                                              "BUNG!"},
                                     5);
    REQUIRE(hits.size() == 1);
    CHECK(hits[0].id == "1");
}

TEST_CASE("Nothing to find is an empty answer") {
    const Bm25Index index{{{"1", "", "some text"}, {"2", "", ""}, {"3", "", " ... "}}};
    CHECK(index.search("", 5).empty());
    CHECK(index.search("absent", 5).empty());
    CHECK(index.search("?!", 5).empty());
    CHECK(index.search("text", 0).empty());
    CHECK(index.search("text", 99).size() == 1);
    CHECK(std::isfinite(index.search("text", 1)[0].score));
    const Bm25Index empty{std::vector<Document>{}};
    CHECK(empty.search("text", 5).empty());
    const Bm25Index blank{std::vector<Document>{{"1", "", ""}}};
    CHECK(blank.search("text", 5).empty());
    const Bm25Index everywhere{std::vector<Document>{{"1", "", "x"}, {"2", "", "x"}}};
    CHECK(everywhere.search("x", 5).size() == 2);
}

TEST_CASE("A query of tokens is read through the tokenizer, and passages come with tokens") {
    const Tokenizer tokenizer = load_tokenizer(std::filesystem::path{FLASHBACK_TEST_MODEL});
    const Bm25Index index{{{"1", "One", "A compiler is a program"}, {"2", "Two", "The sea is blue"}}, codec_of(tokenizer)};
    const auto tokens = tokenizer.encode("what is a compiler");
    const auto hits = index.retrieve({.tokens = tokens}, 1);
    REQUIRE(hits.size() == 1);
    CHECK(hits[0].title == "One");
    CHECK(std::ranges::equal(hits[0].tokens, tokenizer.encode("A compiler is a program")));
    CHECK(hits[0].score > 0);
}

TEST_CASE("Options out of range and token queries without tokenizer are refused") {
    CHECK_THROWS_AS(Bm25Index({}, {.formula = {.k1 = -1}}), Error);
    CHECK_THROWS_AS(Bm25Index({}, {.formula = {.k1 = std::nan("")}}), Error);
    CHECK_THROWS_AS(Bm25Index({}, {.formula = {.k1 = 1e45}}), Error);
    CHECK_THROWS_AS(Bm25Index({}, {.formula = {.b = 1.5}}), Error);
    const Bm25Index whole{std::vector<Document>{{"1", "", "x"}}};
    const TokenId token = 5;
    CHECK_THROWS_AS(whole.retrieve({.tokens = {&token, 1}}, 1), Error);
}
