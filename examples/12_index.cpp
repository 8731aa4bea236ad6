/// \file An index in files, for an engine of your own: no tokenizer and no model of ours. Made, opened, extended while somebody reads it, and measured.
#include "documents.hpp"
#include "flashback/retrieval/bm25.hpp"
#include "flashback/retrieval/index_writer.hpp"
#include "flashback/retrieval/rank_metrics.hpp"

#include <cstdlib>
#include <exception>
#include <filesystem>
#include <iostream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fb = flashback;

namespace {

void check(bool holds, const char* what) {
    if (!holds) throw std::runtime_error(what);
}

/// An engine whose tokens are bytes, in place of yours.
fb::Codec bytes_as_tokens() {
    return {.encode =
                [](std::string_view text) {
                    return std::vector<fb::TokenId>{text.begin(), text.end()};
                },
            .decode =
                [](fb::TokenSpan tokens) {
                    return std::string{tokens.begin(), tokens.end()};
                },
            .fingerprint = 256};
}

void show(const std::filesystem::path& folder) {
    const fb::Codec codec = bytes_as_tokens();
    {
        fb::IndexWriter writer{folder, {.codec = codec, .passage_tokens = 200}};
        for (fb::Document& document : flashback_examples::a_few_documents()) writer.add(std::move(document));
        writer.commit();  // readers see it from here on
    }
    const auto index = fb::Bm25Index::open(folder, {.codec = codec});
    for (const fb::Passage& passage : index.retrieve({.text = "what turns a language into machine code"}, 2))
        std::cout << passage.score << "  " << passage.id << ": " << passage.text.substr(0, 60) << "...\n";

    fb::IndexWriter writer{folder, {.codec = codec, .passage_tokens = 200}};
    check(writer.remove("compiler"), "the document was there");
    writer.add(
        {.id = "assembler", .title = "assembler", .text = "assembler\nTurns the text of instructions into machine code."});
    writer.commit();
    const auto later = fb::Bm25Index::open(folder, {.codec = codec});
    check(later.retrieve({.text = "machine code"}, 1).at(0).id == "assembler", "what was added is found");
    check(index.retrieve({.text = "machine code"}, 1).at(0).title == "compiler", "a reader keeps what it opened");

    // How good is a ranking? Here one query, and one document that answers it.
    fb::TrecRun run;
    for (const auto& hit : index.search("translates source code into machine code", 1))
        run.rankings["1"].push_back({std::string{index.document_of(hit.passage)}, hit.score});
    fb::TrecQrels judged;
    judged.queries["1"]["compiler"] = 1;
    const auto measured = fb::measure_run(run, judged);
    std::cout << "reciprocal rank " << measured.mean.reciprocal_rank << '\n';
    check(measured.mean.reciprocal_rank == 1, "the compiler comes first");
}

}  // namespace

int main() try {
    std::string folder = (std::filesystem::temp_directory_path() / "flashback-index-XXXXXX").string();
    check(::mkdtemp(folder.data()) != nullptr, "a folder for the index");
    show(folder);
    std::filesystem::remove_all(folder);
    return 0;
} catch (const std::exception& error) {
    std::cerr << "12_index: " << error.what() << '\n';
    return 1;
}
