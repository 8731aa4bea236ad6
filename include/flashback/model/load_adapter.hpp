/// \file From the folder of a PEFT adapter to an adapter.
#pragma once

#include "flashback/core/dequantize.hpp"
#include "flashback/format/peft.hpp"
#include "flashback/format/safetensors.hpp"
#include "flashback/model/adapter.hpp"
#include "flashback/model/detail/rotary_rows.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {
namespace detail {

inline constexpr std::string_view peft_prefix = "base_model.model.";
inline constexpr std::string_view peft_embedding = "model.embed_tokens";

/// Takes the tensors of an adapter one by one, each with the shape that the model asks for.
class AdapterTensors {
public:
    AdapterTensors(const std::filesystem::path& folder, FileAccess access)
        : file_(SafetensorsFile::open(folder / peft_tensors_file, access)) {}

    const std::string& file() const noexcept { return file_.name(); }
    bool has(const std::string& name) const { return find(name) != nullptr; }

    /// The rows of a tensor.
    std::size_t rows(const std::string& name) const {
        const SafeTensor* tensor = find(name);
        if (!tensor) FLASHBACK_THROW(ErrorCode::format, "'", file(), "' lacks the tensor ", peft_prefix, name);
        if (tensor->shape.size() != 2) {
            FLASHBACK_THROW(ErrorCode::format, "'", file(), "': tensor ", tensor->name, " has ", tensor->shape.size(),
                            " dimensions, expected 2");
        }
        return static_cast<std::size_t>(tensor->shape[0]);
    }

    /// A tensor as floats.
    /// Shape     (outputs, inputs) row-major
    std::vector<float> take(const std::string& name, std::size_t outputs, std::size_t inputs) {
        if (rows(name) != outputs || find(name)->shape[1] != inputs) {
            FLASHBACK_THROW(ErrorCode::format, "'", file(), "': tensor ", find(name)->name, " has the shape ",
                            find(name)->shape[0], " x ", find(name)->shape[1], ", expected ", outputs, " x ", inputs);
        }
        const SafeTensor& tensor = *find(name);
        if (tensor.type != DType::f32 && tensor.type != DType::f16 && tensor.type != DType::bf16) {
            FLASHBACK_THROW(ErrorCode::unsupported, "'", file(), "': tensor ", tensor.name, " has the element type ",
                            tensor.dtype, ", expected F32, F16 or BF16");
        }
        std::vector<float> values(outputs * inputs);  // the file has as many
        dequantize(*tensor.type, tensor.data.data(), values.size(), values.data());
        if (!std::ranges::all_of(values, [](float value) { return std::isfinite(value); }))
            FLASHBACK_THROW(ErrorCode::format, "'", file(), "': tensor ", tensor.name, " has a value that is no finite number");
        taken_.insert(tensor.name);
        return values;
    }

    /// Refuses a file with tensors that nobody took: none is silently ignored.
    void refuse_others() const {
        for (const SafeTensor& tensor : file_.tensors()) {
            if (!taken_.contains(tensor.name)) {
                FLASHBACK_THROW(ErrorCode::unsupported, "'", file(), "' has the tensor ", printable(tensor.name),
                                ", for which this model has no place");
            }
        }
    }

private:
    const SafeTensor* find(const std::string& name) const { return file_.tensor(std::string{peft_prefix} + name); }

