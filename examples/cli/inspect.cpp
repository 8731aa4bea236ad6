#include "common.hpp"
#include "flashback/core/error.hpp"
#include "flashback/core/thread_pool.hpp"
#include "flashback/files/load.hpp"
#include "flashback/format/gguf_fingerprint.hpp"
#include "flashback/text/unicode.hpp"
#include "inspect_adapter.hpp"
#include "inspect_folder.hpp"
#include "inspect_weights.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iomanip>
#include <iostream>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

namespace cli {
namespace {

namespace fb = flashback;

struct InspectSettings {
    std::string model;
    std::string adapter;
    bool tensors = false;
    std::size_t threads = 1;
    bool json = false;
};

Json value_json(const fb::GgufValue& value) {
    return std::visit(
        [](const auto& v) -> Json {
            if constexpr (std::is_same_v<std::remove_cvref_t<decltype(v)>, fb::GgufArray>) {
                return "array of " + std::to_string(v.count);
            } else {
                return v;
            }
        },
        value);
}

Json vocabulary_json(const fb::ModelSource& source) {
    if (!source.has_tokenizer()) return nullptr;
    const fb::Vocabulary v = fb::read_vocabulary(source);
    const auto find = [&](std::string_view piece) {
        const auto it = std::ranges::find(v.pieces, piece);
        return it == v.pieces.end() ? Json(nullptr) : Json(it - v.pieces.begin());
    };
    const auto id = [](const std::optional<fb::TokenId>& token) { return token ? Json(*token) : Json(nullptr); };
    return {{"tokenizer", v.model},
            {"pre_tokenizer", v.pre},
            {"tokens", v.size()},
            {"bos", id(v.bos)},
            {"eos", id(v.eos)},
            {"unknown", id(v.unknown)},
            {"add_bos", v.add_bos},
            {"add_space_prefix", v.add_space_prefix},
            {"markers", {find(marker_names[0]), find(marker_names[1])}}};
}

/// Why the model cannot be run here; null if it can.
Json obstacle_json(const fb::GgufFile& file) {
    try {
        if (!fb::read_config(file).causal) return encoder_obstacle;
        if (file.find("tokenizer.ggml.tokens")) fb::load_tokenizer(file);
        return nullptr;
    } catch (const fb::Error& error) {
        return error.what();
    }
}

Json inspection(const fb::ModelSource& source, const InspectSettings& settings) {
    fb::ThreadPool pool = start_threads(settings.threads);
    if (!source.gguf()) {
        Json json = inspect_folder(source, pool, settings.tensors);
        json["vocabulary"] = json["obstacle"].is_null() ? vocabulary_json(source) : Json(nullptr);
        return json;
    }
    const fb::GgufFile& file = *source.gguf();
    const std::string architecture{file.text("general.architecture").value_or("")};
    std::ostringstream fingerprint;
    fingerprint << std::hex << std::setw(16) << std::setfill('0') << fb::fingerprint(file, pool);

    Json parameters = Json::object();
    for (const auto& [key, value] : file.metadata()) {
        if (key.starts_with(architecture + '.'))
            parameters[std::string{key.substr(architecture.size() + 1)}] = value_json(value);
    }
    std::vector<ListedTensor> tensors;
    for (const fb::GgufTensor& tensor : file.tensors()) tensors.push_back(listed(tensor));
    Json json{{"file", file.name()},
              {"format", "GGUF " + std::to_string(file.version())},
              {"architecture", architecture},
              {"name", file.text("general.name").value_or("")},
              {"hyper_parameters", parameters},
              {"weights", weights_json(tensors, pool)},
              {"vocabulary", vocabulary_json(source)},
              {"fingerprint", fingerprint.str()},
              {"obstacle", obstacle_json(file)}};
    if (settings.tensors) json["tensors"] = tensors_json(tensors, "dims");
    return json;
}

void print_file(const Json& json) {
    for (const char* name : {"file", "format", "architecture", "name", "fingerprint"}) print_line(name, json[name]);
    print_weights(json["weights"], true);
    std::cout << "hyper-parameters\n";
    for (const auto& [name, value] : json["hyper_parameters"].items())
        std::cout << "  " << std::left << std::setw(36) << fb::harmless(name) << shown(value) << '\n';
    if (json["vocabulary"].is_null()) {
        print_line("vocabulary", "none");
    } else {
        std::cout << "vocabulary\n";
        for (const auto& [name, value] : json["vocabulary"].items()) print_line("  " + name, value);
    }
    if (json.contains("tensors")) print_tensors(json["tensors"], "dims", 30);
    print_line("can be run", json["obstacle"].is_null() ? std::string{"yes"} : "no: " + shown(json["obstacle"]));
}

}  // namespace

void add_inspect(CLI::App& app, Command& run) {
    auto settings = std::make_shared<InspectSettings>();
    CLI::App& command = *app.add_subcommand("inspect", "Show what a model file holds, and whether it can be run here");
    add_model(command, settings->model);
    command
        .add_option("--adapter", settings->adapter,
                    "Show a LoRA adapter instead, a folder or a GGUF file, and whether it can be used with the model")
        ->type_name("DIR");
    command.add_flag("--tensors", settings->tensors, "List every tensor");
    add_threads(command, settings->threads);
    add_json(command, settings->json);
    command.footer(
        "The fingerprint is that of weights and hyper-parameters: it is equal if the models are.\nExample:\n  flashback "
        "inspect --tensors");
    command.callback([settings, &run] {
        run = [settings] {
            const fb::ModelSource file = open_model(settings->model);
            if (!settings->adapter.empty()) return inspect_adapter(settings->adapter, file, settings->tensors, settings->json);
            const Json json = inspection(file, *settings);
            if (settings->json) {
                print(json);
            } else {
                print_file(json);
            }
        };
    });
}

}  // namespace cli
