#include "adapter_option.hpp"
#include "aside_option.hpp"
#include "common.hpp"
#include "engine.hpp"
#include "files_of_command.hpp"
#include "flashback/core/error.hpp"
#include "flashback/files/load.hpp"
#include "flashback/kv/block_file_writer.hpp"
#include "flashback/policy/wrapper.hpp"
#include "flashback/retrieval/passages.hpp"
#include "flashback/retrieval/tokenizer_codec.hpp"
#include "markers.hpp"
#include "progress.hpp"

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
    std::string corpus;
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

void index(const IndexOptions& options) {
    FilesOfCommand files;
    files.reads("--corpus", options.corpus);
    files.reads("--model", options.model);
    files.reads("--adapter", options.adapter.path);
    files.writes("--passages-kv", options.file, options.force);
    files.check();
    const fb::ModelSource model = open_model(options.model);
    const fb::Tokenizer tokenizer = fb::load_tokenizer(model);
    Engine engine{model, options.threads, options.cache, options.adapter};
    fb::Session& session = engine.session;
    const auto wrapper = wrapper_of(markers_of(options.markers, tokenizer, session.adapter()));
    // The passages of Bm25Index, which `generate` searches.
    const fb::Passages passages{open_corpus(options.corpus).documents, fb::codec_of(tokenizer), options.passage_tokens};
    if (passages.size() == 0)
        FLASHBACK_THROW(fb::ErrorCode::corpus, "the corpus '", options.corpus, "' has no passage, expected at least one");

    fb::BlockFileWriter writer{options.file, options.aside.element()};
    const std::size_t head = session.head().size();
    if (head > 0) session.evaluate(session.head());
    {
        const ProgressLine progress{"evaluating", "passages"};
        std::vector<fb::TokenId> tokens;
        for (std::size_t i = 0; i < passages.size(); ++i) {
            tokens.clear();
            fb::wrap(wrapper, passages[i], 0, tokens);
            if (!tokens.empty() && !writer.holds(tokens)) writer.add(*session.block(tokens, head, head));
            progress.show(i + 1, passages.size());
        }
    }
    writer.finish();

    const std::uint64_t total = std::filesystem::file_size(options.file);
    const double each = static_cast<double>(writer.bytes()) / static_cast<double>(writer.size());
    if (options.json) {
        print({{"documents", passages.documents().size()},
               {"passages", passages.size()},
               {"blocks", writer.size()},
               {"evaluated", session.work()},
               {"passage_element", fb::name_of(options.aside.element())},
               {"cache", engine.cache()},
               {"bytes_per_passage", each},
               {"bytes", total},
               {"file", options.file}});
    } else {
        std::cerr << formatted("%zu passages, %zu of them different, %.0f bytes for each, %llu in all written to ",
                               passages.size(), writer.size(), each, static_cast<unsigned long long>(total))
                  << options.file << '\n';
    }
}

}  // namespace

void add_index(CLI::App& app, Command& run) {
    auto options = std::make_shared<IndexOptions>();
    CLI::App& command =
        *app.add_subcommand("index", "Evaluate the passages of a corpus once, for generate --layout aside --passages-kv");
    add_model(command, options->model);
    add_adapter(command, options->adapter);
    command.add_option("--corpus", options->corpus, "JSON lines, a folder of .txt and .md files, or a dictd-style text file")
        ->required()
        ->type_name("PATH");
    command.add_option("--passages-kv", options->file, "The file of keys and values to write")->required()->type_name("FILE");
    command.add_flag("--force", options->force, "Replace the file to write if it exists");
    add_markers(command, options->markers.choice);
    add_marker_ids(command, options->markers.ids);
    command.add_option("--passage-tokens", options->passage_tokens, "The most tokens of a passage")
        ->transform(at_least(1))
        ->capture_default_str();
    options->aside.add_element(command);
    add_cache(command, options->cache);
    add_threads(command, options->threads);
    add_json(command, options->json);
    command.footer(
        "generate finds in the file what was written with the same --model, --adapter, --cache, --markers, --marker-ids and "
        "--passage-tokens, and says how much it found.\nExample:\n  flashback index --corpus README.md --passages-kv "
        "/tmp/readme.kv --passage-element f16");
    command.callback([options, &run] {
        options->adapter.tokens = tokens_with(options->markers.ids);
        run = [options] { index(*options); };
    });
}

}  // namespace cli
