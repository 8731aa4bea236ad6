#include "common.hpp"
#include "flashback/core/dtype.hpp"
#include "flashback/core/error.hpp"
#include "flashback/core/thread_pool.hpp"
#include "flashback/format/gguf.hpp"
#include "flashback/model/load.hpp"
#include "flashback/model/write_model.hpp"
#include "training_run.hpp"

#include <algorithm>
#include <array>
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cli {
namespace {

namespace fb = flashback;

struct ConvertOptions {
    std::string in;
    std::string out;
    std::string dtype;
    bool force = false;
    std::size_t threads = 1;
    bool json = false;
};

constexpr std::array<std::pair<std::string_view, fb::DType>, 5> written_types{{{"f32", fb::DType::f32},
                                                                               {"f16", fb::DType::f16},
                                                                               {"bf16", fb::DType::bf16},
                                                                               {"q8_0", fb::DType::q8_0},
                                                                               {"q4_0", fb::DType::q4_0}}};

void convert(const ConvertOptions& options) {
    const fb::ModelSource source = fb::ModelSource::open(options.in);
    if (source.gguf()) {
        FLASHBACK_THROW(fb::ErrorCode::unsupported, "'", options.in,
                        "' is a GGUF file already, expected a Hugging Face folder; flashback quantize gives it another type");
    }
    check_writable(options.out, options.force);
    fb::ThreadPool pool = start_threads(options.threads);
    const auto model = load_weights(source, pool);
    std::optional<fb::Vocabulary> vocabulary;
    if (source.has_tokenizer()) {
        vocabulary = fb::load_tokenizer(source).vocabulary();
    } else {
        std::cerr << "flashback: '" << options.in << "' has no tokenizer files, and so the GGUF file has no vocabulary\n";
    }
    fb::DType type = model->embedding.type();
    if (!options.dtype.empty())
        type = std::ranges::find(written_types, options.dtype, [](const auto& t) { return t.first; })->second;
    fb::write_model(options.out, *model, vocabulary ? &*vocabulary : nullptr, type);

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
        print({{"folder", options.in},
               {"file", options.out},
               {"architecture", fb::detail::gguf_architecture(model->config.family)},
               {"dtype", name},
               {"bytes", bytes},
               {"tokens", vocabulary ? Json(vocabulary->size()) : Json(nullptr)},
               {"kept_as_f16", kept_as_f16}});
    } else {
        std::cout << "wrote '" << options.out << "', " << bytes << " bytes, weights " << name << '\n';
    }
}

}  // namespace

void add_convert(CLI::App& app, Command& run) {
    auto options = std::make_shared<ConvertOptions>();
    CLI::App& command = *app.add_subcommand("convert", "Write a model from a Hugging Face folder as a GGUF file");
    command.add_option("in", options->in, "The folder: Llama, Mistral, Qwen2 or GPT-2")->required()->type_name("DIR");
    command.add_option("out", options->out, "The GGUF file to write")->required()->type_name("FILE");
    std::vector<std::string> names;
    for (const auto& type : written_types) names.emplace_back(type.first);
    command.add_option("--dtype", options->dtype, "What the weights become; by default what those of the embedding are")
        ->check(CLI::IsMember(names));
    command.add_flag("--force", options->force, "Replace the file to write if it exists");
    add_threads(command, options->threads);
    add_json(command, options->json);
    command.footer(
        "Norms, biases and tables of positions become f32, tensors whose rows are no whole blocks f16. The file runs in "
        "llama.cpp too.\n"
        "Example:\n  flashback convert ../shared/models/TinyStories-656K /tmp/stories.gguf --dtype q8_0");
    command.callback([options, &run] { run = [options] { convert(*options); }; });
}

}  // namespace cli
