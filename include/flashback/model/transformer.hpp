/// \file A transformer: its hyper-parameters and its weights, immutable once loaded and shared by all sessions.
#pragma once

#include "flashback/core/tokens.hpp"
#include "flashback/model/linear_module.hpp"
#include "flashback/simd/packed_matrix.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// The hyper-parameters of a Llama-architecture model.
struct TransformerConfig {
    std::string name;
    std::size_t vocab = 0;   ///< rows of the embedding and of the head
    std::size_t window = 0;  ///< positions that the model was trained for
    std::size_t layers = 0;
    std::size_t width = 0;     ///< of the residual stream
    std::size_t heads = 0;     ///< of queries
    std::size_t kv_heads = 0;  ///< of keys and values; divides `heads`
    std::size_t head_dim = 0;
    std::size_t rotary_dim = 0;  ///< how much of a head is rotated, from its start; even
    std::size_t hidden = 0;      ///< width of the feed-forward layer
    float norm_epsilon = 0;
    double rotary_base = 10000;  ///< theta of RoPE

    /// How many numbers a linear layer gives.
    std::size_t outputs(LinearModule m) const noexcept {
        switch (m) {
            case LinearModule::q: return heads * head_dim;
            case LinearModule::k:
            case LinearModule::v: return kv_heads * head_dim;
            case LinearModule::gate:
            case LinearModule::up: return hidden;
            default: return width;
        }
    }
    /// How many numbers a linear layer takes.
    std::size_t inputs(LinearModule m) const noexcept {
        return m == LinearModule::output ? heads * head_dim : m == LinearModule::down ? hidden : width;
    }
};

/// Radians by which a position turns each pair of a head: base^(-2 i / rotary_dim).
/// Shape     (rotary_dim / 2)
/// Source    Su et al. 2021, RoFormer, equation 15
inline std::vector<double> rotary_frequencies_of(const TransformerConfig& c) {
    std::vector<double> frequencies(c.rotary_dim / 2);
    for (std::size_t i = 0; i < frequencies.size(); ++i)
        frequencies[i] = std::pow(c.rotary_base, -2.0 * static_cast<double>(i) / static_cast<double>(c.rotary_dim));
    return frequencies;
}

/// The weights of one block.
struct TransformerLayer {
    std::vector<float> attention_norm;  ///< (width)
    simd::PackedMatrix q;               ///< (heads · head_dim, width)
    simd::PackedMatrix k;               ///< (kv_heads · head_dim, width)
    simd::PackedMatrix v;               ///< (kv_heads · head_dim, width)
    simd::PackedMatrix output;          ///< (width, heads · head_dim)
    std::vector<float> ffn_norm;        ///< (width)
    simd::PackedMatrix gate;            ///< (hidden, width)
    simd::PackedMatrix up;              ///< (hidden, width)
    simd::PackedMatrix down;            ///< (width, hidden)

    const simd::PackedMatrix& operator[](LinearModule m) const noexcept {
        const std::array<const simd::PackedMatrix*, 7> all{&q, &k, &v, &output, &gate, &up, &down};
        return *all[static_cast<std::size_t>(m)];
    }
    simd::PackedMatrix& operator[](LinearModule m) noexcept { return const_cast<simd::PackedMatrix&>(std::as_const(*this)[m]); }
};

/// A model: load_model makes one, sessions share it.
/// Source    Touvron et al. 2023, Llama 2
struct Transformer {
    TransformerConfig config;
    simd::PackedMatrix embedding;  ///< (vocab, width)
    std::vector<TransformerLayer> layers;
    std::vector<float> output_norm;          ///< (width)
    std::optional<simd::PackedMatrix> head;  ///< (vocab, width); absent where the head is tied to the embedding
    std::vector<double> rotary_frequencies;  ///< (rotary_dim / 2), radians a position
    std::vector<TokenId> text_head;          ///< tokens in front of every text: BOS, or none
    std::vector<TokenId> text_ends;          ///< tokens that end a text
    std::uint64_t fingerprint = 0;   ///< tells models apart: of weights and hyper-parameters (of the file, if it is from one)
    std::vector<std::string> notes;  ///< what was changed while loading, a sentence each

    const simd::PackedMatrix& output_matrix() const noexcept { return head ? *head : embedding; }

    /// What keys and values are rounded to unless a session says otherwise: f16 for quantised weights, else f32.
    DType default_cache_element() const noexcept {
        const auto quantised = [](const simd::PackedMatrix& w) { return simd::operand_of(w.type()) == simd::Operand::int8; };
        return !layers.empty() && quantised(layers.front().gate) ? DType::f16 : DType::f32;
    }

    bool is_end(TokenId token) const noexcept { return std::ranges::find(text_ends, token) != text_ends.end(); }
};

}  // namespace flashback::inline FLASHBACK_ISA
