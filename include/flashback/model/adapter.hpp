/// \file An adapter in memory: what LoRA adds to linear layers, and rows of the input embedding that replace those of the
/// model.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/model/linear_module.hpp"
#include "flashback/model/transformer.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// How Hugging Face's models, and so PEFT, call the linear layer that holds one of ours, e.g.
/// "model.layers.0.self_attn.q_proj". In GPT-2, queries, keys and values are one layer, "transformer.h.0.attn.c_attn".
std::string peft_module(const TransformerConfig& c, std::size_t layer, LinearModule module);

/// How Hugging Face's models call the input embedding, e.g. "model.embed_tokens".
std::string peft_embedding(const TransformerConfig& c);

/// What is added to one linear layer: y = W x + scale · B A x. Nothing is added if the rank is 0.
/// Source    Hu et al. 2021, LoRA, equation 3
struct LoraPair {
    std::size_t rank = 0;  ///< rows of A; 0: nothing is added
    float scale = 0;       ///< alpha / rank, or alpha / sqrt(rank) if the adapter is rank-stabilised
    std::vector<float> a;  ///< (rank, inputs) row-major
    std::vector<float> b;  ///< (outputs, rank) row-major
};

/// The pairs of one block, by LinearModule.
struct AdapterLayer {
    std::array<LoraPair, linear_modules.size()> pairs;  ///< by LinearModule

    /// The pair beside a linear layer.
    LoraPair& operator[](LinearModule module) noexcept { return pairs[static_cast<std::size_t>(module)]; }
    const LoraPair& operator[](LinearModule module) const noexcept { return pairs[static_cast<std::size_t>(module)]; }
};

/// An adapter changes a model without touching its weights. Replaced rows act on the input only: an output head that is tied to
/// the embedding keeps the rows of the model. There may also be rows of tokens that the model lacks; their ids follow those of
/// the model. A session takes such tokens as input and gives no logits for them.
struct Adapter {
    std::vector<AdapterLayer> layers;    ///< as many as the model has, or none
    std::vector<TokenId> embedding_ids;  ///< tokens whose input embedding is replaced, or new
    std::vector<float> embedding_rows;   ///< (embedding_ids.size(), row_width) row-major: the new rows themselves
};

/// How many tokens an adapter adds to a model of `vocab` rows.
inline std::size_t new_tokens(const Adapter& adapter, std::size_t vocab) noexcept {
    return static_cast<std::size_t>(std::ranges::count_if(
        adapter.embedding_ids, [&](TokenId id) { return id >= 0 && static_cast<std::size_t>(id) >= vocab; }));
}

/// Refuses an adapter that does not fit a model. The error names the tensor as PEFT does.
/// Throws    Error{contract}
void check_fits(const Adapter& adapter, const TransformerConfig& c);

}  // namespace flashback::inline FLASHBACK_ISA

#if !defined(FLASHBACK_COMPILED_ONCE)
#include "flashback/model/detail/adapter.hpp"
#endif
