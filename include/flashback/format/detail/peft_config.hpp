/// \file Reads and writes adapter_config.json.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/format/json_tree.hpp"
#include "flashback/format/mapped_file.hpp"
#include "flashback/format/peft.hpp"

#include <array>
#include <limits>
#include <optional>
#include <utility>

namespace flashback::inline FLASHBACK_ISA {
namespace detail {

/// Fields that change nothing about the arithmetic of an adapter that is trained already.
inline constexpr std::array peft_harmless_fields{
    std::string_view{"auto_mapping"},   std::string_view{"base_model_name_or_path"},
    std::string_view{"inference_mode"}, std::string_view{"lora_dropout"},
    std::string_view{"peft_type"},      std::string_view{"peft_version"},
    std::string_view{"revision"},       std::string_view{"task_type"},
    std::string_view{"megatron_core"},  std::string_view{"qalora_group_size"},
    std::string_view{"runtime_config"}, std::string_view{"ensure_weight_tying"},
    std::string_view{"corda_config"},   std::string_view{"eva_config"},
    std::string_view{"loftq_config"}};

/// Fields that are read.
inline constexpr std::array peft_read_fields{std::string_view{"r"},
                                             std::string_view{"lora_alpha"},
                                             std::string_view{"use_rslora"},
                                             std::string_view{"fan_in_fan_out"},
                                             std::string_view{"target_modules"},
                                             std::string_view{"exclude_modules"},
                                             std::string_view{"layers_to_transform"},
                                             std::string_view{"layers_pattern"},
                                             std::string_view{"rank_pattern"},
                                             std::string_view{"alpha_pattern"},
                                             std::string_view{"modules_to_save"},
                                             std::string_view{"bias"},
                                             std::string_view{"init_lora_weights"},
                                             std::string_view{"trainable_token_indices"}};

/// Whether a name is that of an input embedding, in one of the families.
inline bool names_embedding(std::string_view module) noexcept {
    return PeftConfig::names("embed_tokens", module) || PeftConfig::names("wte", module);
}

/// The fields of one adapter_config.json.
class PeftFields {
public:
    using Json = JsonTree;

    PeftFields(std::string_view text, const std::string& file) : file_(file), json_(Json::parse(text, file)) {
        if (!json_.is_object()) refuse("is no JSON object");
    }

    const Json& all() const noexcept { return json_; }

    /// A field; null if it is absent or null.
    const Json* find(const char* field) const {
        const Json* found = json_.find(field);
        return found == nullptr || found->is_null() ? nullptr : found;
    }
    bool flag(const char* field) const {
        const Json* value = find(field);
        if (value && !value->is_boolean()) refuse_value(field, *value, "true or false");
        return value && value->as<bool>();
    }
    std::string text(const char* field) const {
        const Json* value = find(field);
        if (value && !value->is_string()) refuse_value(field, *value, "a text");
        return value ? value->as<std::string>() : std::string{};
    }
    double number(const char* field, const Json& value) const {
        if (!value.is_number()) refuse_value(field, value, "a number");
        const double number = value.number();
        if (!(std::fabs(number) <= 1e30)) refuse_value(field, value, "a number of a sensible size");
        return number;
    }
    std::size_t count(const char* field, const Json& value, std::uint64_t least) const {
        if (!value.is_number_unsigned() || value.whole() < least || value.whole() > most)
            refuse_value(field, value,
                         least == 0 ? "a whole number from 0 to 2147483647" : "a whole number from 1 to 2147483647");
        return static_cast<std::size_t>(value.whole());
    }
    std::vector<std::string> texts(const char* field, const Json& value) const {
        std::vector<std::string> list;
        if (!value.is_array()) refuse_value(field, value, "a list of texts");
        for (const Json& entry : value.array()) {
            if (!entry.is_string()) refuse_value(field, entry, "a text in the list");
            list.push_back(entry.as<std::string>());
        }
        return list;
    }
    /// A text, or a list of texts.
    std::vector<std::string> text_or_texts(const char* field) const {
        const Json* value = find(field);
        if (!value) return {};
        return value->is_string() ? std::vector{value->as<std::string>()} : texts(field, *value);
    }
    ModulePattern expression(const char* field, const std::string& text) const {
        try {
            return ModulePattern{text};
        } catch (const Error& error) {
            FLASHBACK_THROW(error.code(), "'", file_, "', ", field, ": ", error.what());
        }
    }
    /// Names, or one expression for whole names.
    void modules(const char* field, std::vector<std::string>& names, std::optional<ModulePattern>& pattern) const {
        const Json* value = find(field);
        if (!value) return;
        if (value->is_string()) {
            pattern = expression(field, value->as<std::string>());
        } else {
            names = texts(field, *value);
        }
    }
    /// An object whose names are patterns of module names; `read` converts the values.
    template <class T, class Read>
    std::vector<std::pair<ModulePattern, T>> pattern(const char* field, const Read& read) const {
        std::vector<std::pair<ModulePattern, T>> entries;
        const Json* value = find(field);
        if (!value) return entries;
        if (!value->is_object()) refuse_value(field, *value, "an object");
        for (const auto& [name, entry] : value->object()) {
            if (name.empty()) refuse("has an empty name in ", field, ", expected that of a module");
            entries.emplace_back(expression(field, name), read(entry));
        }
        return entries;
    }

