/// \file From an adapter to the folder that PEFT reads, step by step.
#pragma once

#include "flashback/files/detail/adapter_modules.hpp"
#include "flashback/files/detail/load_peft.hpp"
#include "flashback/files/save_adapter.hpp"
#include "flashback/format/atomic_file.hpp"
#include "flashback/format/folder.hpp"
#include "flashback/format/peft.hpp"
#include "flashback/format/safetensors_writer.hpp"
#include "flashback/model/adapter.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {
namespace detail {

/// An alpha that gives back the scale to the last bit; a whole number if there is one.
inline double alpha_of(const LoraPair& pair) {
    const auto rank = static_cast<double>(pair.rank);
    const double exact = static_cast<double>(pair.scale) * rank;  // 24 bits times 31: exact
    const double whole = std::round(exact);
    return static_cast<float>(whole / rank) == pair.scale ? whole : exact;
}

/// The number that a person would write for a float: 0.05, not all the digits of 0.05f.
inline double shortest(float value) {
    std::array<char, 64> text{};
    double number = 0;
    std::from_chars(text.data(), std::to_chars(text.data(), text.data() + text.size(), value).ptr, number);
    return number;
}

/// The most frequent of some numbers.
template <class T>
T most_frequent(const std::map<T, std::size_t>& counts, T otherwise) {
    std::size_t most = 0;
    for (const auto& [value, count] : counts) {
        if (count > most) {
            most = count;
            otherwise = value;
        }
    }
    return otherwise;
}

/// A pair with the name of its layer.
struct NamedPair {
    std::string module;
    LoraPair pair;
};

/// The pairs of all layers that have one, with their rotary rows in the order that the file wants.
template <class Modules>
std::vector<NamedPair> named_pairs(const Adapter& adapter, const TransformerConfig& c, RotaryRows order,
                                   const Modules& modules) {
    std::vector<NamedPair> pairs;
    for (std::size_t l = 0; l < adapter.layers.size(); ++l) {
        for (const FileModule& module : modules(c, l)) {
            LoraPair pair = joined(c, module, adapter.layers[l], order);
            if (pair.rank > 0) pairs.push_back({module.name, std::move(pair)});
        }
    }
    return pairs;
}

/// The end of a module's name that this module has in every layer, e.g. "q_proj" or "attn.c_proj".
inline std::string in_every_layer(const TransformerConfig& c, const std::string& module) {
    std::size_t dot = module.rfind('.');
    if (c.family == Family::gpt2) dot = module.rfind('.', dot - 1);  // "c_proj" alone would name two modules
    return module.substr(dot + 1);
}

inline PeftConfig peft_config_of(const std::vector<NamedPair>& pairs, const TransformerConfig& c, const Adapter& adapter,
                                 const SaveAdapterOptions& options) {
    PeftConfig config;
    config.base_model = options.base_model;
    config.dropout = shortest(options.dropout);
    config.fan_in_fan_out = c.family == Family::gpt2;
    config.token_indices = adapter.embedding_ids;
    std::map<std::size_t, std::size_t> ranks;
    std::map<double, std::size_t> alphas;
    std::map<std::string, std::size_t> modules;
    for (const NamedPair& named : pairs) {
        ++ranks[named.pair.rank];
        ++alphas[alpha_of(named.pair)];
        ++modules[in_every_layer(c, named.module)];
    }
    config.rank = most_frequent(ranks, config.rank);
    config.alpha = most_frequent(alphas, config.alpha);
    for (const NamedPair& named : pairs) {
        const std::string end = in_every_layer(c, named.module);
        const std::string target = modules[end] == c.layers ? end : named.module;
        if (std::ranges::find(config.target_modules, target) == config.target_modules.end())
            config.target_modules.push_back(target);
        if (named.pair.rank != config.rank) config.rank_pattern.emplace_back(named.module, named.pair.rank);
        if (const double alpha = alpha_of(named.pair); alpha != config.alpha)
            config.alpha_pattern.emplace_back(named.module, alpha);
    }
    return config;
}

}  // namespace detail

FLASHBACK_DETAIL_ONCE void save_adapter(const Adapter& adapter, const TransformerConfig& model,
                                        const std::filesystem::path& folder, const SaveAdapterOptions& options) {
    check_fits(adapter, model);
    const std::vector<detail::NamedPair> pairs =
        detail::named_pairs(adapter, model, detail::RotaryRows::halves, detail::peft_modules);
    const PeftConfig config = detail::peft_config_of(pairs, model, adapter, options);
    FLASHBACK_ASSERT(!config.target_modules.empty() || !config.token_indices.empty(),
                     "an adapter that changes nothing is saved");
    const MadeFolder made{folder};  // made before the files: if they cannot be written, it is removed after them

    struct Tensor {
        std::string name;
        std::vector<std::uint64_t> shape;
        std::vector<float> values;
    };
    std::vector<Tensor> tensors;
    for (const auto& [module, pair] : pairs) {
        tensors.push_back({module + ".lora_A.weight", {pair.rank, pair.a.size() / pair.rank}, pair.a});
        tensors.push_back({module + ".lora_B.weight", {pair.b.size() / pair.rank, pair.rank}, pair.b});
    }
    if (!adapter.embedding_ids.empty()) {
        tensors.push_back({peft_embedding(model) + ".token_adapter.trainable_tokens_delta",
                           {adapter.embedding_ids.size(), model.row_width()},
                           adapter.embedding_rows});
    }

    const std::filesystem::path config_path = folder / peft_config_file;
    AtomicFile config_file{config_path};
    SafetensorsWriter numbers{folder / peft_tensors_file};
    config_file.write(to_json(config));
    numbers.set_metadata("format", "pt");
    for (const Tensor& t : tensors) numbers.add_tensor(std::string{detail::peft_prefix} + t.name, t.shape, DType::f32);
    for (const Tensor& t : tensors) numbers.write(std::as_bytes(std::span{t.values}));
    config_file.sync();
    numbers.sync();
    std::error_code failure;
    if (std::filesystem::remove(config_path, failure); failure)
        FLASHBACK_THROW(ErrorCode::io, "cannot replace '", config_path.string(), "': ", failure.message());
    numbers.finish();
    config_file.finish();
}

}  // namespace flashback::inline FLASHBACK_ISA
