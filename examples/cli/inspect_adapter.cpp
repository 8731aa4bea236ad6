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
#include "inspect_weights.hpp"

#include <algorithm>
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

/// The last side of a shape runs fastest.
std::vector<ListedTensor> tensors_of(const fb::SafetensorsFile& file) {
    std::vector<ListedTensor> list;
    for (const fb::SafeTensor& tensor : file.tensors()) list.push_back(listed(tensor));
    return list;
}
std::vector<ListedTensor> tensors_of(const fb::GgufFile& file) {
    std::vector<ListedTensor> list;
    for (const fb::GgufTensor& tensor : file.tensors()) std::ranges::reverse(list.emplace_back(listed(tensor)).shape);
    return list;
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
    for (const char* name : {"folder", "file", "format", "base_model", "architecture", "rank", "alpha", "scale", "dropout",
                             "target_modules", "replaced_rows", "fingerprint"}) {
        if (json.contains(name)) print_line(name, json[name]);
    }
    print_weights(json["weights"], false);
    if (json.contains("tensors")) print_tensors(json["tensors"], "shape", 76);
    print_line("model", json["model"]);
    print_line("can be used with it", json["obstacle"].is_null() ? std::string{"yes"} : "no: " + shown(json["obstacle"]));
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
    const auto inspected = [&](Json json, const auto& file) {
        const std::vector<ListedTensor> list = tensors_of(file);
        json["weights"] = weights_json(list, {});
        try_on(adapter, model, json);
        if (!json.contains("replaced_rows")) json["replaced_rows"] = nullptr;
        if (tensors) json["tensors"] = tensors_json(list, "shape");
        as_json ? print(json) : print_adapter(json);
    };
    if (kind_of(adapter) == "file") {
        const fb::GgufFile file = fb::GgufFile::open(adapter);
        inspected(gguf_json(file), file);
    } else {
        Json json = peft_json(adapter);  // the configuration first: if both files are missing, the error names it
        inspected(std::move(json), fb::SafetensorsFile::open(std::filesystem::path{adapter} / fb::peft_tensors_file));
    }
}

}  // namespace cli
