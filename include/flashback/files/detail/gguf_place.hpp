/// \file Where the tensors of a model stand in a GGUF file.
#pragma once

#include "flashback/files/detail/rotary_rows.hpp"
#include "flashback/model/tensors.hpp"
#include "flashback/model/transformer_config.hpp"

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace flashback::inline FLASHBACK_ISA::detail {

/// The name of the architecture of a family in GGUF; empty if it has none.
constexpr std::string_view gguf_architecture(Family family) noexcept {
    switch (family) {
        case Family::llama:
        case Family::mistral: return "llama";
        case Family::qwen2: return "qwen2";
        case Family::gpt2: return "gpt2";
        case Family::bert: return "bert";
        case Family::opt: break;
    }
    return {};
}

/// The rows of one of our tensors in a tensor of the file. By default it is all of them, in our order.
struct GgufPlace {
    std::string tensor;
    std::size_t first_row = 0;
    std::size_t all_rows = 0;  ///< of the tensor of the file
    const TransformerConfig* c = nullptr;
    std::optional<LinearModule> halves;  ///< rows stand in the order of rotated halves

    /// Where a row of the file, counted from `first_row`, stands in ours.
    std::size_t ours(std::size_t row) const noexcept { return halves ? row_from_halves(*c, *halves, row) : row; }
    /// Where a row of ours stands in the file, counted from `first_row`.
    std::size_t theirs(std::size_t row) const noexcept { return halves ? row_in_halves(*c, *halves, row) : row; }
};

/// Where one of our tensors stands. GPT-2 has queries, keys and values in one tensor. Qwen2 keeps the rows of a rotary pair
/// half a head apart, as Hugging Face does. BERT's norms have the names of what they come after.
/// Requires  the hyper-parameters outlive the result
/// Source    ggml-org/llama.cpp, src/llama-model.cpp (the rope types of architectures), gguf-py/gguf/tensor_mapping.py
inline GgufPlace gguf_place(const TransformerConfig& c, const TensorId& id, std::size_t rows) {
    GgufPlace place{to_string(id), 0, rows, &c, {}};
    const auto m = id.linear();
    if (c.family == Family::bert && (id.role == TensorRole::attention_norm || id.role == TensorRole::ffn_norm)) {
        const char* const norm = id.role == TensorRole::attention_norm ? ".attn_output_norm" : ".layer_output_norm";
        place.tensor = "blk." + std::to_string(id.layer) + norm + (id.bias ? ".bias" : ".weight");
    }
    if (!m || *m > LinearModule::v) return place;
    if (c.family == Family::qwen2) place.halves = m;
    if (c.family != Family::gpt2) return place;
    place.tensor = "blk." + std::to_string(id.layer) + ".attn_qkv" + (id.bias ? ".bias" : ".weight");
    const std::size_t q = c.outputs(LinearModule::q);
    const std::size_t k = c.outputs(LinearModule::k);
    place.first_row = *m == LinearModule::q ? 0 : *m == LinearModule::k ? q : q + k;
    place.all_rows = q + 2 * k;
    return place;
}

}  // namespace flashback::inline FLASHBACK_ISA::detail
