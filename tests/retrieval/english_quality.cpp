#include "flashback/retrieval/corpus.hpp"
#include "flashback/retrieval/english.hpp"
#include "support/shared.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

namespace test_retrieval_english_quality {

using namespace flashback;

/// BM25 in double, as written in a book: nothing in it is from the library.
class Book {
public:
    Book(const std::vector<Document>& documents, const AnyAnalyzer& analyzer) : documents_(&documents), analyzer_(&analyzer) {
        for (std::size_t d = 0; d < documents.size(); ++d) {
            const auto add = [&](std::string_view term) {
                ++counts_[std::string{term}][d];
                ++lengths_[d];
                ++total_;
            };
            analyzer.analyze(documents[d].text, add);
        }
    }

    /// The ids of the best 1000 documents.
    std::vector<std::string> best(const std::string& query) {
        std::map<std::size_t, double> scores;
        const double n = static_cast<double>(documents_->size());
        const auto add = [&](std::string_view term) {
            const auto& has = counts_[std::string{term}];
            const double df = static_cast<double>(has.size());
            for (const auto& entry : has) {
                const double norm = 0.9 * (1 - 0.4 + 0.4 * lengths_[entry.first] * n / total_);
                scores[entry.first] += std::log(1 + (n - df + 0.5) / (df + 0.5)) * entry.second / (entry.second + norm);
            }
        };
        analyzer_->analyze(query, add);
        std::vector<std::pair<double, std::string>> order;
        for (const auto& entry : scores) order.emplace_back(-entry.second, (*documents_)[entry.first].id);
        std::ranges::sort(order);
        if (order.size() > 1000) order.resize(1000);
        std::vector<std::string> ids;
        for (const auto& entry : order) ids.push_back(entry.second);
        return ids;
    }

private:
    const std::vector<Document>* documents_;
    const AnyAnalyzer* analyzer_;
    std::map<std::string, std::map<std::size_t, double>> counts_;
    std::map<std::size_t, double> lengths_;
    double total_ = 0;
};

/// By query, the ids of the documents that answer it. A line ends in id and grade; a column may stand between query and id.
std::map<std::string, std::set<std::string>> judgements(const std::filesystem::path& path) {
    std::map<std::string, std::set<std::string>> relevant;
    std::ifstream lines{path};
    for (std::string line; std::getline(lines, line);) {
        std::istringstream words{line};
        std::vector<std::string> fields;
        for (std::string word; words >> word;) fields.push_back(word);
        REQUIRE(fields.size() >= 3);
        const std::string& grade = fields.back();
        if (grade != "score" && std::stoi(grade) > 0) relevant[fields.front()].insert(fields[fields.size() - 2]);
    }
    return relevant;
}

double mean_average_precision(const std::string& name, const std::string& qrels, const AnyAnalyzer& analyzer) {
    const std::string folder = "data/ir/" + name + "/";
    const auto corpus = read_corpus(flashback_test::shared(folder + "corpus.jsonl"));
    const auto relevant = judgements(flashback_test::shared(folder + qrels));
    Book book{corpus.documents, analyzer};
    double sum = 0;
    for (const Document& query : read_corpus(flashback_test::shared(folder + "queries.jsonl")).documents) {
        const auto it = relevant.find(query.id);
        if (it == relevant.end()) continue;
        double rank = 0, found = 0, precision = 0;
        for (const std::string& id : book.best(query.text)) {
            ++rank;
            if (it->second.contains(id)) precision += ++found / rank;
        }
        sum += precision / static_cast<double>(it->second.size());
    }
    const double map = sum / static_cast<double>(relevant.size());
    MESSAGE(name << ", " << analyzer.name() << ": MAP " << map);
    return map;
}

TEST_CASE("CACM and Cranfield: English reaches what is published for Lucene, and is better than words") {
    if (flashback_test::shared("data/ir/cacm/corpus.jsonl").empty()) return;
    const double cacm = mean_average_precision("cacm", "qrels.anserini-raw.txt", EnglishAnalyzer{});
    CHECK(cacm > 0.3123 - 0.003);
    CHECK(cacm < 0.3123 + 0.003);
    CHECK(mean_average_precision("cacm", "qrels.anserini-raw.txt", WordAnalyzer{}) > 0.265);
    CHECK(mean_average_precision("cranfield", "qrels.tsv", EnglishAnalyzer{}) > 0.285);
    CHECK(mean_average_precision("cranfield", "qrels.tsv", WordAnalyzer{}) > 0.26);
}

}  // namespace test_retrieval_english_quality
