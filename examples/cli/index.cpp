#include "adapter_option.hpp"
#include "aside_option.hpp"
#include "common.hpp"
#include "corpus_option.hpp"
#include "engine.hpp"
#include "files_of_command.hpp"
#include "flashback/core/error.hpp"
#include "flashback/files/load.hpp"
#include "flashback/kv/block_file_writer.hpp"
#include "flashback/policy/wrapper.hpp"
#include "flashback/retrieval/bm25.hpp"
#include "markers.hpp"
#include "progress.hpp"
#include "search_index.hpp"

#include <cstdint>
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace cli {
namespace {

namespace fb = flashback;

struct IndexOptions {
    std::string model;
    CorpusOption corpus;
    SearchIndexOption search;
    std::string file;
    bool force = false;
    MarkersOption markers;
    std::size_t passage_tokens = 128;
    AsideOption aside = {};
    AdapterOption adapter;
    std::optional<fb::DType> cache;
    std::size_t threads = 1;
    bool json = false;
};

/// Evaluates the passages of a corpus, and keeps their keys and values.
void write_passages(const IndexOptions& options) {
    FilesOfCommand files;
    files.reads("CORPUS", options.corpus.path);
    files.reads("--model", options.model);
    files.reads("--adapter", options.adapter.path);
    files.writes("--passages-kv", options.file, options.force);
    files.check();
    const fb::ModelSource model = open_model(options.model);
    const fb::Tokenizer tokenizer = fb::load_tokenizer(model);
    Engine engine{model, options.threads, options.cache, options.adapter};
    fb::Session& session = engine.session;
    const auto wrapper = wrapper_of(markers_of(options.markers, tokenizer, session.adapter()));
    const fb::Bm25Index index = options.corpus.open(tokenizer, options.passage_tokens);
    if (index.size() == 0)
        FLASHBACK_THROW(fb::ErrorCode::corpus, "the corpus '", options.corpus.path, "' has no passage, expected at least one");

    fb::BlockFileWriter writer{options.file, options.aside.element()};
    const std::size_t head = session.head().size();
    if (head > 0) session.evaluate(session.head());
    {
        const ProgressLine progress{"evaluating", "passages"};
        std::vector<fb::TokenId> tokens;
        std::size_t done = 0;
        const auto evaluate = [&](const fb::Passage& passage) {
            tokens.clear();
            fb::wrap(wrapper, passage, 0, tokens);
            if (!tokens.empty() && !writer.holds(tokens)) writer.add(*session.block(tokens, head, head));
            progress.show(++done, index.size());
        };
        index.for_each_passage(evaluate);
    }
    writer.finish();

    const std::uint64_t total = std::filesystem::file_size(options.file);
    const double each = static_cast<double>(writer.bytes()) / static_cast<double>(writer.size());
    if (options.json) {
        print({{"documents", index.documents()},
               {"passages", index.size()},
               {"blocks", writer.size()},
               {"evaluated", session.work()},
               {"passage_element", fb::name_of(options.aside.element())},
               {"cache", engine.cache()},
               {"bytes_per_passage", each},
               {"bytes", total},
               {"file", options.file}});
    } else {
        std::cerr << formatted("%zu passages, %zu of them different, %.0f bytes for each, %llu in all written to ",
                               index.size(), writer.size(), each, static_cast<unsigned long long>(total))
                  << options.file << '\n';
    }
}

}  // namespace

void add_index(CLI::App& app, Command& run) {
    auto options = std::make_shared<IndexOptions>();
    CLI::App& command = *app.add_subcommand(
        "index", "Make an index to search in (--out), or evaluate all passages for generate --layout aside (--passages-kv)");
    add_model(command, options->model);
    add_adapter(command, options->adapter);
    command.add_option("CORPUS,--corpus", options->corpus.path, corpus_help)->type_name("PATH");
    options->corpus.add_search(command);
    options->search.add(command);
    auto* kv = command.add_option("--passages-kv", options->file, "The file of keys and values to write")->type_name("FILE");
    options->search.out_option->excludes(kv);
    command.add_flag("--force", options->force, "Replace the file to write if it exists")->needs(kv);
    add_markers(command, options->markers.choice)->needs(kv);
    add_marker_ids(command, options->markers.ids);
    command.add_option("--passage-tokens", options->passage_tokens, "The most tokens of a passage")
        ->transform(at_least(1))
        ->capture_default_str();
    options->aside.add_element(command, kv);
    add_cache(command, options->cache);
    add_threads(command, options->threads);
    add_json(command, options->json);
    command.footer(
        "An index is searched with --corpus DIR by every command that retrieves.\ngenerate finds in the file of --passages-kv "
        "what was written with the same --model, --adapter, --cache, --markers, --marker-ids and --passage-tokens, and says "
        "how "
        "much it found.\nExamples:\n  flashback index README.md --out /tmp/readme.index\n  flashback index README.md "
        "--passages-kv /tmp/readme.kv --passage-element f16");
    command.callback([options, &run, kv] {
        options->adapter.tokens = tokens_with(options->markers.ids);
        if (kv->count() == 0 && options->search.out.empty())
            throw CLI::ValidationError("index needs --out DIR, or --passages-kv FILE");
        if (options->corpus.path.empty() && (kv->count() > 0 || !options->search.changes()))
            throw CLI::ValidationError("index needs a CORPUS to read");
        run = [options, search = kv->count() == 0] {
            if (!search) return write_passages(*options);
            write_search_index(options->search, options->corpus, options->model, options->passage_tokens, options->threads,
                               options->json);
        };
    });
}

}  // namespace cli
