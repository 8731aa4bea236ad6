#include "adapter_option.hpp"
#include "common.hpp"
#include "files_of_command.hpp"
#include "flashback/core/error.hpp"
#include "flashback/files/load.hpp"
#include "flashback/files/load_adapter.hpp"
#include "flashback/files/save_adapter.hpp"
#include "flashback/files/save_gguf_adapter.hpp"

#include <cstddef>
#include <iostream>
#include <memory>
#include <string>

namespace cli {
namespace {

namespace fb = flashback;

struct ConvertAdapterOptions {
    std::string in;
    std::string out;
    std::string model;
    std::string base;
    bool no_rows = false;
    bool force = false;
    bool json = false;
};

std::size_t pairs_of(const fb::Adapter& adapter) {
    std::size_t pairs = 0;
    for (const fb::AdapterLayer& layer : adapter.layers) {
        for (const fb::LoraPair& pair : layer.pairs) pairs += pair.rank > 0 ? 1 : 0;
    }
    return pairs;
}

void convert_adapter(const ConvertAdapterOptions& options) {
    const bool to_folder = kind_of(options.in) == "file";
    FilesOfCommand files;
    files.reads("argument in", options.in);
    files.reads("--model", options.model);
    to_folder ? files.writes_adapter("argument out", options.out, options.force)
              : files.writes("argument out", options.out, options.force);
    files.check();
    const auto model = fb::load_model(open_model(options.model));
    fb::Adapter adapter = fb::load_adapter(options.in, *model);
    const std::size_t rows = adapter.embedding_ids.size();
    if (options.no_rows) {
        adapter.embedding_ids.clear();
        adapter.embedding_rows.clear();
        if (pairs_of(adapter) == 0) {
            FLASHBACK_THROW(fb::ErrorCode::contract, "'", options.in,
                            "' has embedding rows and nothing else, so that --no-rows leaves nothing to write");
        }
    }
    if (to_folder) {
        fb::save_adapter(adapter, model->config, options.out,
                         {.base_model = options.base.empty() ? model->config.name : options.base});
    } else {
        fb::save_gguf_adapter(adapter, *model, options.out);
    }
    const Json json{{"in", options.in},
                    {"out", options.out},
                    {"format", to_folder ? "PEFT LoRA" : "GGUF LoRA"},
                    {"pairs", pairs_of(adapter)},
                    {"rows", adapter.embedding_ids},
                    {"rows_left_out", rows - adapter.embedding_ids.size()}};
    if (options.json) return print(json);
    std::cout << options.out << ": " << json["format"].get<std::string>() << ", " << json["pairs"] << " pairs, "
              << adapter.embedding_ids.size() << " embedding rows\n";
}

}  // namespace

void add_convert_adapter(CLI::App& app, Command& run) {
    auto options = std::make_shared<ConvertAdapterOptions>();
    CLI::App& command =
        *app.add_subcommand("convert-adapter", "Write a PEFT adapter as a GGUF file for llama.cpp, or the other way round");
    command.add_option("in", options->in, "The folder or the GGUF file to read")->required()->type_name("DIR|FILE");
    command.add_option("out", options->out, "The GGUF file or the folder to write")->required()->type_name("FILE|DIR");
    add_model(command, options->model);
    command
        .add_option("--base", options->base, "What the folder calls its base model; by default the name in the model's file")
        ->type_name("NAME");
    command.add_flag("--no-rows", options->no_rows, "Leave out rows of the input embedding (of marking tokens)");
    command.add_flag("--force", options->force, "Replace what is there");
    add_json(command, options->json);
    command.footer(
        "If a model's output head is its embedding, llama.cpp applies rows of the embedding to the head, too, and ends. For "
        "such a model leave the rows out (--no-rows), or give it a head of its own (flashback quantize --untie).\nExample:\n  "
        "flashback convert-adapter examples/models/flashback-adapter-5m /tmp/adapter.gguf --no-rows");
    command.callback([options, &run] { run = [options] { convert_adapter(*options); }; });
}

}  // namespace cli
