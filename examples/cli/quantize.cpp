#include "flashback/tensor/quantize.hpp"
#include "common.hpp"
#include "files_of_command.hpp"
#include "flashback/core/error.hpp"
#include "flashback/core/executor.hpp"
#include "flashback/core/thread_pool.hpp"
#include "flashback/format/gguf_writer.hpp"
#include "flashback/tensor/dequantize.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <iomanip>
#include <iostream>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <range/v3/view/zip.hpp>

namespace cli {
namespace {

namespace fb = flashback;

struct QuantizeOptions {
    std::string in;
    std::string out;
    std::string dtype;
    bool untie = false;
    bool force = false;
    std::size_t threads = 1;
    bool json = false;
};

/// A type that can be asked for, and what llama.cpp calls a file that consists mostly of it (general.file_type).
struct Target {
    std::string_view name;
    fb::DType type;
    std::uint32_t file_type;
};
constexpr std::array targets{Target{"f32", fb::DType::f32, 0}, Target{"f16", fb::DType::f16, 1},
                             Target{"bf16", fb::DType::bf16, 32}, Target{"q8_0", fb::DType::q8_0, 7},
                             Target{"q4_0", fb::DType::q4_0, 2}};
constexpr std::uint32_t quantization_version = 2;  // of the blocks, as llama.cpp counts

/// What becomes of the tensors of a file.
struct Plan {
    std::vector<fb::DType> types;
    std::vector<std::string> kept_as_f16;  ///< their rows cannot be cut into whole blocks
};

Plan plan_for(const fb::GgufFile& file, fb::DType wanted) {
    Plan plan;
    for (const fb::GgufTensor& tensor : file.tensors()) {
        if (!fb::can_dequantize(tensor.type)) {
            FLASHBACK_THROW(fb::ErrorCode::unsupported, "'", file.name(), "': tensor ", fb::printable(tensor.name),
                            " has type ", fb::layout_of(tensor.type).name,
                            ", expected F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1 or Q2_K to Q6_K");
        }
        fb::DType type = wanted;
        if (tensor.rank == 1 || tensor.name == "position_embd.weight") {
            type = fb::DType::f32;  // norms, biases and positions: very few bytes, and llama.cpp reads them only as floats
        } else if (tensor.dims[0] % fb::layout_of(wanted).block_elements != 0) {
            type = fb::DType::f16;
            plan.kept_as_f16.emplace_back(tensor.name);
        }
        plan.types.push_back(type);
    }
    return plan;
}

constexpr std::string_view head_name = "output.weight";

/// The tensor that a head of its own is a copy of.
/// Throws    Error{format} if there is a head, or no embedding
std::size_t embedding_of(const fb::GgufFile& file) {
    const fb::GgufTensor* embedding = file.tensor("token_embd.weight");
    if (embedding == nullptr || file.tensor(head_name) != nullptr) {
        FLASHBACK_THROW(fb::ErrorCode::format, "'", file.name(), "' has ",
                        embedding == nullptr ? "no embedding" : "an output head of its own",
                        ", expected one that is tied to the embedding for --untie");
    }
    return static_cast<std::size_t>(embedding - file.tensors().data());
}

/// Converts tensors piece by piece, so that its memory does not grow with them.
class Converter {
public:
    Converter(const fb::GgufFile& file, fb::GgufWriter& writer, fb::ExecutorRef executor)
        : file_(file), writer_(writer), executor_(executor), values_(piece), bytes_(piece * sizeof(float)) {}

    /// Throws    Error{format} if a value is not a finite number, or no longer is
    void convert(const fb::GgufTensor& tensor, fb::DType type) {
        if (tensor.type == type) return writer_.write(tensor.data);
        const fb::DTypeLayout from = fb::layout_of(tensor.type);
        const fb::DTypeLayout to = fb::layout_of(type);
        const std::size_t count = tensor.data.size() / from.block_bytes * from.block_elements;
        for (std::size_t at = 0; at < count; at += piece) {
            const std::size_t part = std::min(piece, count - at);
            std::atomic<std::size_t> bad{part};
            executor_.run_ranges(part, grain, [&](std::size_t first, std::size_t last) {
                const std::byte* source = tensor.data.data() + (at + first) / from.block_elements * from.block_bytes;
                std::byte* target = bytes_.data() + first / to.block_elements * to.block_bytes;
                fb::dequantize(tensor.type, source, last - first, values_.data() + first);
                fb::quantize(type, values_.data() + first, last - first, target);
                std::array<float, grain> stored{};
                for (std::size_t i = first; i < last; i += grain) {
                    const std::size_t some = std::min(grain, last - i);
                    fb::dequantize(type, bytes_.data() + i / to.block_elements * to.block_bytes, some, stored.data());
                    const auto end = stored.begin() + static_cast<std::ptrdiff_t>(some);
                    const auto found = std::find_if(stored.begin(), end, [](float x) { return !std::isfinite(x); });
                    if (found == end) continue;
                    const std::size_t index = i + static_cast<std::size_t>(found - stored.begin());
                    for (std::size_t old = bad; index < old && !bad.compare_exchange_weak(old, index);) {
                    }
                    break;
                }
            });
            if (bad < part) refuse(tensor, at + bad, values_[bad], to.name);
            writer_.write(std::span{bytes_}.first(part / to.block_elements * to.block_bytes));
        }
    }

private:
    static constexpr std::size_t grain = 256;  // whole blocks of every type
    static constexpr std::size_t piece = grain << 12;

