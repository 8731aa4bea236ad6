/// \file The weights that a training from nothing begins with.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/random.hpp"
#include "flashback/model/fingerprint.hpp"
#include "flashback/model/tensors.hpp"
#include "flashback/model/transformer.hpp"
#include "flashback/train/initial_model.hpp"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <numbers>
#include <string>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

FLASHBACK_DETAIL_ONCE std::shared_ptr<Transformer> initial_transformer(const TransformerConfig& c,
                                                                       const InitialOptions& options) {
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
    each_tensor(
        *model,
        [&](const TensorId& id, std::size_t outputs, std::size_t inputs, simd::PackedMatrix& to) {
            const bool adds = id.role == TensorRole::output || id.role == TensorRole::down;
            to = matrix(outputs, inputs, adds ? residual : options.deviation);
        },
        [&](const TensorId& id, std::size_t count, std::vector<float>& to) { to.assign(count, id.bias ? 0.0f : 1.0f); });
    model->rotary_frequencies = rotary_frequencies_of(c);
    model->fingerprint = fingerprint(*model);
    return model;
}

}  // namespace flashback::inline FLASHBACK_ISA
