/// \file A small transformer with random weights: the same for the same seed, on every machine.
#pragma once

#include "flashback/core/random.hpp"
#include "flashback/model/fingerprint.hpp"
#include "flashback/model/tensors.hpp"
#include "flashback/model/transformer.hpp"
#include "flashback/tensor/quantize.hpp"
#include "support/random_blocks.hpp"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
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
    flashback::Family family = flashback::Family::llama;
    std::size_t embedding_width = 0;
    bool post_norm = false;  ///< and no final norm
    double rotary_linear = 1;
    std::vector<float> rotary_factors = {};
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
    auto model = std::make_shared<flashback::Transformer>();
    flashback::TransformerConfig& c = model->config;
    c = flashback::choices_of(shape.family);
    c.name = "random";
    c.vocab = shape.vocab;
    c.window = shape.window;
    c.layers = shape.layers;
    c.width = shape.width;
    c.embedding_width = shape.embedding_width;
    c.heads = shape.heads;
    c.kv_heads = shape.kv_heads;
    c.head_dim = shape.head_dim;
    c.hidden = shape.hidden;
    c.norm_epsilon = 1e-5f;
    c.post_norm = shape.post_norm;
    c.final_norm = !shape.post_norm;
    if (c.positions == flashback::Positions::rotary) c.rotary_dim = shape.head_dim;
    c.rotary_linear = shape.rotary_linear;
    c.rotary_factors = shape.rotary_factors;

    model->layers.resize(c.layers);
    if (!shape.tied) model->head.emplace();
    flashback::each_tensor(
        *model,
        [&](const flashback::TensorId&, std::size_t outputs, std::size_t inputs, flashback::simd::PackedMatrix& to) {
            to = matrix(outputs, inputs);
        },
        [&](const flashback::TensorId& id, std::size_t count, std::vector<float>& to) {
            const double least = id.bias ? -0.5 : 0.5;
            to.resize(count);
            for (float& value : to) value = static_cast<float>(least + random.uniform());
        });
    model->rotary_frequencies = flashback::rotary_frequencies_of(c);
    model->fingerprint = flashback::fingerprint(*model);
    model->text_head = {1};
    model->text_ends = {2};
    return model;
}

}  // namespace flashback_test::inline FLASHBACK_ISA
