/// \file A small transformer with random weights: the same for the same seed, on every machine.
#pragma once

#include "flashback/core/quantize.hpp"
#include "flashback/model/fingerprint.hpp"
#include "flashback/model/transformer.hpp"
#include "flashback/policy/random.hpp"
#include "support/random_blocks.hpp"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace flashback_test::inline FLASHBACK_ISA {

struct RandomModel {
    std::size_t layers = 2;
    std::size_t width = 32;
    std::size_t heads = 4;
    std::size_t kv_heads = 2;
    std::size_t head_dim = 8;
    std::size_t hidden = 48;
    std::size_t vocab = 100;
    std::size_t window = 400;
    bool tied = false;
    std::uint64_t seed = 1;
    flashback::DType type = flashback::DType::f32;  ///< of the matrices; rows are whole blocks
    float scale = 1;                                ///< of all weights of matrices, besides the usual 1 / sqrt(inputs)
};

inline std::vector<flashback::TokenId> random_tokens(flashback::SplitMix64& random, std::size_t count, std::size_t vocab) {
    std::vector<flashback::TokenId> tokens(count);
    for (auto& token : tokens) token = static_cast<flashback::TokenId>(random.below(vocab));
    return tokens;
}

/// BOS is token 1, the end of a text token 2.
inline std::shared_ptr<const flashback::Transformer> random_model(const RandomModel& shape) {
    flashback::SplitMix64 random{shape.seed};
    const auto matrix = [&](std::size_t outputs, std::size_t inputs) {
        const double most = shape.scale * std::sqrt(3.0 / static_cast<double>(inputs));
        if (!flashback::can_quantize(shape.type)) {
            flashback::simd::PackedMatrix w{shape.type, outputs, inputs};
            const flashback::DTypeLayout layout = flashback::layout_of(shape.type);
            std::vector<std::byte> row(inputs / layout.block_elements * layout.block_bytes);
            for (std::size_t o = 0; o < outputs; ++o) {
                random_blocks(shape.type, random, inputs / layout.block_elements, most, row.data());
                w.set_row(o, row.data());
            }
            return w;
        }
        return flashback::simd::PackedMatrix::of(shape.type, outputs, inputs, [&](std::size_t, std::size_t) {
            return static_cast<float>((2 * random.uniform() - 1) * most);
        });
    };
    const auto vector = [&](std::size_t count) {
        std::vector<float> v(count);
        for (float& value : v) value = static_cast<float>(0.5 + random.uniform());
        return v;
    };

    auto model = std::make_shared<flashback::Transformer>();
    flashback::TransformerConfig& c = model->config;
    c.name = "random";
    c.vocab = shape.vocab;
    c.window = shape.window;
    c.layers = shape.layers;
    c.width = shape.width;
    c.heads = shape.heads;
    c.kv_heads = shape.kv_heads;
    c.head_dim = shape.head_dim;
    c.rotary_dim = shape.head_dim;
    c.hidden = shape.hidden;
    c.norm_epsilon = 1e-5f;

    model->embedding = matrix(c.vocab, c.width);
    const std::size_t q_width = c.heads * c.head_dim;
    const std::size_t kv_width = c.kv_heads * c.head_dim;
    for (std::size_t l = 0; l < c.layers; ++l) {
        flashback::TransformerLayer layer;
        layer.attention_norm = vector(c.width);
        layer.q = matrix(q_width, c.width);
        layer.k = matrix(kv_width, c.width);
        layer.v = matrix(kv_width, c.width);
        layer.output = matrix(c.width, q_width);
        layer.ffn_norm = vector(c.width);
        layer.gate = matrix(c.hidden, c.width);
        layer.up = matrix(c.hidden, c.width);
        layer.down = matrix(c.width, c.hidden);
        model->layers.push_back(std::move(layer));
    }
    model->output_norm = vector(c.width);
    if (!shape.tied) model->head = matrix(c.vocab, c.width);
    model->rotary_frequencies = flashback::rotary_frequencies_of(c);
    model->fingerprint = flashback::fingerprint(*model);
    model->text_head = {1};
    model->text_ends = {2};
    return model;
}

}  // namespace flashback_test::inline FLASHBACK_ISA
