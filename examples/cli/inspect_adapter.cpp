#include "inspect_adapter.hpp"

#include "common.hpp"
#include "flashback/core/error.hpp"
#include "flashback/format/peft.hpp"
#include "flashback/format/safetensors.hpp"
#include "flashback/model/fingerprint.hpp"
#include "flashback/model/load.hpp"
#include "flashback/model/load_adapter.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <iomanip>
#include <iostream>
#include <sstream>
#include <string>

namespace cli {
namespace {

namespace fb = flashback;

/// Tensors, weights and bytes, by element type.
Json weights_json(const fb::SafetensorsFile& file) {
    Json types = Json::object();
    std::uint64_t all_weights = 0;
    std::uint64_t all_bytes = 0;
    for (const fb::SafeTensor& tensor : file.tensors()) {
        std::uint64_t weights = 1;
        for (const std::uint64_t side : tensor.shape) weights *= side;
        Json& type = types[std::string{tensor.dtype}];
        if (type.is_null()) type = {{"tensors", 0}, {"weights", 0}, {"bytes", 0}};
        type["tensors"] = type["tensors"].get<std::uint64_t>() + 1;
        type["weights"] = type["weights"].get<std::uint64_t>() + weights;
        type["bytes"] = type["bytes"].get<std::uint64_t>() + tensor.data.size();
        all_weights += weights;
        all_bytes += tensor.data.size();
    }
    return {{"tensors", file.tensors().size()}, {"weights", all_weights}, {"bytes", all_bytes}, {"types", types}};
}

/// The fingerprint of the adapter on top of the model, or why it cannot be used with it.
void try_on(const std::string& folder, const fb::ModelSource& file, Json& json) {
    json["model"] = file.name();
    json["fingerprint"] = nullptr;
    json["obstacle"] = nullptr;
    try {
        const fb::Adapter adapter = fb::load_adapter(folder, *fb::load_model(file));
        std::ostringstream text;
        text << std::hex << std::setw(16) << std::setfill('0') << fb::fingerprint(adapter);
        json["fingerprint"] = text.str();
    } catch (const fb::Error& error) {
        json["obstacle"] = error.what();
    }
}

void print_adapter(const Json& json) {
    const auto plain = [](const Json& value) {
        return value.is_string() ? value.get<std::string>() : value.is_null() ? std::string{"none"} : value.dump();
    };
    const auto line = [&](const std::string& name, const Json& value) {
        std::cout << std::left << std::setw(20) << name << plain(value) << '\n';
    };
    for (const char* name : {"folder", "format", "base_model", "rank", "alpha", "scale", "dropout", "target_modules",
                             "replaced_rows", "fingerprint"})
        line(name, json[name]);
    const Json& weights = json["weights"];
    line("weights",
         plain(weights["weights"]) + " in " + plain(weights["tensors"]) + " tensors, " + plain(weights["bytes"]) + " bytes");
    if (json.contains("tensors")) {
        std::cout << "tensors\n";
        for (const Json& tensor : json["tensors"])
            std::cout << "  " << std::left << std::setw(76) << plain(tensor["name"]) << std::setw(6) << plain(tensor["type"])
                      << plain(tensor["shape"]) << '\n';
    }
    line("model", json["model"]);
    line("can be used with it", json["obstacle"].is_null() ? std::string{"yes"} : "no: " + plain(json["obstacle"]));
}

}  // namespace

void inspect_adapter(const std::string& folder, const fb::ModelSource& model, bool tensors, bool as_json) {
    const fb::PeftConfig config = fb::read_peft_config(folder);
    const fb::SafetensorsFile file = fb::SafetensorsFile::open(std::filesystem::path{folder} / fb::peft_tensors_file);
    Json json{{"folder", folder},
              {"format", "PEFT LoRA"},
              {"base_model", config.base_model.empty() ? Json(nullptr) : Json(config.base_model)},
              {"rank", config.rank},
              {"alpha", config.alpha},
              {"scale", config.scale_of("")},
              {"dropout", config.dropout},
              {"target_modules", config.target_modules},
              {"replaced_rows", config.whole_embedding ? Json("all") : Json(config.token_indices)},
              {"weights", weights_json(file)}};
    try_on(folder, model, json);
    if (tensors) {
        json["tensors"] = Json::array();
        for (const fb::SafeTensor& tensor : file.tensors())
            json["tensors"].push_back({{"name", tensor.name}, {"type", tensor.dtype}, {"shape", tensor.shape}});
    }
    if (as_json) {
        print(json);
    } else {
        print_adapter(json);
    }
}

}  // namespace cli
