/// \file A model that knows nothing yet, as a start for pre-training.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/random.hpp"
#include "flashback/model/detail/each_tensor.hpp"
#include "flashback/model/fingerprint.hpp"
#include "flashback/model/transformer.hpp"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <numbers>
#include <string>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// How initial weights are drawn.
struct InitialOptions {
    double deviation = 0.02;  ///< of a normal distribution; divided by sqrt(2 layers) for what is added to the residual stream
    bool tied = true;         ///< the head is the embedding
    std::uint64_t seed = 0;
};

/// A model of a shape with initial weights of f32. Norms are 1 and biases 0. It is the same for the same seed.
/// Throws    Error{contract} for an impossible shape
/// Source    Radford et al. 2019, Language models are unsupervised multitask learners, section 2.3 (the scale of residual
///           layers)
inline std::shared_ptr<Transformer> initial_transformer(const TransformerConfig& c, const InitialOptions& options = {}) {
    check_shape(c);
    SplitMix64 random{options.seed};
    // The transform of Box and Muller; the other number of each pair is not used.
    const auto normal = [&](double deviation) {
        const double radius = std::sqrt(-2 * std::log(1 - random.uniform()));
        return static_cast<float>(deviation * radius * std::cos(2 * std::numbers::pi * random.uniform()));
    };
    const auto matrix = [&](std::size_t outputs, std::size_t inputs, double deviation) {
        return simd::PackedMatrix::of(DType::f32, outputs, inputs, [&](std::size_t, std::size_t) { return normal(deviation); });
    };
    const double residual = options.deviation / std::sqrt(2.0 * static_cast<double>(c.layers));
    auto model = std::make_shared<Transformer>();
    model->config = c;
    model->layers.resize(c.layers);
    if (!options.tied) model->head.emplace();
    detail::each_tensor(
        *model,
        [&](const std::string& name, std::size_t outputs, std::size_t inputs, simd::PackedMatrix& to) {
            const bool adds = name.ends_with(".attn_output.weight") || name.ends_with(".ffn_down.weight");
            to = matrix(outputs, inputs, adds ? residual : options.deviation);
        },
        [&](const std::string& name, std::size_t count, std::vector<float>& to) {
            to.assign(count, name.ends_with(".weight") ? 1.0f : 0.0f);
        });
    model->rotary_frequencies = rotary_frequencies_of(c);
    model->fingerprint = fingerprint(*model);
    return model;
}

}  // namespace flashback::inline FLASHBACK_ISA
