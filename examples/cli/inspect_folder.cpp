#include "inspect_folder.hpp"

#include "flashback/core/error.hpp"
#include "flashback/files/load.hpp"
#include "flashback/format/json_tree.hpp"
#include "flashback/format/safetensors_folder.hpp"

#include <cstdint>
#include <filesystem>
#include <iomanip>
#include <memory>
#include <sstream>
#include <string>

namespace cli {
namespace {

namespace fb = flashback;

/// Tensors, weights and bytes, by element type.
Json weights_json(const fb::SafetensorsFolder& folder) {
    Json types = Json::object();
    std::uint64_t all_weights = 0;
    std::uint64_t all_bytes = 0;
    for (const fb::SafeTensor* tensor : folder.tensors()) {
        std::uint64_t weights = 1;
        for (const std::uint64_t side : tensor->shape) weights *= side;
        Json& type = types[std::string{tensor->dtype}];
        if (type.is_null()) type = {{"tensors", 0}, {"weights", 0}, {"bytes", 0}};
        type["tensors"] = type["tensors"].get<std::uint64_t>() + 1;
        type["weights"] = type["weights"].get<std::uint64_t>() + weights;
        type["bytes"] = type["bytes"].get<std::uint64_t>() + tensor->data.size();
        all_weights += weights;
        all_bytes += tensor->data.size();
    }
    return {{"tensors", folder.tensors().size()}, {"weights", all_weights}, {"bytes", all_bytes}, {"types", types}};
}

}  // namespace

Json inspect_folder(const fb::ModelSource& source, fb::ExecutorRef executor, bool tensors) {
    const std::string config = (std::filesystem::path{source.name()} / "config.json").string();
    const auto tree = fb::JsonTree::parse(fb::MappedFile{config}.text(), config);
    const Json parameters = Json::parse(tree.text());
    const fb::SafetensorsFolder folder = fb::SafetensorsFolder::open(source.name());
    Json json{{"file", source.name()},
              {"format", "Hugging Face folder"},
              {"architecture", parameters.is_object() ? parameters.value("model_type", Json("")) : Json("")},
              {"name", ""},
              {"hyper_parameters", parameters},
              {"weights", weights_json(folder)},
              {"vocabulary", nullptr},
              {"fingerprint", nullptr},
              {"obstacle", nullptr}};
    try {
        const auto model = load_weights(source, executor);
        if (source.has_tokenizer()) fb::load_tokenizer(source);
        std::ostringstream fingerprint;
        fingerprint << std::hex << std::setw(16) << std::setfill('0') << model->fingerprint;
        json["name"] = model->config.name;
        json["fingerprint"] = fingerprint.str();
    } catch (const fb::Error& error) {
        json["obstacle"] = error.what();
    }
    if (tensors) {
        json["tensors"] = Json::array();
        for (const fb::SafeTensor* tensor : folder.tensors()) {
            json["tensors"].push_back(
                {{"name", tensor->name}, {"type", tensor->dtype}, {"dims", tensor->shape}, {"bytes", tensor->data.size()}});
        }
    }
    return json;
}

}  // namespace cli
