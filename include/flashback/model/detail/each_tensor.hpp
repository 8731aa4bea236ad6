/// \file The tensors of a model by their names in GGUF.
#pragma once

#include "flashback/model/transformer.hpp"

#include <array>
#include <cstddef>
#include <string>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

/// The name of a linear layer in GGUF, e.g. "blk.0.attn_q".
inline std::string name_of(std::size_t layer, LinearModule m) {
    constexpr std::array<const char*, 7> names{"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"};
    return "blk." + std::to_string(layer) + '.' + names[static_cast<std::size_t>(m)];
}

/// Calls `matrix(name, outputs, inputs, tensor)` and `vector(name, count, tensor)` for every tensor that the hyper-parameters
/// ask for, in the order of a forward pass; the head comes last if there is one. Models are filled and read only by this walk.
/// Requires  as many layers as the hyper-parameters say
template <class Model, class Matrix, class Vector>
void each_tensor(Model& model, const Matrix& matrix, const Vector& vector) {
    using enum LinearModule;
    const TransformerConfig& c = model.config;
    const auto norm = [&](const std::string& name, auto& weight, auto& bias) {
        vector(name + ".weight", c.width, weight);
        if (c.norm == Norm::layer) vector(name + ".bias", c.width, bias);
    };
    matrix("token_embd.weight", c.vocab, c.row_width(), model.embedding);
    if (c.position_rows() > 0) matrix("position_embd.weight", c.position_rows(), c.width, model.positions);
    if (c.embedding_width > 0) matrix("project_in.weight", c.width, c.embedding_width, model.project_in);
    for (std::size_t l = 0; l < c.layers; ++l) {
        auto& layer = model.layers[l];
        const auto linear = [&](LinearModule m) {
            if (c.has(m)) matrix(name_of(l, m) + ".weight", c.outputs(m), c.inputs(m), layer[m]);
            if (c.has_bias(m)) vector(name_of(l, m) + ".bias", c.outputs(m), layer.bias(m));
        };
        norm("blk." + std::to_string(l) + ".attn_norm", layer.attention_norm, layer.attention_norm_bias);
        for (const LinearModule m : {q, k, v, output}) linear(m);
        norm("blk." + std::to_string(l) + ".ffn_norm", layer.ffn_norm, layer.ffn_norm_bias);
        for (const LinearModule m : {gate, up, down}) linear(m);
    }
    if (c.final_norm) norm("output_norm", model.output_norm, model.output_norm_bias);
    if (c.embedding_width > 0) matrix("project_out.weight", c.embedding_width, c.width, model.project_out);
    if (model.head) matrix("output.weight", c.vocab, c.row_width(), *model.head);
}

}  // namespace flashback::inline FLASHBACK_ISA::detail
