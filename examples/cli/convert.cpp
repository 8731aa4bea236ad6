#include "adapter_option.hpp"
#include "common.hpp"
#include "files_of_command.hpp"
#include "flashback/core/error.hpp"
#include "flashback/core/thread_pool.hpp"
#include "flashback/files/load.hpp"
#include "flashback/files/load_adapter.hpp"
#include "flashback/files/write_model.hpp"
#include "flashback/format/gguf.hpp"
#include "flashback/model/merge_adapter.hpp"
#include "flashback/tensor/dtype.hpp"

#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace cli {
namespace {

namespace fb = flashback;

struct ConvertOptions {
    std::string in;
    std::string out;
    std::string dtype;
    AdapterOption adapter;
    bool force = false;
    std::size_t threads = 1;
    bool json = false;
};

void convert(const ConvertOptions& options) {
    FilesOfCommand files;
    files.reads("argument in", options.in);
    files.reads("--adapter", options.adapter.path);
    files.writes("argument out", options.out, options.force);
    const fb::ModelSource source = fb::ModelSource::open(options.in);
    if (source.gguf() && !options.adapter.given()) {
        FLASHBACK_THROW(fb::ErrorCode::unsupported, "'", options.in,
                        "' is a GGUF file already, expected a Hugging Face folder, or an --adapter to merge into it; flashback "
                        "quantize gives it another type");
    }
    files.check();
    fb::ThreadPool pool = start_threads(options.threads);
    auto model = load_weights(source, {.executor = pool});
    if (options.adapter.given())
        model = fb::merged(*model, fb::load_adapter(options.adapter.path, *model), options.adapter.scale, pool);
    std::optional<fb::Vocabulary> vocabulary;
    if (source.has_tokenizer()) {
        vocabulary = fb::load_tokenizer(source).vocabulary();
    } else {
        std::cerr << "flashback: '" << options.in << "' has no tokenizer, and so the GGUF file has no vocabulary\n";
    }
    fb::DType type = model->embedding.type();
    if (!options.dtype.empty()) type = dtype_named(options.dtype);
    write_gguf(options.out, *model, source, vocabulary ? &*vocabulary : nullptr, type);

    std::vector<std::string> kept_as_f16;  // as quantize has it
    const fb::GgufFile written = fb::GgufFile::open(options.out);
    for (const fb::GgufTensor& tensor : written.tensors()) {
        if (tensor.type != fb::DType::f16 || tensor.dims[0] % fb::layout_of(type).block_elements == 0) continue;
        kept_as_f16.emplace_back(tensor.name);
        say_kept_as_f16(tensor, type);
    }
    const auto bytes = std::filesystem::file_size(options.out);
    const std::string name{fb::layout_of(type).name};
    if (options.json) {
        Json json{{"in", options.in},
                  {"out", options.out},
                  {"architecture", written.text("general.architecture").value_or("")},
                  {"dtype", name},
                  {"bytes", bytes},
                  {"tokens", vocabulary ? Json(vocabulary->size()) : Json(nullptr)},
                  {"kept_as_f16", kept_as_f16}};
        describe(options.adapter, json);
        print(json);
    } else {
        std::cout << "wrote '" << options.out << "', " << bytes << " bytes, weights " << name << '\n';
    }
}

}  // namespace

void add_convert(CLI::App& app, Command& run) {
    auto options = std::make_shared<ConvertOptions>();
    CLI::App& command = *app.add_subcommand(
        "convert", "Write a model from a Hugging Face folder as a GGUF file, or one with an adapter in its weights");
    command.add_option("in", options->in, "The folder: Llama, Mistral, Qwen2 or GPT-2; with --adapter also a GGUF file")
        ->required()
        ->type_name("DIR|FILE");
    command.add_option("out", options->out, "The GGUF file to write")->required()->type_name("FILE");
    add_dtype(command, options->dtype, {"f32", "f16", "bf16", "q8_0", "q4_0"})->default_str("that of the embedding");
    add_adapter(command, options->adapter);
    command.add_flag("--force", options->force, "Replace the file to write if it exists");
    add_threads(command, options->threads);
    add_json(command, options->json);
    command.footer(
        "Tensors whose rows cannot be cut into whole blocks become f16. The file runs in llama.cpp too. With --adapter its "
        "LoRA is added to float weights and its embedding rows take the place of the model's; a tied head becomes one of its "
        "own.\nExample:\n  flashback convert ../shared/models/TinyStories-656K /tmp/stories.gguf --dtype q8_0\n  flashback "
        "convert examples/models/flashback-base-5m.gguf /tmp/tuned.gguf --adapter examples/models/flashback-adapter-5m");
    command.callback([options, &run] { run = [options] { convert(*options); }; });
}

}  // namespace cli