    template <class... Parts>
    [[noreturn]] void refuse(const Parts&... parts) const {
        FLASHBACK_THROW(ErrorCode::format, "'", file_, "' ", parts...);
    }
    template <class... Parts>
    [[noreturn]] void unsupported(const Parts&... parts) const {
        FLASHBACK_THROW(ErrorCode::unsupported, "'", file_, "' ", parts...);
    }
    /// A value as a message may show it.
    static std::string shown(const Json& value) { return printable(value.text()); }

private:
    [[noreturn]] void refuse_value(const char* field, const Json& value, const char* expected) const {
        refuse("has ", shown(value), " for ", field, ", expected ", expected);
    }

    static constexpr std::uint64_t most = std::numeric_limits<std::int32_t>::max();

    const std::string& file_;
    Json json_;
};

inline std::vector<TokenId> peft_token_indices(const PeftFields& fields) {
    constexpr const char* field = "trainable_token_indices";
    std::vector<TokenId> ids;
    const PeftFields::Json* value = fields.find(field);
    if (!value) return ids;
    if (value->is_object()) {  // module -> list
        if (value->object().empty()) return ids;
        for (const auto& [module, list] : value->object()) {
            if (!names_embedding(module)) {
                fields.unsupported("has ", field, " for the module '", printable(module),
                                   "', expected embed_tokens or wte: only rows of the input embedding can be replaced");
            }
        }
        if (value->object().size() > 1)
            fields.refuse("has ", field, " for ", value->object().size(), " modules, expected the input embedding alone");
        value = &value->object().front().second;
    }
    if (!value->is_array()) fields.refuse("has ", PeftFields::shown(*value), " for ", field, ", expected a list of tokens");
    for (const PeftFields::Json& entry : value->array()) ids.push_back(static_cast<TokenId>(fields.count(field, entry, 0)));
    std::vector<TokenId> sorted = ids;
    std::ranges::sort(sorted);
    if (const auto twice = std::ranges::adjacent_find(sorted); twice != sorted.end())
        fields.refuse("has the token ", *twice, " twice in ", field);
    return ids;
}

inline void read_layers(const PeftFields& fields, PeftConfig& config) {
    constexpr const char* field = "layers_to_transform";
    if (const PeftFields::Json* layers = fields.find(field)) {
        if (layers->is_array()) {
            for (const PeftFields::Json& layer : layers->array())
                config.layers_to_transform.push_back(fields.count(field, layer, 0));
        } else {
            config.layers_to_transform = {fields.count(field, *layers, 0)};
        }
    }
    if (!config.layers_to_transform.empty() && config.target_modules.empty())
        fields.refuse("has ", field, ", which counts only beside a list of target_modules");
    config.layers_pattern = fields.text_or_texts("layers_pattern");
    for (const std::string& name : config.layers_pattern) {
        const auto plain = [](char c) {
            return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.';
        };
        if (name.empty() || !std::ranges::all_of(name, plain)) {
            fields.unsupported("has '", printable(name),
                               "' for layers_pattern, expected the name of a list of layers: expressions are not implemented");
        }
    }
}

}  // namespace detail

FLASHBACK_DETAIL_ONCE PeftConfig parse_peft_config(std::string_view json, const std::string& file) {
    const detail::PeftFields fields{json, file};
    using Json = detail::PeftFields::Json;
    if (!fields.find("peft_type")) fields.refuse("lacks the field peft_type");
    if (const std::string type = fields.text("peft_type"); type != "LORA")
        fields.unsupported("has the peft_type '", printable(type), "', expected LORA");
    if (const std::string task = fields.text("task_type"); !task.empty() && task != "CAUSAL_LM")
        fields.unsupported("has the task_type '", printable(task), "', expected CAUSAL_LM");

    PeftConfig config;
    config.base_model = fields.text("base_model_name_or_path");
    if (const Json* r = fields.find("r")) config.rank = fields.count("r", *r, 1);
    if (const Json* alpha = fields.find("lora_alpha")) config.alpha = fields.number("lora_alpha", *alpha);
    if (const Json* dropout = fields.find("lora_dropout")) config.dropout = fields.number("lora_dropout", *dropout);
    config.rank_stabilised = fields.flag("use_rslora");
    config.fan_in_fan_out = fields.flag("fan_in_fan_out");
    if (const Json* targets = fields.find("target_modules");
        targets && targets->is_string() && targets->as<std::string>() == "all-linear") {
        config.all_linear = true;
    } else {
        fields.modules("target_modules", config.target_modules, config.target_pattern);
    }
    fields.modules("exclude_modules", config.exclude_modules, config.exclude_pattern);
    detail::read_layers(fields, config);
    config.rank_pattern =
        fields.pattern<std::size_t>("rank_pattern", [&](const Json& value) { return fields.count("rank_pattern", value, 1); });
    config.alpha_pattern =
        fields.pattern<double>("alpha_pattern", [&](const Json& value) { return fields.number("alpha_pattern", value); });
    config.token_indices = detail::peft_token_indices(fields);
    if (const Json* saved = fields.find("modules_to_save")) {
        for (const std::string& module : fields.texts("modules_to_save", *saved)) {
            if (!detail::names_embedding(module)) {
                fields.unsupported("has '", printable(module),
                                   "' in modules_to_save, expected embed_tokens or wte: other modules cannot be replaced");
            }
            config.whole_embedding = true;
        }
    }
    if (const std::string bias = fields.text("bias"); !bias.empty() && bias != "none")
        fields.unsupported("has the bias '", printable(bias), "', expected none");
    if (const Json* start = fields.find("init_lora_weights"); start && start->is_string()) {
        // The other kinds change the weights of the model that they are trained on.
        const auto name = start->as<std::string>();
        if (name != "gaussian" && name != "eva" && name != "orthogonal") {
            fields.unsupported("has init_lora_weights '", printable(name),
                               "', which changes the model itself, expected an adapter that was converted to a plain LoRA");
        }
    }
    for (const auto& [name, value] : fields.all().object()) {
        if (value.says_nothing() || std::ranges::find(detail::peft_read_fields, name) != detail::peft_read_fields.end() ||
            std::ranges::find(detail::peft_harmless_fields, name) != detail::peft_harmless_fields.end())
            continue;
        fields.unsupported("has ", detail::PeftFields::shown(value), " for ", printable(name),
                           ", which may change the arithmetic and is not implemented");
    }
    return config;
}

FLASHBACK_DETAIL_ONCE std::string to_json(const PeftConfig& config) {
    using Json = JsonTree;
    // A whole number is written as one, because PEFT's lora_alpha is usually an int.
    const auto number = [](double value) {
        return std::fabs(value) < 1e9 && value == std::floor(value) ? Json(static_cast<std::int64_t>(value)) : Json(value);
    };
    const auto list = [](const auto& values) {
        return values.empty() ? Json{} : Json(Json::Array(values.begin(), values.end()));
    };
    const auto names = [&](const std::vector<std::string>& texts, const std::optional<ModulePattern>& pattern) {
        return pattern ? Json(pattern->text()) : list(texts);
    };
    Json::Object ranks;
    Json::Object alphas;
    for (const auto& [pattern, rank] : config.rank_pattern) ranks.emplace_back(pattern.text(), rank);
    for (const auto& [pattern, alpha] : config.alpha_pattern) alphas.emplace_back(pattern.text(), number(alpha));
    Json targets = names(config.target_modules, config.target_pattern);
    if (config.all_linear) targets = "all-linear";
    if (config.open()) targets = "dummy-target-modules";  // PEFT's name for none
    Json::Object json;
    const auto add = [&json](const char* name, Json value) { json.emplace_back(name, std::move(value)); };
    add("base_model_name_or_path", config.base_model.empty() ? Json{} : Json(config.base_model));
    add("bias", "none");
    add("exclude_modules", names(config.exclude_modules, config.exclude_pattern));
    add("fan_in_fan_out", config.fan_in_fan_out);
    add("inference_mode", true);
    add("init_lora_weights", true);
    add("layers_pattern", list(config.layers_pattern));
    add("layers_to_transform", list(config.layers_to_transform));
    add("lora_alpha", number(config.alpha));
    add("lora_dropout", number(config.dropout));
    add("modules_to_save", config.whole_embedding ? Json(Json::Array(1, "embed_tokens")) : Json{});
    add("peft_type", "LORA");
    add("r", config.rank);
    add("rank_pattern", std::move(ranks));
    add("alpha_pattern", std::move(alphas));
    add("revision", nullptr);
    add("target_modules", std::move(targets));
    add("task_type", "CAUSAL_LM");
    add("trainable_token_indices", list(config.token_indices));
    add("use_dora", false);
    add("use_rslora", config.rank_stabilised);
    return Json(std::move(json)).text(true) + '\n';
}

FLASHBACK_DETAIL_ONCE PeftConfig read_peft_config(const std::filesystem::path& folder) {
    const std::filesystem::path path = folder / peft_config_file;
    const MappedFile mapped{path};
    return parse_peft_config({reinterpret_cast<const char*>(mapped.bytes().data()), mapped.bytes().size()}, path.string());
}

}  // namespace flashback::inline FLASHBACK_ISA
