/// \file Names and shapes of adapters.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/model/adapter.hpp"
#include "flashback/model/linear_module.hpp"
#include "flashback/model/transformer.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

FLASHBACK_DETAIL_ONCE std::string peft_module(const TransformerConfig& c, std::size_t layer, LinearModule module) {
    using Names = std::array<std::string_view, linear_modules.size()>;
    constexpr Names llama{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
                          "mlp.gate_proj",    "mlp.up_proj",      "mlp.down_proj"};
    constexpr Names gpt2{"attn.c_attn", "attn.c_attn", "attn.c_attn", "attn.c_proj", "", "mlp.c_fc", "mlp.c_proj"};
    constexpr Names opt{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj", "", "fc1", "fc2"};
    constexpr Names bert{"attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense", "",
                         "intermediate.dense",   "output.dense"};
    const bool is_gpt2 = c.family == Family::gpt2;
    const bool is_opt = c.family == Family::opt;
    const bool is_bert = c.family == Family::bert;
    const std::string blocks = is_gpt2   ? "transformer.h."
                               : is_opt  ? "model.decoder.layers."
                               : is_bert ? "encoder.layer."
                                         : "model.layers.";
    const Names& names = is_gpt2 ? gpt2 : is_opt ? opt : is_bert ? bert : llama;
    return blocks + std::to_string(layer) + '.' + std::string{names[static_cast<std::size_t>(module)]};
}

FLASHBACK_DETAIL_ONCE std::string peft_embedding(const TransformerConfig& c) {
    return c.family == Family::gpt2   ? "transformer.wte"
           : c.family == Family::opt  ? "model.decoder.embed_tokens"
           : c.family == Family::bert ? "embeddings.word_embeddings"
                                      : "model.embed_tokens";
}

FLASHBACK_DETAIL_ONCE void check_fits(const Adapter& adapter, const TransformerConfig& c) {
    FLASHBACK_ASSERT(adapter.layers.empty() || adapter.layers.size() == c.layers, "an adapter of ", adapter.layers.size(),
                     " layers does not fit a model of ", c.layers, " layers");
    for (std::size_t l = 0; l < adapter.layers.size(); ++l) {
        for (const LinearModule m : linear_modules) {
            const LoraPair& pair = adapter.layers[l][m];
            const auto check = [&](const char* name, const std::vector<float>& values, std::size_t outputs,
                                   std::size_t inputs) {
                // By division, because the product could overflow for an impossible rank.
                const bool right = inputs == 0 || outputs == 0
                                       ? values.empty()
                                       : values.size() % inputs == 0 && values.size() / inputs == outputs;
                FLASHBACK_ASSERT(right, "the tensor ", peft_module(c, l, m), '.', name, ".weight of an adapter has ",
                                 values.size(), " elements, but the model asks for ", outputs, " x ", inputs);
            };
            FLASHBACK_ASSERT(pair.rank == 0 || c.has(m), "an adapter has a pair for the ", to_string(m), " of layer ", l,
                             ", which the model has not");
            check("lora_A", pair.a, pair.rank, c.inputs(m));
            check("lora_B", pair.b, c.outputs(m), pair.rank);
            FLASHBACK_ASSERT(std::isfinite(pair.scale), "the scale of ", peft_module(c, l, m), " in an adapter is ", pair.scale,
                             ", expected a number");
        }
    }
    FLASHBACK_ASSERT(adapter.embedding_rows.size() == adapter.embedding_ids.size() * c.row_width(), "an adapter replaces ",
                     adapter.embedding_ids.size(), " embedding rows by ", adapter.embedding_rows.size(),
                     " numbers, but the model asks for rows of ", c.row_width());
    std::vector<TokenId> ids = adapter.embedding_ids;
    std::ranges::sort(ids);
    const std::size_t known = c.vocab + new_tokens(adapter, c.vocab);
    for (std::size_t i = 0; i < ids.size(); ++i) {
        FLASHBACK_ASSERT(i == 0 || ids[i] != ids[i - 1], "an adapter replaces the embedding row ", ids[i], " twice");
        FLASHBACK_ASSERT(ids[i] >= 0 && static_cast<std::size_t>(ids[i]) < known, "an adapter replaces the embedding row ",
                         ids[i], ", but the model has ", c.vocab, " rows, and new ones follow on without a gap");
    }
}

}  // namespace flashback::inline FLASHBACK_ISA
