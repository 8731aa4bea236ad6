/// \file The folder of an adapter in PEFT's layout: adapter_config.json and adapter_model.safetensors.
#pragma once

#include "flashback/core/tokens.hpp"
#include "flashback/format/module_pattern.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// What PEFT calls the file of an adapter's settings.
inline constexpr std::string_view peft_config_file = "adapter_config.json";
/// What PEFT calls the file of an adapter's weights.
inline constexpr std::string_view peft_tensors_file = "adapter_model.safetensors";

/// What adapter_config.json says of a LoRA for a causal language model, if it changes the arithmetic or is worth knowing.
/// Modules are named as in the model that PEFT wraps, e.g. "model.layers.0.self_attn.q_proj".
/// Source    huggingface/peft: tuners/lora/config.py (the fields), tuners/tuners_utils.py check_target_module_exists (what is a
///           target), utils/other.py get_pattern_key (which pattern counts)
struct PeftConfig {
    std::string base_model = {};   ///< the name of the model that it was trained for
    std::size_t rank = 8;          ///< r
    double alpha = 8;              ///< lora_alpha
    double dropout = 0;            ///< lora_dropout; inference does not use it
    bool rank_stabilised = false;  ///< use_rslora: scale = alpha / sqrt(rank), else alpha / rank
    /// Whether the layers of the base hold their weights transposed, as GPT-2's do. A and B are stored the same either way.
    bool fan_in_fan_out = false;
    std::vector<std::string> target_modules = {};       ///< e.g. "q_proj": names, or the ends of names after a dot
    std::optional<ModulePattern> target_pattern = {};   ///< instead of names: one expression for whole names
    bool all_linear = false;                            ///< instead of names: "all-linear", every linear layer of a block
    std::vector<std::string> exclude_modules = {};      ///< names, or ends of names, that are taken out of the targets
    std::optional<ModulePattern> exclude_pattern = {};  ///< instead of names: one expression for whole names
    std::vector<std::size_t> layers_to_transform = {};  ///< the layers in which `target_modules` counts; empty: all
    std::vector<std::string> layers_pattern = {};       ///< what stands before the layer's number; empty: anything
    std::vector<std::pair<ModulePattern, std::size_t>> rank_pattern = {};  ///< other ranks, by module; the first that matches
    std::vector<std::pair<ModulePattern, double>> alpha_pattern = {};      ///< other alphas, by module
    std::vector<TokenId> token_indices = {};                               ///< input embedding rows that are replaced
    bool whole_embedding = false;                                          ///< modules_to_save has the input embedding

    /// The rank of a module.
    std::size_t rank_of(std::string_view module) const { return of_pattern(rank_pattern, module, rank); }

    /// The factor of B A in a module.
    double scale_of(std::string_view module) const {
        const auto r = static_cast<double>(rank_of(module));
        return of_pattern(alpha_pattern, module, alpha) / (rank_stabilised ? std::sqrt(r) : r);
    }

    /// Whether the file does not name its targets: then PEFT has a list of its own for every kind of model.
    bool open() const noexcept { return target_modules.empty() && !target_pattern && !all_linear; }

    /// Whether a linear layer of a block is a target.
    bool targets(std::string_view module) const {
        const auto among = [&](const std::vector<std::string>& names) {
            return std::ranges::any_of(names, [&](const auto& name) { return PeftConfig::names(name, module); });
        };
        if (among(exclude_modules) || (exclude_pattern && exclude_pattern->matches(module))) return false;
        if (open() || all_linear) return true;
        if (target_pattern) return target_pattern->matches(module);
        if (std::ranges::find(target_modules, module) != target_modules.end()) return true;
        return among(target_modules) && (layers_to_transform.empty() || in_layers(module));
    }

    /// Whether a name is that of a module, or the end of it after a dot.
    static bool names(std::string_view name, std::string_view module) noexcept {
        return module == name ||
               (module.ends_with(name) && module.size() > name.size() && module[module.size() - name.size() - 1] == '.');
    }

private:
    template <class T>
    static T of_pattern(const std::vector<std::pair<ModulePattern, T>>& patterns, std::string_view module, T otherwise) {
        const auto found = std::ranges::find_if(patterns, [&](const auto& p) { return p.first.matches_end(module); });
        return found == patterns.end() ? otherwise : found->second;
    }

    /// Whether the name contains the number of a layer to transform: after what `layers_pattern` says, and before more.
    bool in_layers(std::string_view module) const {
        for (std::size_t dot = module.find('.'); dot != module.npos; dot = module.find('.', dot + 1)) {
            std::size_t layer = 0;
            const char* const end = module.data() + module.size();
            const auto [rest, error] = std::from_chars(module.data() + dot + 1, end, layer);
            if (error != std::errc{} || rest == end || *rest != '.') continue;
            const std::string_view before = module.substr(0, dot);
            const bool here =
                layers_pattern.empty()
                    ? before.find('.') != before.npos
                    : std::ranges::any_of(layers_pattern, [&](const auto& p) { return before.ends_with("." + p); });
            if (here) return std::ranges::find(layers_to_transform, layer) != layers_to_transform.end();
        }
        return false;
    }
};

/// Reads the text of an adapter_config.json; `file` is the name that errors give it.
/// Throws    Error{format} if it is not JSON of this form, or lacks a number where one should be; Error{unsupported} for
///           another kind of adapter, and for every field that is set and would change the arithmetic in a way that is not
///           implemented
PeftConfig parse_peft_config(std::string_view json, const std::string& file);

/// The text of an adapter_config.json for inference.
std::string to_json(const PeftConfig& config);

/// Reads the configuration in the folder of an adapter.
/// Throws    as parse_peft_config; Error{io}
PeftConfig read_peft_config(const std::filesystem::path& folder);

}  // namespace flashback::inline FLASHBACK_ISA

#if !defined(FLASHBACK_COMPILED_ONCE)
#include "flashback/format/detail/peft_config.hpp"
#endif
