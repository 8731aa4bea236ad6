/// \file A transformer: its weights, which never change after loading and are shared by all sessions.
#pragma once

#include "flashback/core/tokens.hpp"
#include "flashback/model/linear_module.hpp"
#include "flashback/model/transformer_config.hpp"
#include "flashback/simd/packed_matrix.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// The weights of one block. What a model does not have is empty.
struct TransformerLayer {
    std::vector<float> attention_norm, attention_norm_bias;        ///< (width)
    simd::PackedMatrix q;                                          ///< (heads · head_dim, width)
    simd::PackedMatrix k;                                          ///< (kv_heads · head_dim, width)
    simd::PackedMatrix v;                                          ///< (kv_heads · head_dim, width)
    simd::PackedMatrix output;                                     ///< (width, heads · head_dim)
    std::vector<float> ffn_norm, ffn_norm_bias;                    ///< (width)
    simd::PackedMatrix gate;                                       ///< (hidden, width)
    simd::PackedMatrix up;                                         ///< (hidden, width)
    simd::PackedMatrix down;                                       ///< (width, hidden)
    std::array<std::vector<float>, linear_modules.size()> biases;  ///< (outputs) each, by LinearModule, if it has one

    /// The matrix of a linear layer.
    const simd::PackedMatrix& operator[](LinearModule m) const noexcept {
        const std::array<const simd::PackedMatrix*, 7> all{&q, &k, &v, &output, &gate, &up, &down};
        return *all[static_cast<std::size_t>(m)];
    }
    simd::PackedMatrix& operator[](LinearModule m) noexcept { return const_cast<simd::PackedMatrix&>(std::as_const(*this)[m]); }

    /// The bias of a linear layer, which is added to its product.
    const std::vector<float>& bias(LinearModule m) const noexcept { return biases[static_cast<std::size_t>(m)]; }
    std::vector<float>& bias(LinearModule m) noexcept { return biases[static_cast<std::size_t>(m)]; }
};

/// A model: load_model makes one, sessions share it. In q, k and their biases, the two rows of a rotary pair stand side by
/// side, at 2 i and 2 i + 1 of a head. The readers of files move rows that have another order.
/// Source    Touvron et al. 2023, Llama 2; Radford et al. 2019, GPT-2; Zhang et al. 2022, OPT; Devlin et al. 2019, BERT
struct Transformer {
    TransformerConfig config;        ///< the hyper-parameters
    simd::PackedMatrix embedding;    ///< (vocab, row_width)
    simd::PackedMatrix positions;    ///< (position_rows, width): added to the embedding, if positions are learned
    simd::PackedMatrix token_types;  ///< (token_types, width): the first row is added to the embedding, if there is one
    std::vector<float> embedding_norm, embedding_norm_bias;  ///< (width), with token types: of the sum that the blocks read
    simd::PackedMatrix project_in;  ///< (width, embedding_width): projects rows of the embedding, if they have another width
    std::vector<TransformerLayer> layers;              ///< the blocks, from the input on
    std::vector<float> output_norm, output_norm_bias;  ///< (width), if there is a final norm
    simd::PackedMatrix project_out;                    ///< (embedding_width, width): what goes to the head
    std::optional<simd::PackedMatrix> head;            ///< (vocab, row_width); absent if the head is tied to the embedding
    std::vector<double> rotary_frequencies;            ///< (rotary_dim / 2), radians a position
    std::vector<TokenId> text_head;                    ///< tokens in front of every text: BOS, or none
    std::vector<TokenId> text_ends;                    ///< tokens that end a text
    std::uint64_t fingerprint = 0;   ///< tells models apart: from weights and hyper-parameters (of the file, if there is one)
    std::vector<std::string> notes;  ///< what was changed while loading, one sentence for each

    /// What gives the logits: the head, or the embedding if they are tied.
    const simd::PackedMatrix& output_matrix() const noexcept { return head ? *head : embedding; }

    /// What keys and values are rounded to by default: f16 for quantised weights, else f32.
    DType default_cache_element() const noexcept {
        const auto quantised = [](const simd::PackedMatrix& w) { return simd::operand_of(w.type()) == simd::Operand::int8; };
        return !layers.empty() && quantised(layers.front().up) ? DType::f16 : DType::f32;
    }

    /// Whether a token ends a text.
    bool is_end(TokenId token) const noexcept { return std::ranges::find(text_ends, token) != text_ends.end(); }
};

}  // namespace flashback::inline FLASHBACK_ISA
