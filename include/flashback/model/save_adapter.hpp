/// \file From an adapter to the folder that PEFT reads.
#pragma once

#include "flashback/format/atomic_file.hpp"
#include "flashback/format/peft.hpp"
#include "flashback/format/safetensors_writer.hpp"
#include "flashback/model/adapter.hpp"
#include "flashback/model/load_adapter.hpp"

#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <system_error>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// What the files say besides the numbers.
struct SaveAdapterOptions {
    std::string base_model = {};  ///< base_model_name_or_path: where PEFT looks for the model
    float dropout = 0;            ///< lora_dropout of the training
};

namespace detail {

/// An alpha that gives a scale again to the last bit: a whole number if there is one.
inline double alpha_of(const LoraPair& pair) {
    const auto rank = static_cast<double>(pair.rank);
    const double exact = static_cast<double>(pair.scale) * rank;  // 24 bits times 31: no rounding
    const double whole = std::round(exact);
    return static_cast<float>(whole / rank) == pair.scale ? whole : exact;
}

/// The number that a person would write for a float: 0.05, and not what 0.05f is to the last digit.
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

inline PeftConfig peft_config_of(const Adapter& adapter, const SaveAdapterOptions& options) {
    PeftConfig config;
    config.base_model = options.base_model;
    config.dropout = shortest(options.dropout);
    config.token_indices = adapter.embedding_ids;
    std::map<std::size_t, std::size_t> ranks;
    std::map<double, std::size_t> alphas;
    for (const AdapterLayer& layer : adapter.layers) {
        for (const LoraPair& pair : layer.pairs) {
            if (pair.rank == 0) continue;
            ++ranks[pair.rank];
            ++alphas[alpha_of(pair)];
        }
    }
    config.rank = most_frequent(ranks, config.rank);
    config.alpha = most_frequent(alphas, config.alpha);
    for (const LinearModule m : linear_modules) {
        std::vector<std::string> modules;
        for (std::size_t l = 0; l < adapter.layers.size(); ++l) {
            const LoraPair& pair = adapter.layers[l][m];
            if (pair.rank == 0) continue;
            modules.push_back(peft_module(l, m));
            if (pair.rank != config.rank) config.rank_pattern.emplace_back(modules.back(), pair.rank);
            if (alpha_of(pair) != config.alpha) config.alpha_pattern.emplace_back(modules.back(), alpha_of(pair));
        }
        if (!modules.empty() && modules.size() == adapter.layers.size()) modules = {std::string{to_string(m)} + "_proj"};
        config.target_modules.insert(config.target_modules.end(), modules.begin(), modules.end());
    }
    return config;
}

}  // namespace detail

/// Writes an adapter as PEFT does, for a model of the same shape: `load_adapter` gives the same bits again, and PEFT the same outputs
/// with Hugging Face's form of the model. Numbers are F32. The folder is made if it is not there; other files in it stay.
///
/// Both files are complete on the disk before either appears. A program that is killed between the two leaves a folder without a
/// configuration, which is refused, and never an old one beside new numbers.
/// Throws    Error{contract} if the adapter does not fit the model or changes nothing; Error{io}
inline void save_adapter(const Adapter& adapter, const TransformerConfig& model, const std::filesystem::path& folder,
                         const SaveAdapterOptions& options = {}) {
    check_fits(adapter, model);
    const PeftConfig config = detail::peft_config_of(adapter, options);
    FLASHBACK_ASSERT(!config.target_modules.empty() || !config.token_indices.empty(),
                     "an adapter that changes nothing is saved");
    std::error_code failure;
    std::filesystem::create_directories(folder, failure);
    if (failure) FLASHBACK_THROW(ErrorCode::io, "cannot make the folder '", folder.string(), "': ", failure.message());

    struct Tensor {
        std::string name;
        std::vector<std::uint64_t> shape;
        std::vector<float> values;
    };
    std::vector<Tensor> tensors;
    for (std::size_t l = 0; l < adapter.layers.size(); ++l) {
        for (const LinearModule m : linear_modules) {
            const LoraPair& pair = adapter.layers[l][m];
            if (pair.rank == 0) continue;
            tensors.push_back({peft_module(l, m) + ".lora_A.weight", {pair.rank, model.inputs(m)}, pair.a});
            tensors.push_back({peft_module(l, m) + ".lora_B.weight",
                               {model.outputs(m), pair.rank},
                               detail::to_halves(model, m, pair.b, pair.rank)});
        }
    }
    if (!adapter.embedding_ids.empty()) {
        tensors.push_back({std::string{detail::peft_embedding} + ".token_adapter.trainable_tokens_delta",
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
    if (std::filesystem::remove(config_path, failure); failure)
        FLASHBACK_THROW(ErrorCode::io, "cannot replace '", config_path.string(), "': ", failure.message());
    numbers.finish();
    config_file.finish();
}

}  // namespace flashback::inline FLASHBACK_ISA
