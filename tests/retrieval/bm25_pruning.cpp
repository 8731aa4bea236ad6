// What a search leaves out changes nothing: the best k are the first k of all, to the bit, however the passages are divided.
#include "flashback/core/random.hpp"
#include "flashback/core/thread_pool.hpp"
#include "flashback/retrieval/bm25.hpp"

#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

#include <doctest/doctest.h>

namespace test_retrieval_bm25_pruning {

using namespace flashback;

/// Words whose frequencies fall as in a language, passages of different lengths, and some that are the same.
std::string zipf_text(SplitMix64& random, std::size_t words, double most) {
    std::string text;
    for (std::size_t i = 0; i < words; ++i) {
        const double uniform = static_cast<double>(random.below(1u << 30) + 1) / static_cast<double>(1u << 30);
        text += "w" + std::to_string(static_cast<int>(std::pow(most, uniform))) + ' ';
    }
    return text;
}

std::vector<Document> zipf_documents(std::size_t count, std::uint64_t seed) {
    SplitMix64 random{seed};
    std::vector<Document> documents;
    for (std::size_t d = 0; d < count; ++d) {
        std::string text = zipf_text(random, 1 + random.below(60), 20000);
        if (d > 10 && random.below(20) == 0) text = documents[random.below(d)].text;
        documents.push_back({"d" + std::to_string(random.below(1u << 30)) + "-" + std::to_string(d), "", std::move(text)});
    }
    return documents;
}

bool same(const std::vector<Bm25Index::Hit>& found, const std::vector<Bm25Index::Hit>& all, std::size_t k) {
    if (found.size() != std::min(k, all.size())) return false;
    for (std::size_t i = 0; i < found.size(); ++i) {
        if (found[i].passage != all[i].passage || found[i].score != all[i].score) return false;
    }
    return true;
}

TEST_CASE("The best k are the first k of all, to the bit, in one segment or several") {
    const auto documents = zipf_documents(20000, 3);
    ThreadPool pool{2};
    for (const Bm25Formula formula : {Bm25Formula{}, Bm25Formula{2, 1}, Bm25Formula{0, 0}, Bm25Formula{1.2, 0.75}}) {
        const Bm25Index one{documents, {.formula = formula}};
        const Bm25Index two{documents, {.formula = formula, .executor = pool}};
        SplitMix64 random{7};
        for (const std::size_t words : {1u, 2u, 5u, 32u, 32u, 100u}) {
            const std::string query = zipf_text(random, words, 25000);
            const auto all = one.search(query, documents.size());
            CAPTURE(query);
            CAPTURE(formula.k1);
            for (const std::size_t k : {1u, 2u, 10u, 100u, 1000u}) {
                CHECK(same(one.search(query, k), all, k));
                CHECK(same(two.search(query, k), all, k));
            }
        }
    }
}

TEST_CASE("A word that says nothing of how often gives equal scores, and the least id is found in the last window") {
    for (const double weight_of : {1.0, 3.0, 7.0, 11.0, 13.0}) {
        std::vector<Document> documents;
        for (int d = 0; d < 20000; ++d) {
            const bool has = d % 900 == 17;
            std::string text = has ? "rare" : "other";
            for (int i = 0; has && i < d % 12; ++i) text += " rare";
            for (int i = 0; i < static_cast<int>(weight_of); ++i) text += " w" + std::to_string(d % (7 + i));
            documents.push_back({std::to_string(99999 - d), "", std::move(text)});
        }
        const Bm25Index index{documents, {.formula = {0, 0}}};
        for (const std::string query : {"rare", "rare w1", "rare rare w2 w3"}) {
            const auto all = index.search(query, documents.size());
            for (const std::size_t k : {1u, 2u, 5u}) CHECK(same(index.search(query, k), all, k));
        }
        const auto hits = index.search("rare", 100);
        for (const auto& hit : hits) CHECK(hit.score == hits[0].score);
    }
}

TEST_CASE("Passages that are not wanted make room for others") {
    const auto documents = zipf_documents(20000, 4);
    const Bm25Index index{documents};
    SplitMix64 random{9};
    const auto wanted = [](const Passage& passage) { return passage.id.back() == '7'; };
    for (int i = 0; i < 5; ++i) {
        const std::string query = zipf_text(random, 20, 20000);
        std::vector<Bm25Index::Hit> expected;
        for (const auto& hit : index.search(query, documents.size())) {
            if (wanted(index[hit.passage])) expected.push_back(hit);
        }
        CHECK(same(index.search(query, 10, wanted), expected, 10));
    }
}

TEST_CASE("A query of a million words, many the same, is answered like one that names each once as often") {
    const auto documents = zipf_documents(2000, 5);
    const Bm25Index index{documents};
    std::string query;
    for (int i = 0; i < 1000000; ++i) query += i % 4 == 0 ? "w17 " : "w3 ";
    const auto found = index.search(query, 3);
    const auto few = index.search("w17 w3 w3 w3", 3);
    REQUIRE(found.size() == few.size());
    for (std::size_t i = 0; i < few.size(); ++i) {
        CHECK(found[i].passage == few[i].passage);
        CHECK(found[i].score == doctest::Approx(250000 * few[i].score));
    }
    SplitMix64 random{6};
    const std::string various = zipf_text(random, 300000, 20000);  // more terms than are pruned
    CHECK(index.search(various, 5).size() == 5);
}

TEST_CASE("A batch gives what its queries give one by one") {
    const auto documents = zipf_documents(20000, 8);
    ThreadPool pool{3};
    const Bm25Index index{documents, {.executor = pool}};
    SplitMix64 random{10};
    std::vector<std::string> texts;
    for (int i = 0; i < 37; ++i)
        texts.push_back(i == 5 ? "" : i == 6 ? texts[2] : zipf_text(random, 1 + random.below(40), 20000));
    texts.push_back(zipf_text(random, 3000, 20000));  // more terms than are pruned
    std::vector<Query> queries;
    for (const std::string& text : texts) queries.push_back({.text = text});
    const auto answers = index.retrieve_batch(queries, 4);
    REQUIRE(answers.size() == queries.size());
    for (std::size_t i = 0; i < queries.size(); ++i) {
        const auto alone = index.retrieve(queries[i], 4);
        REQUIRE(answers[i].size() == alone.size());
        for (std::size_t j = 0; j < alone.size(); ++j) {
            CHECK(answers[i][j].id == alone[j].id);
            CHECK(answers[i][j].score == alone[j].score);
        }
    }
}

}  // namespace test_retrieval_bm25_pruning
