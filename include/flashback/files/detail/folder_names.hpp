/// \file How Hugging Face's files name the tensors of a model, and how they hold them.
#pragma once

#include "flashback/model/adapter.hpp"
#include "flashback/model/detail/each_tensor.hpp"
#include "flashback/model/transformer.hpp"

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace flashback::inline FLASHBACK_ISA::detail {

/// Where one of our tensors stands in a folder.
struct FolderTensor {
    std::string name;                    ///< with the longest prefix that files have
    std::optional<LinearModule> module;  ///< which linear layer it belongs to
    bool transposed = false;             ///< GPT-2's Conv1D: (inputs, outputs)
    std::size_t parts = 1;               ///< our tensors that stand on top of each other in it
    std::size_t part = 0;                ///< which of them it is
};

/// What stands in front of all names of a file, the longest first. It depends on the class of the model that was saved.
inline std::array<std::string_view, 3> folder_prefixes(Family family) {
    switch (family) {
        case Family::gpt2: return {"transformer.", "", ""};
        case Family::opt: return {"model.decoder.", "decoder.", ""};
        default: return {"model.", "", ""};
    }
}

/// The names of norms, and of what stands outside the blocks.
inline std::string_view folder_name(Family family, std::string_view ours) {
    using Names = std::array<std::pair<std::string_view, std::string_view>, 7>;
    constexpr Names llama{{{"token_embd", "embed_tokens"},
                           {"attn_norm", "input_layernorm"},
                           {"ffn_norm", "post_attention_layernorm"},
                           {"output_norm", "norm"}}};
    constexpr Names gpt2{{{"token_embd", "wte"},
                          {"position_embd", "wpe"},
                          {"attn_norm", "ln_1"},
                          {"ffn_norm", "ln_2"},
                          {"output_norm", "ln_f"}}};
    constexpr Names opt{{{"token_embd", "embed_tokens"},
                         {"position_embd", "embed_positions"},
                         {"project_in", "project_in"},
                         {"project_out", "project_out"},
                         {"attn_norm", "self_attn_layer_norm"},
                         {"ffn_norm", "final_layer_norm"},
                         {"output_norm", "final_layer_norm"}}};
    for (const auto& [name, theirs] : family == Family::gpt2 ? gpt2 : family == Family::opt ? opt : llama) {
        if (name == ours) return theirs;
    }
    return {};
}

/// The place of one of our tensors by its name in GGUF.
/// Requires  a name that each_tensor gives, other than that of the head
inline FolderTensor folder_tensor(const TransformerConfig& c, std::string_view ours) {
    const std::string_view prefix = folder_prefixes(c.family).front();
    const std::string_view ending = ours.substr(ours.rfind('.'));  // .weight or .bias
    std::string_view stem = ours.substr(0, ours.size() - ending.size());
    const auto joined = [&](const std::string& middle) { return std::string{prefix} + middle + std::string{ending}; };
    if (!stem.starts_with("blk.")) return {joined(std::string{folder_name(c.family, stem)}), {}};
    stem.remove_prefix(4);
    const std::string number{stem.substr(0, stem.find('.'))};
    stem.remove_prefix(number.size() + 1);
    const std::size_t layer = std::stoul(number);
    for (const LinearModule m : linear_modules) {
        if (!name_of(layer, m).ends_with(std::string{'.'} + std::string{stem})) continue;
        FolderTensor found{peft_module(c, layer, m) + std::string{ending}, m};
        if (c.family == Family::gpt2) {
            found.transposed = ending == ".weight";
            found.parts = m < LinearModule::output ? 3 : 1;
            found.part = m < LinearModule::output ? static_cast<std::size_t>(m) : 0;
        }
        return found;
    }
    const std::string blocks = c.family == Family::gpt2 ? "h." : "layers.";
    return {joined(blocks + number + '.' + std::string{folder_name(c.family, stem)}), {}};
}

/// Buffers that some files have beside the weights, and that follow from the hyper-parameters.
inline bool is_known_buffer(std::string_view name) {
    return name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias") || name.ends_with(".rotary_emb.inv_freq");
}

}  // namespace flashback::inline FLASHBACK_ISA::detail
