#include "flashback/retrieval/bm25.hpp"
#include "flashback/retrieval/corpus.hpp"
#include "support/shared.hpp"

#include <fstream>
#include <map>
#include <set>
#include <string>

#include <doctest/doctest.h>

using namespace flashback;

TEST_CASE("CACM: mean average precision is at least 0.27") {
    const auto corpus = flashback_test::shared("data/ir/cacm/corpus.jsonl");
    const auto query_file = flashback_test::shared("data/ir/cacm/queries.jsonl");
    const auto judgements = flashback_test::shared("data/ir/cacm/qrels.tsv");
    if (corpus.empty() || query_file.empty() || judgements.empty()) return;

    std::map<std::string, std::set<std::string>> relevant;
    std::ifstream lines{judgements};
    std::string query_id, document_id, grade;
    std::getline(lines, query_id);  // the names of the columns
    while (lines >> query_id >> document_id >> grade) {
        if (grade != "0") relevant[query_id].insert(document_id);
    }
    REQUIRE(relevant.size() == 52);

    const Bm25Index index{read_corpus(corpus).documents};
    REQUIRE(index.size() == 3204);
    double sum = 0;
    for (const Document& query : read_corpus(query_file).documents) {
        const auto it = relevant.find(query.id);
        if (it == relevant.end()) continue;
        double precision = 0;
        double rank = 0, found = 0;
        for (const Passage& hit : index.retrieve({.tokens = {}, .text = query.text}, 1000)) {
            ++rank;
            if (it->second.contains(std::string{hit.id})) precision += ++found / rank;
        }
        sum += precision / static_cast<double>(it->second.size());
    }
    const double map = sum / static_cast<double>(relevant.size());
    MESSAGE("MAP " << map);
    CHECK(map >= 0.27);
}
