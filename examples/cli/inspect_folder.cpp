#include "inspect_folder.hpp"

#include "flashback/core/error.hpp"
#include "flashback/files/load.hpp"
#include "flashback/format/json_tree.hpp"
#include "flashback/format/safetensors_folder.hpp"
#include "inspect_weights.hpp"

#include <filesystem>
#include <iomanip>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

namespace cli {
namespace {

namespace fb = flashback;

}  // namespace

Json inspect_folder(const fb::ModelSource& source, fb::ExecutorRef executor, bool tensors) {
    const std::string config = (std::filesystem::path{source.name()} / "config.json").string();
    const auto tree = fb::JsonTree::parse(fb::MappedFile{config}.text(), config);
    const Json parameters = Json::parse(tree.text());
    const fb::SafetensorsFolder folder = fb::SafetensorsFolder::open(source.name());
    std::vector<ListedTensor> list;
    for (const fb::SafeTensor* tensor : folder.tensors()) list.push_back(listed(*tensor));
    Json json{{"file", source.name()},
              {"format", "Hugging Face folder"},
              {"architecture", parameters.is_object() ? parameters.value("model_type", Json("")) : Json("")},
              {"name", ""},
              {"hyper_parameters", parameters},
              {"weights", weights_json(list, executor)},
              {"vocabulary", nullptr},
              {"fingerprint", nullptr},
              {"obstacle", nullptr}};
    try {
        const auto model = load_weights(source, {.executor = executor});
        if (!model->config.causal) {
            json["obstacle"] = encoder_obstacle;
        } else if (source.has_tokenizer()) {
            fb::load_tokenizer(source);
        }
        std::ostringstream fingerprint;
        fingerprint << std::hex << std::setw(16) << std::setfill('0') << model->fingerprint;
        json["name"] = model->config.name;
        json["fingerprint"] = fingerprint.str();
    } catch (const fb::Error& error) {
        json["obstacle"] = error.what();
    }
    if (tensors) json["tensors"] = tensors_json(list, "dims");
    return json;
}

}  // namespace cli
