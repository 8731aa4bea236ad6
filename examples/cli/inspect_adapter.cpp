#include "inspect_adapter.hpp"

#include "adapter_option.hpp"
#include "common.hpp"
#include "flashback/core/error.hpp"
#include "flashback/files/load.hpp"
#include "flashback/files/load_adapter.hpp"
#include "flashback/format/gguf.hpp"
#include "flashback/format/peft.hpp"
#include "flashback/format/safetensors.hpp"
#include "flashback/model/fingerprint.hpp"
#include "flashback/tensor/dtype.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <iomanip>
#include <iostream>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace cli {
namespace {

namespace fb = flashback;

/// A tensor of either kind of file; the last side of the shape runs fastest.
struct Tensor {
    std::string name;
    std::string type;
    std::vector<std::uint64_t> shape;
    std::uint64_t bytes;
};

std::vector<Tensor> tensors_of(const fb::SafetensorsFile& file) {
    std::vector<Tensor> list;
    for (const fb::SafeTensor& t : file.tensors()) list.push_back({t.name, std::string{t.dtype}, t.shape, t.data.size()});
    return list;
}
std::vector<Tensor> tensors_of(const fb::GgufFile& file) {
    std::vector<Tensor> list;
    for (const fb::GgufTensor& t : file.tensors()) {
        std::vector<std::uint64_t> shape{t.dims.begin(), t.dims.begin() + static_cast<std::ptrdiff_t>(t.rank)};
        std::ranges::reverse(shape);
        list.push_back({std::string{t.name}, std::string{fb::layout_of(t.type).name}, std::move(shape), t.data.size()});
    }
    return list;
}

/// Tensors, weights and bytes, by element type.
Json weights_json(const std::vector<Tensor>& tensors) {
    Json types = Json::object();
    std::uint64_t all_weights = 0;
    std::uint64_t all_bytes = 0;
    for (const Tensor& tensor : tensors) {
        std::uint64_t weights = 1;
        for (const std::uint64_t side : tensor.shape) weights *= side;
        Json& type = types[tensor.type];
        if (type.is_null()) type = {{"tensors", 0}, {"weights", 0}, {"bytes", 0}};
        type["tensors"] = type["tensors"].get<std::uint64_t>() + 1;
        type["weights"] = type["weights"].get<std::uint64_t>() + weights;
        type["bytes"] = type["bytes"].get<std::uint64_t>() + tensor.bytes;
        all_weights += weights;
        all_bytes += tensor.bytes;
    }
    return {{"tensors", tensors.size()}, {"weights", all_weights}, {"bytes", all_bytes}, {"types", types}};
}

/// The fingerprint of the adapter on top of the model, or why it cannot be used with it.
void try_on(const std::string& adapter_path, const fb::ModelSource& file, Json& json) {
    json["model"] = file.name();
    json["fingerprint"] = nullptr;
    json["obstacle"] = nullptr;
    try {
        const fb::Adapter adapter = fb::load_adapter(adapter_path, *fb::load_model(file));
        std::ostringstream text;
        text << std::hex << std::setw(16) << std::setfill('0') << fb::fingerprint(adapter);
        json["fingerprint"] = text.str();
        if (!json.contains("replaced_rows")) json["replaced_rows"] = adapter.embedding_ids;
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
    for (const char* name : {"folder", "file", "format", "base_model", "architecture", "rank", "alpha", "scale", "dropout",
                             "target_modules", "replaced_rows", "fingerprint"}) {
        if (json.contains(name)) line(name, json[name]);
    }
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

Json peft_json(const std::string& folder) {
    const fb::PeftConfig config = fb::read_peft_config(folder);
    Json json{{"folder", folder},
              {"format", "PEFT LoRA"},
              {"base_model", config.base_model.empty() ? Json(nullptr) : Json(config.base_model)},
              {"rank", config.rank},
              {"alpha", config.alpha},
              {"scale", config.scale_of("")},
              {"dropout", config.dropout},
              {"target_modules", config.all_linear       ? Json("all-linear")
                                 : config.target_pattern ? Json(config.target_pattern->text())
                                                         : Json(config.target_modules)}};
    if (!config.whole_embedding) json["replaced_rows"] = config.token_indices;
    return json;
}

Json gguf_json(const fb::GgufFile& file) {
    return {{"file", file.name()},
            {"format", "GGUF LoRA"},
            {"architecture", file.text("general.architecture").value_or("")},
            {"alpha", file.real("adapter.lora.alpha").value_or(0)}};
}

}  // namespace

void inspect_adapter(const std::string& adapter, const fb::ModelSource& model, bool tensors, bool as_json) {
    Json json;
    std::vector<Tensor> list;
    if (kind_of(adapter) == "file") {
        const fb::GgufFile file = fb::GgufFile::open(adapter);
        json = gguf_json(file);
        list = tensors_of(file);
    } else {
        json = peft_json(adapter);
        list = tensors_of(fb::SafetensorsFile::open(std::filesystem::path{adapter} / fb::peft_tensors_file));
    }
    json["weights"] = weights_json(list);
    try_on(adapter, model, json);
    if (!json.contains("replaced_rows")) json["replaced_rows"] = nullptr;
    if (tensors) {
        json["tensors"] = Json::array();
        for (const Tensor& tensor : list)
            json["tensors"].push_back({{"name", tensor.name}, {"type", tensor.type}, {"shape", tensor.shape}});
    }
    as_json ? print(json) : print_adapter(json);
}

}  // namespace cli
