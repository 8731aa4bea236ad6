/// \file A model that knows nothing yet: where pre-training begins.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/model/fingerprint.hpp"
#include "flashback/model/transformer.hpp"
#include "flashback/policy/random.hpp"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <numbers>
#include <utility>

namespace flashback::inline FLASHBACK_ISA {

/// How initial weights are drawn.
struct InitialOptions {
    double deviation = 0.02;  ///< of a normal distribution; over sqrt(2 layers) for what is added to the residual stream
    bool tied = true;         ///< the head is the embedding
    std::uint64_t seed = 0;
};

/// A model of a shape with initial weights of f32; norms are 1. The same for the same seed.
/// Throws    Error{contract} for a shape that is none
/// Source    Radford et al. 2019, Language models are unsupervised multitask learners, section 2.3 (the scale of residual layers)
inline std::shared_ptr<Transformer> initial_transformer(const TransformerConfig& c, const InitialOptions& options = {}) {
    FLASHBACK_ASSERT(c.vocab > 0 && c.window > 0 && c.layers > 0 && c.width > 0 && c.head_dim > 0 && c.hidden > 0,
                     "the shape '", c.name, "' has a side of 0");
    FLASHBACK_ASSERT(c.kv_heads > 0 && c.heads > 0 && c.heads % c.kv_heads == 0, "the shape '", c.name, "' has ", c.heads,
                     " heads and ", c.kv_heads, " of keys and values, expected a divisor");
    FLASHBACK_ASSERT(c.rotary_dim % 2 == 0 && c.rotary_dim <= c.head_dim, "the shape '", c.name, "' rotates ", c.rotary_dim,
                     " elements of heads of ", c.head_dim, ", expected an even number of them");
    SplitMix64 random{options.seed};
    // Box and Muller's transform; the other number of each pair is not used.
    const auto normal = [&](double deviation) {
        const double radius = std::sqrt(-2 * std::log(1 - random.uniform()));
        return static_cast<float>(deviation * radius * std::cos(2 * std::numbers::pi * random.uniform()));
    };
    const auto matrix = [&](std::size_t outputs, std::size_t inputs, double deviation) {
        return simd::PackedMatrix::of(DType::f32, outputs, inputs, [&](std::size_t, std::size_t) { return normal(deviation); });
    };
    const double residual = options.deviation / std::sqrt(2.0 * static_cast<double>(c.layers));
    const std::size_t q_width = c.heads * c.head_dim;
    const std::size_t kv_width = c.kv_heads * c.head_dim;
    auto model = std::make_shared<Transformer>();
    model->config = c;
    model->embedding = matrix(c.vocab, c.width, options.deviation);
    for (std::size_t l = 0; l < c.layers; ++l) {
        TransformerLayer& layer = model->layers.emplace_back();
        layer.attention_norm.assign(c.width, 1.0f);
        layer.q = matrix(q_width, c.width, options.deviation);
        layer.k = matrix(kv_width, c.width, options.deviation);
        layer.v = matrix(kv_width, c.width, options.deviation);
        layer.output = matrix(c.width, q_width, residual);
        layer.ffn_norm.assign(c.width, 1.0f);
        layer.gate = matrix(c.hidden, c.width, options.deviation);
        layer.up = matrix(c.hidden, c.width, options.deviation);
        layer.down = matrix(c.width, c.hidden, residual);
    }
    model->output_norm.assign(c.width, 1.0f);
    if (!options.tied) model->head = matrix(c.vocab, c.width, options.deviation);
    model->rotary_frequencies = rotary_frequencies_of(c);
    model->fingerprint = fingerprint(*model);
    return model;
}

}  // namespace flashback::inline FLASHBACK_ISA