    SafetensorsFile file_;
    std::unordered_set<std::string> taken_;
};

inline LoraPair take_lora(AdapterTensors& tensors, const PeftConfig& config, const TransformerConfig& c, std::size_t layer,
                          LinearModule m) {
    const std::string module = peft_module(layer, m);
    const std::string a = module + ".lora_A.weight";
    const std::string b = module + ".lora_B.weight";
    if (!tensors.has(a) && !tensors.has(b)) return {};
    if (!config.targets(module)) {
        FLASHBACK_THROW(ErrorCode::format, "'", tensors.file(), "' has tensors for ", module,
                        ", which target_modules does not name");
    }
    LoraPair pair;
    pair.rank = config.rank_of(module);
    if (tensors.rows(a) != pair.rank) {
        FLASHBACK_THROW(ErrorCode::format, "'", tensors.file(), "': tensor ", peft_prefix, a, " has the rank ", tensors.rows(a),
                        ", but the configuration says ", pair.rank);
    }
    pair.scale = static_cast<float>(config.scale_of(module));
    pair.a = tensors.take(a, pair.rank, c.inputs(m));
    pair.b = from_halves(c, m, tensors.take(b, c.outputs(m), pair.rank), pair.rank);
    return pair;
}

/// The rows that replace those of the model: the trained tokens, or the whole embedding but for rows that are the model's own.
inline void take_embedding(AdapterTensors& tensors, const PeftConfig& config, const Transformer& model, Adapter& adapter) {
    const TransformerConfig& c = model.config;
    if (!config.token_indices.empty()) {
        for (const TokenId id : config.token_indices) {
            if (static_cast<std::size_t>(id) >= c.vocab) {
                FLASHBACK_THROW(ErrorCode::format, "'", tensors.file(), "' replaces the embedding row ", id,
                                ", but the model has ", c.vocab, " rows");
            }
        }
        adapter.embedding_ids = config.token_indices;
        adapter.embedding_rows = tensors.take(std::string{peft_embedding} + ".token_adapter.trainable_tokens_delta",
                                              config.token_indices.size(), c.width);
    }
    if (!config.whole_embedding) return;
    const std::vector<float> rows = tensors.take(std::string{peft_embedding} + ".weight", c.vocab, c.width);
    std::vector<float> own(c.width);
    for (std::size_t id = 0; id < c.vocab; ++id) {
        const auto row = rows.begin() + static_cast<std::ptrdiff_t>(id * c.width);
        model.embedding.row(id, own.data());
        if (std::equal(own.begin(), own.end(), row)) continue;
        const auto token = static_cast<TokenId>(id);
        if (std::ranges::find(config.token_indices, token) != config.token_indices.end()) {
            FLASHBACK_THROW(ErrorCode::format, "'", tensors.file(), "' replaces the embedding row ", id, " twice");
        }
        adapter.embedding_ids.push_back(token);
        adapter.embedding_rows.insert(adapter.embedding_rows.end(), row, row + static_cast<std::ptrdiff_t>(c.width));
    }
}

}  // namespace detail

/// The adapter in a folder of PEFT: LoRA pairs of F32, F16 or BF16, and rows that replace those of the input embedding, either the
/// trained ones (`trainable_token_indices`) or a whole embedding (`modules_to_save`). Rows of B of queries and keys are put into the
/// order of this model, which rotates other pairs than Hugging Face's. The output head stays that of the model.
/// Throws    Error{io}, Error{format}, Error{unsupported}: a file is absent or damaged, says something that is not implemented, does
///           not fit the model, or changes nothing; the sentence names the tensor or the field
inline Adapter load_adapter(const std::filesystem::path& folder, const Transformer& model,
                            FileAccess access = FileAccess::map) {
    const PeftConfig config = read_peft_config(folder);
    detail::AdapterTensors tensors{folder, access};
    const TransformerConfig& c = model.config;
    Adapter adapter;
    std::vector<AdapterLayer> layers(c.layers);
    bool any = false;
    for (std::size_t l = 0; l < c.layers; ++l) {
        for (const LinearModule m : linear_modules) {
            layers[l][m] = detail::take_lora(tensors, config, c, l, m);
            any |= layers[l][m].rank > 0;
        }
    }
    if (any) adapter.layers = std::move(layers);
    detail::take_embedding(tensors, config, model, adapter);
    tensors.refuse_others();
    for (const std::string& name : config.target_modules) {
        bool found = false;
        for (std::size_t l = 0; l < adapter.layers.size(); ++l) {
            for (const LinearModule m : linear_modules)
                found |= adapter.layers[l][m].rank > 0 && PeftConfig::names(name, peft_module(l, m));
        }
        if (!found) {
            FLASHBACK_THROW(ErrorCode::format, "'", tensors.file(), "' has no tensor for the target module '",
                            detail::printable(name), '\'');
        }
    }
    if (!any && adapter.embedding_ids.empty()) {
        FLASHBACK_THROW(ErrorCode::format, "'", folder.string(), "' is an adapter that changes nothing of this model");
    }
    return adapter;
}

}  // namespace flashback::inline FLASHBACK_ISA
