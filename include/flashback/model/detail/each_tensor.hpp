/// \file The tensors of a model by their names in GGUF.
#pragma once

#include "flashback/model/transformer.hpp"

#include <cstddef>
#include <string>

namespace flashback::inline FLASHBACK_ISA::detail {

/// Calls `visit(name, tensor)` for each, in the order of a forward pass; norms are vectors of floats.
template <class Visit>
void each_tensor(const Transformer& model, const Visit& visit) {
    visit("token_embd.weight", model.embedding);
    for (std::size_t l = 0; l < model.layers.size(); ++l) {
        const std::string block = "blk." + std::to_string(l) + '.';
        const TransformerLayer& layer = model.layers[l];
        visit(block + "attn_norm.weight", layer.attention_norm);
        visit(block + "attn_q.weight", layer.q);
        visit(block + "attn_k.weight", layer.k);
        visit(block + "attn_v.weight", layer.v);
        visit(block + "attn_output.weight", layer.output);
        visit(block + "ffn_norm.weight", layer.ffn_norm);
        visit(block + "ffn_gate.weight", layer.gate);
        visit(block + "ffn_up.weight", layer.up);
        visit(block + "ffn_down.weight", layer.down);
    }
    visit("output_norm.weight", model.output_norm);
    if (model.head) visit("output.weight", *model.head);
}

}  // namespace flashback::inline FLASHBACK_ISA::detail
