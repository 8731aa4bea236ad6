/// \file The tensors of a model: which there are, where each is, and what it is called.
#pragma once

#include "flashback/model/transformer.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// What a tensor is in a model; the first seven are the linear layers in the order of LinearModule.
enum class TensorRole : std::uint8_t {
    q,
    k,
    v,
    output,
    gate,
    up,
    down,
    attention_norm,
    ffn_norm,
    embedding,
    positions,
    project_in,
    output_norm,
    project_out,
    head,
    token_types,
    embedding_norm
};

/// Which tensor of a model: its role, its block, and whether it is the bias beside a weight.
struct TensorId {
    TensorRole role = TensorRole::embedding;  ///< what it is for
    std::size_t layer = 0;                    ///< 0 for what stands outside the blocks
    bool bias = false;                        ///< whether it is the bias beside the weight

    /// The weight or the bias of a linear layer.
    static constexpr TensorId of(LinearModule m, std::size_t layer, bool bias = false) noexcept {
        return {static_cast<TensorRole>(m), layer, bias};
    }

    /// Whether each block has one of its own.
    constexpr bool in_block() const noexcept { return role <= TensorRole::ffn_norm; }
    /// The linear layer that it belongs to, if it belongs to one.
    constexpr std::optional<LinearModule> linear() const noexcept {
        return role <= TensorRole::down ? std::optional{static_cast<LinearModule>(role)} : std::nullopt;
    }

    friend constexpr bool operator==(const TensorId&, const TensorId&) = default;
};

/// The name of what a tensor belongs to, as GGUF has it: "blk.0.attn_q" for the weight and the bias of queries.
inline std::string stem_of(const TensorId& id) {
    constexpr std::array<const char*, 17> names{"attn_q",        "attn_k",         "attn_v",      "attn_output", "ffn_gate",
                                                "ffn_up",        "ffn_down",       "attn_norm",   "ffn_norm",    "token_embd",
                                                "position_embd", "project_in",     "output_norm", "project_out", "output",
                                                "token_types",   "token_embd_norm"};
    const std::string name = names[static_cast<std::size_t>(id.role)];
    return id.in_block() ? "blk." + std::to_string(id.layer) + '.' + name : name;
}

/// The name of a tensor, as GGUF has it, e.g. "blk.0.attn_q.weight".
inline std::string to_string(const TensorId& id) { return stem_of(id) + (id.bias ? ".bias" : ".weight"); }

/// The matrix of a model by its identifier.
/// Requires  the identifier of a matrix; the model has that layer, or a head of its own if it is asked for
template <class Model>
auto& matrix_of(Model& model, const TensorId& id) {
    if (const auto m = id.linear()) return model.layers[id.layer][*m];
    switch (id.role) {
        case TensorRole::positions: return model.positions;
        case TensorRole::project_in: return model.project_in;
        case TensorRole::project_out: return model.project_out;
        case TensorRole::head: return *model.head;
        case TensorRole::token_types: return model.token_types;
        default: return model.embedding;
    }
}

/// The vector of a model (of a norm, or a bias) by its identifier.
/// Requires  the identifier of one; the model has that layer
template <class Model>
auto& vector_of(Model& model, const TensorId& id) {
    if (const auto m = id.linear()) return model.layers[id.layer].bias(*m);
    if (id.role == TensorRole::output_norm) return id.bias ? model.output_norm_bias : model.output_norm;
    if (id.role == TensorRole::embedding_norm) return id.bias ? model.embedding_norm_bias : model.embedding_norm;
    auto& layer = model.layers[id.layer];
    if (id.role == TensorRole::ffn_norm) return id.bias ? layer.ffn_norm_bias : layer.ffn_norm;
    return id.bias ? layer.attention_norm_bias : layer.attention_norm;
}

/// Calls `matrix(id, outputs, inputs, tensor)` and `vector(id, count, tensor)` for every tensor that the hyper-parameters ask
/// for, in the order of a forward pass; the head comes last if there is one. Models are filled, read and copied only by this
/// walk.
/// Requires  as many layers as the hyper-parameters say
template <class Model, class Matrix, class Vector>
void each_tensor(Model& model, const Matrix& matrix, const Vector& vector) {
    const TransformerConfig& c = model.config;
    const auto put = [&](const TensorId& id, std::size_t outputs, std::size_t inputs) {
        matrix(id, outputs, inputs, matrix_of(model, id));
    };
    const auto put_vector = [&](const TensorId& id, std::size_t count) { vector(id, count, vector_of(model, id)); };
    const auto norm = [&](TensorRole role, std::size_t layer) {
        put_vector({role, layer}, c.width);
        if (c.norm == Norm::layer) put_vector({role, layer, true}, c.width);
    };
    const auto linear = [&](LinearModule m, std::size_t layer) {
        if (c.has(m)) put(TensorId::of(m, layer), c.outputs(m), c.inputs(m));
        if (c.has_bias(m)) put_vector(TensorId::of(m, layer, true), c.outputs(m));
    };
    put({TensorRole::embedding}, c.vocab, c.row_width());
    if (c.position_rows() > 0) put({TensorRole::positions}, c.position_rows(), c.width);
    if (c.token_types > 0) {
        put({TensorRole::token_types}, c.token_types, c.width);
        norm(TensorRole::embedding_norm, 0);
    }
    if (c.embedding_width > 0) put({TensorRole::project_in}, c.width, c.embedding_width);
    for (std::size_t l = 0; l < c.layers; ++l) {
        using enum LinearModule;
        norm(TensorRole::attention_norm, l);
        for (const LinearModule m : {q, k, v, output}) linear(m, l);
        norm(TensorRole::ffn_norm, l);
        for (const LinearModule m : {gate, up, down}) linear(m, l);
    }
    if (c.final_norm) norm(TensorRole::output_norm, 0);
    if (c.embedding_width > 0) put({TensorRole::project_out}, c.embedding_width, c.width);
    if (model.head) put({TensorRole::head}, c.vocab, c.row_width());
}

/// A model like this one, but without its tensors: it has the hyper-parameters, frequencies, special tokens and notes. Its
/// layers are empty, and so is its head if it has one of its own. The fingerprint is 0.
inline Transformer without_tensors(const Transformer& model) {
    Transformer rest;
    rest.config = model.config;
    rest.layers.resize(model.layers.size());
    if (model.head) rest.head.emplace();
    rest.rotary_frequencies = model.rotary_frequencies;
    rest.text_head = model.text_head;
    rest.text_ends = model.text_ends;
    rest.notes = model.notes;
    return rest;
}

}  // namespace flashback::inline FLASHBACK_ISA