    [[noreturn]] void refuse(const fb::GgufTensor& tensor, std::size_t index, float value, std::string_view type) const {
        const std::string what = std::isfinite(value)
                                     ? "would not be a finite number as " + std::string{type} + ", expected smaller weights"
                                     : "is not a finite number, expected weights";
        FLASHBACK_THROW(fb::ErrorCode::format, "'", file_.name(), "': element ", index, " of tensor ",
                        fb::printable(tensor.name), ' ', what);
    }

    const fb::GgufFile& file_;
    fb::GgufWriter& writer_;
    fb::ExecutorRef executor_;
    std::vector<float> values_;
    std::vector<std::byte> bytes_;
};

/// Tensors and bytes, by element type.
Json types_json(const fb::GgufFile& file) {
    Json types = Json::object();
    for (const fb::GgufTensor& tensor : file.tensors()) {
        Json& type = types[std::string{fb::layout_of(tensor.type).name}];
        if (type.is_null()) type = {{"tensors", 0}, {"bytes", 0}};
        type["tensors"] = type["tensors"].get<std::uint64_t>() + 1;
        type["bytes"] = type["bytes"].get<std::uint64_t>() + tensor.data.size();
    }
    return types;
}

Json side_json(const fb::GgufFile& file) {
    return {{"file", file.name()}, {"bytes", std::filesystem::file_size(file.name())}, {"types", types_json(file)}};
}

void print_conversion(const Json& json) {
    for (const char* side : {"before", "after"}) {
        std::cout << std::left << std::setw(8) << side << json[side]["file"].get<std::string>() << ", " << json[side]["bytes"]
                  << " bytes\n";
        for (const auto& [type, sums] : json[side]["types"].items())
            std::cout << "          " << std::setw(6) << type << sums["tensors"] << " tensors, " << sums["bytes"] << " bytes\n";
    }
}

void quantize(const QuantizeOptions& options) {
    const Target target = *std::ranges::find(targets, options.dtype, &Target::name);
    FilesOfCommand files;
    files.reads("argument in", options.in);
    files.writes("argument out", options.out, options.force);
    files.check();
    const fb::GgufFile file = fb::GgufFile::open(options.in);
    const Plan plan = plan_for(file, target.type);
    const std::optional<std::size_t> head = options.untie ? std::optional{embedding_of(file)} : std::nullopt;

    fb::ThreadPool pool = start_threads(options.threads);
    fb::GgufWriter writer{options.out};
    writer.copy_metadata(file);
    writer.set("general.file_type", target.file_type).set("general.quantization_version", quantization_version);
    const auto& tensors = file.tensors();
    const auto announce = [&](std::string_view name, std::size_t i) {
        writer.add_tensor(name, std::span{tensors[i].dims}.first(tensors[i].rank), plan.types[i]);
    };
    for (std::size_t i = 0; i < tensors.size(); ++i) announce(tensors[i].name, i);
    if (head) announce(head_name, *head);
    Converter converter{file, writer, pool};
    for (const auto& [tensor, type] : ranges::views::zip(tensors, plan.types)) converter.convert(tensor, type);
    if (head) converter.convert(tensors[*head], plan.types[*head]);
    writer.finish();

    for (const std::string& name : plan.kept_as_f16) say_kept_as_f16(*file.tensor(name), target.type);
    const Json json{{"dtype", options.dtype},
                    {"before", side_json(file)},
                    {"after", side_json(fb::GgufFile::open(options.out))},
                    {"kept_as_f16", plan.kept_as_f16}};
    options.json ? print(json) : print_conversion(json);
}

}  // namespace

void add_quantize(CLI::App& app, Command& run) {
    auto options = std::make_shared<QuantizeOptions>();
    CLI::App& command = *app.add_subcommand("quantize", "Write a model with its weights as another element type");
    command.add_option("in", options->in, "The GGUF file to read")->required()->type_name("FILE");
    command.add_option("out", options->out, "The GGUF file to write")->required()->type_name("FILE");
    std::vector<std::string> names(targets.size());
    std::ranges::transform(targets, names.begin(), &Target::name);
    command.add_option("--dtype", options->dtype, "What the weights become")->required()->check(CLI::IsMember(names));
    command.add_flag("--untie", options->untie, "If the output head is the embedding, give the model a copy of it as head");
    command.add_flag("--force", options->force, "Replace the file to write if it exists");
    add_threads(command, options->threads);
    add_json(command, options->json);
    command.footer(
        "Every tensor with rows is converted, including embeddings and output; vectors (norms) become f32. Nothing else is "
        "changed.\nA tensor whose rows cannot be cut into whole blocks becomes f16.\nExample:\n  flashback quantize "
        "examples/models/flashback-base-5m.gguf /tmp/base-q8_0.gguf --dtype q8_0");
    command.callback([options, &run] { run = [options] { quantize(*options); }; });
}

}  // namespace cli
