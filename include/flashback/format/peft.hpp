/// \file The folder of an adapter as PEFT lays it out: adapter_config.json and adapter_model.safetensors.
#pragma once

#include "flashback/core/tokens.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

inline constexpr std::string_view peft_config_file = "adapter_config.json";
inline constexpr std::string_view peft_tensors_file = "adapter_model.safetensors";

/// What adapter_config.json says of a LoRA for a causal language model, as far as it changes the arithmetic or is worth knowing.
/// Source    huggingface/peft: tuners/lora/config.py (the fields), utils/other.py get_pattern_key (which pattern counts)
struct PeftConfig {
    std::string base_model = {};   ///< the name of the model that it was trained for
    std::size_t rank = 8;          ///< r
    double alpha = 8;              ///< lora_alpha
    double dropout = 0;            ///< lora_dropout; no part of inference
    bool rank_stabilised = false;  ///< use_rslora: scale = alpha / sqrt(rank), else alpha / rank
    /// E.g. "q_proj"; none where the file has a regular expression, or leaves it open.
    std::vector<std::string> target_modules = {};
    std::vector<std::pair<std::string, std::size_t>> rank_pattern = {};  ///< other ranks, by module
    std::vector<std::pair<std::string, double>> alpha_pattern = {};      ///< other alphas, by module
    std::vector<TokenId> token_indices = {};                             ///< input embedding rows that are replaced
    bool whole_embedding = false;                                        ///< modules_to_save has embed_tokens

    /// The rank of a module, e.g. "model.layers.0.self_attn.q_proj".
    std::size_t rank_of(std::string_view module) const { return of_pattern(rank_pattern, module, rank); }

    /// What B A is multiplied with in a module.
    double scale_of(std::string_view module) const {
        const auto r = static_cast<double>(rank_of(module));
        return of_pattern(alpha_pattern, module, alpha) / (rank_stabilised ? std::sqrt(r) : r);
    }

    /// Whether a module is a target: its name or the end of it.
    bool targets(std::string_view module) const {
        return target_modules.empty() ||
               std::ranges::any_of(target_modules, [&](const auto& name) { return names(name, module); });
    }

    /// Whether a name is that of a module or the end of it, behind a dot.
    static bool names(std::string_view name, std::string_view module) noexcept {
        return module == name || (module.ends_with(name) && module[module.size() - name.size() - 1] == '.');
    }

private:
    template <class T>
    static T of_pattern(const std::vector<std::pair<std::string, T>>& patterns, std::string_view module, T otherwise) {
        const auto found = std::ranges::find_if(patterns, [&](const auto& p) { return names(p.first, module); });
        return found == patterns.end() ? otherwise : found->second;
    }
};

/// Reads the text of an adapter_config.json; `file` is the name for the sentences of errors.
/// Throws    Error{format} for what is no JSON of this form, or no number where one should be; Error{unsupported} for another kind of
///           adapter, and for every field that is set and would change the arithmetic in a way that is not implemented
PeftConfig parse_peft_config(std::string_view json, const std::string& file);

/// The text of an adapter_config.json for inference.
std::string to_json(const PeftConfig& config);

/// Reads the configuration in the folder of an adapter.
/// Throws    as parse_peft_config; Error{io}
PeftConfig read_peft_config(const std::filesystem::path& folder);

}  // namespace flashback::inline FLASHBACK_ISA

#include "flashback/format/detail/peft_config.hpp"
