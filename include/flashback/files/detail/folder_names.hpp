/// \file How Hugging Face's files name the tensors of a model, and how they hold them.
#pragma once

#include "flashback/model/adapter.hpp"
#include "flashback/model/tensors.hpp"
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
inline std::array<std::string_view, 4> folder_prefixes(Family family) {
    switch (family) {
        case Family::gpt2: return {"transformer.", "", "", ""};
        case Family::opt: return {"model.decoder.", "decoder.", "", ""};
        case Family::bert: return {"question_encoder.bert_model.", "ctx_encoder.bert_model.", "bert.", ""};
        default: return {"model.", "", "", ""};
    }
}

/// The names of norms, and of what stands outside the blocks; "" if a family does not have it.
inline std::string_view folder_name(Family family, TensorRole role) {
    const auto one_of = [family](std::string_view llama, std::string_view gpt2, std::string_view opt,
                                 std::string_view bert = {}) {
        return family == Family::gpt2 ? gpt2 : family == Family::opt ? opt : family == Family::bert ? bert : llama;
    };
    switch (role) {
        case TensorRole::embedding: return one_of("embed_tokens", "wte", "embed_tokens", "embeddings.word_embeddings");
        case TensorRole::positions: return one_of("", "wpe", "embed_positions", "embeddings.position_embeddings");
        case TensorRole::project_in: return one_of("", "", "project_in");
        case TensorRole::project_out: return one_of("", "", "project_out");
        case TensorRole::attention_norm:
            return one_of("input_layernorm", "ln_1", "self_attn_layer_norm", "attention.output.LayerNorm");
        case TensorRole::ffn_norm: return one_of("post_attention_layernorm", "ln_2", "final_layer_norm", "output.LayerNorm");
        case TensorRole::output_norm: return one_of("norm", "ln_f", "final_layer_norm");
        case TensorRole::token_types: return "embeddings.token_type_embeddings";
        case TensorRole::embedding_norm: return "embeddings.LayerNorm";
        default: return {};
    }
}

/// The place of one of our tensors.
/// Requires  a tensor that each_tensor gives, other than the head
inline FolderTensor folder_tensor(const TransformerConfig& c, const TensorId& id) {
    const std::string ending = id.bias ? ".bias" : ".weight";
    if (const auto m = id.linear()) {
        FolderTensor found{peft_module(c, id.layer, *m) + ending, m};
        if (c.family == Family::bert) found.name.insert(0, folder_prefixes(c.family).front());
        if (c.family == Family::gpt2) {
            found.transposed = !id.bias;
            found.parts = *m < LinearModule::output ? 3 : 1;
            found.part = *m < LinearModule::output ? static_cast<std::size_t>(*m) : 0;
        }
        return found;
    }
    std::string name{folder_prefixes(c.family).front()};
    const char* const blocks = c.family == Family::gpt2 ? "h." : c.family == Family::bert ? "encoder.layer." : "layers.";
    if (id.in_block()) name += blocks + std::to_string(id.layer) + '.';
    return {name + std::string{folder_name(c.family, id.role)} + ending, {}};
}

/// What some files have beside the weights, and what changes nothing: buffers that follow from the hyper-parameters, and heads
/// that read what an encoder gives.
inline bool is_known_buffer(Family family, std::string_view name) {
    if (family == Family::bert) {
        return name.ends_with("embeddings.position_ids") || name.ends_with("embeddings.token_type_ids") ||
               name.ends_with("pooler.dense.weight") || name.ends_with("pooler.dense.bias") || name.starts_with("cls.");
    }
    return name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias") || name.ends_with(".rotary_emb.inv_freq");
}

}  // namespace flashback::inline FLASHBACK_ISA::detail
