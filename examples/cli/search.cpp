#include "common.hpp"
#include "corpus_option.hpp"
#include "files_of_command.hpp"
#include "flashback/core/error.hpp"
#include "flashback/files/load.hpp"
#include "flashback/retrieval/bm25.hpp"
#include "flashback/retrieval/trec.hpp"
#include "flashback/text/unicode.hpp"

#include <iomanip>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

namespace cli {
namespace {

struct SearchOptions {
    std::string model;
    CorpusOption corpus;
    TextOption query;
    std::string queries;
    std::string run_file;
    std::size_t top_k = 10;
    std::size_t passage_tokens = 128;
    bool whole = false;
    bool json = false;
};

flashback::Bm25Index open_index(const SearchOptions& options) {
    if (options.whole) return options.corpus.open_whole();
    return options.corpus.open(flashback::load_tokenizer(open_model(options.model)), options.passage_tokens);
}

/// A text whose lines begin with blanks, so that none of them looks like another hit.
std::string indented(std::string_view text) {
    std::string out = "    ";
    for (const char c : flashback::harmless(text, "\n\t")) out += c == '\n' ? std::string{"\n    "} : std::string{c};
    return out;
}

void search_one(const SearchOptions& options) {
    const std::string query = options.query.read();
    std::optional<flashback::Bm25Index> index;
    flashback::AnyRetriever xapian;
    std::vector<flashback::Passage> hits;
    if (options.corpus.is_xapian()) {
        xapian = options.corpus.open_any(flashback::load_tokenizer(open_model(options.model)), options.passage_tokens);
        const auto found = xapian.retrieve({.tokens = {}, .text = query}, options.top_k);
        hits.assign(found.begin(), found.end());
    } else {
        index = open_index(options);
        const auto wanted = [&](const flashback::Passage& passage) { return options.corpus.wants(passage); };
        hits = index->retrieve({.tokens = {}, .text = query}, options.top_k, wanted);
    }
    if (options.json) {
        Json list = Json::array();
        for (const flashback::Passage& hit : hits) {
            list.push_back({{"id", hit.id}, {"score", hit.score}, {"title", hit.title}, {"text", hit.text}});
        }
        print({{"documents", index ? Json(index->documents()) : Json{}},
               {"passages", index ? Json(index->size()) : Json{}},
               {"hits", list}});
        return;
    }
    if (index) std::cerr << index->documents() << " documents, " << index->size() << " passages, ";
    std::cerr << hits.size() << " hits\n";
    for (const flashback::Passage& hit : hits) {
        std::cout << std::fixed << std::setprecision(4) << hit.score << "  " << flashback::harmless(hit.id) << "  "
                  << flashback::harmless(hit.title) << '\n'
                  << indented(hit.text) << "\n\n";
    }
}

/// The ids of the best documents for a query, each ranked by its best passage.
std::vector<std::pair<std::string_view, double>> best_documents(const CorpusOption& corpus, const flashback::Bm25Index& index,
                                                                std::string_view query, std::size_t k) {
    std::vector<std::pair<std::string_view, double>> best;
    std::unordered_set<std::string_view> seen;
    const auto wanted = [&](const flashback::Passage& passage) { return corpus.wants(passage); };
    for (const auto& hit : index.search(query, index.size(), wanted)) {
        if (best.size() == k) break;
        const std::string_view document = index.document_of(hit.passage);
        if (seen.insert(document).second) best.emplace_back(document, hit.score);
    }
    return best;
}

void write_run(const SearchOptions& options) {
    FilesOfCommand files;
    files.reads("--corpus", options.corpus.path);
    files.reads("--queries", options.queries);
    files.reads("--model", options.model);
    files.writes("--run", options.run_file, /*replace=*/true);
    files.check();
    const flashback::Corpus queries = open_corpus(options.queries);
    const flashback::Bm25Index index = open_index(options);
    flashback::TrecRun run;
    for (const flashback::Document& query : queries.documents) {
        auto& ranking = run.rankings[query.id];
        for (const auto& [id, score] : best_documents(options.corpus, index, query.text, options.top_k))
            ranking.push_back({std::string{id}, score});
    }
    flashback::write_run(options.run_file, run);
    if (options.json) {
        print({{"documents", index.documents()},
               {"passages", index.size()},
               {"queries", queries.documents.size()},
               {"run", options.run_file}});
    } else {
        std::cerr << queries.documents.size() << " queries over " << index.documents() << " documents written to "
                  << options.run_file << '\n';
    }
}

}  // namespace

void add_search(CLI::App& app, Command& run) {
    auto options = std::make_shared<SearchOptions>();
    CLI::App& command = *app.add_subcommand("search", "Search a corpus with BM25");
    options->corpus.add_path(command)->required();
    options->corpus.add_search(command);
    options->corpus.add_filter(command);
    options->query.add(command, "query", "What to search for");
    auto* queries =
        command.add_option("--queries", options->queries, "Many queries, one {\"_id\",\"text\"} on each line; needs --run")
            ->type_name("FILE");
    auto* run_file =
        command.add_option("--run", options->run_file, "Write a TREC run; documents are ranked by their best passage")
            ->type_name("FILE");
    queries->excludes(command.get_option("--query"))->excludes(command.get_option("--query-file"));
    queries->needs(run_file);
    run_file->needs(queries);
    command.add_option("--top-k", options->top_k, "How many hits for each query")
        ->transform(at_least(0))
        ->capture_default_str();
    command.add_flag("--whole", options->whole, "Search whole documents instead of passages");
    add_model(command, options->model);
    command.add_option("--passage-tokens", options->passage_tokens, "The most tokens of a passage")
        ->transform(at_least(1))
        ->capture_default_str();
    add_json(command, options->json);
    command.footer(
        "The model's tokenizer cuts the passages.\nExample:\n  flashback search --corpus README.md --query 'KV cache'");
    command.callback([options, &run, queries] {
        if (!options->query.given() && queries->count() == 0)
            throw CLI::ValidationError("search needs either --query or --queries");
        run = [options, many = queries->count() > 0] { many ? write_run(*options) : search_one(*options); };
    });
}

}  // namespace cli
