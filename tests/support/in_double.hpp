/// \file A model of the library as one in double.
#pragma once

#include "flashback/model/tensors.hpp"
#include "support/double_transformer.hpp"

#include <cstddef>
#include <string>
#include <vector>

namespace flashback_test::inline FLASHBACK_ISA {

inline DoubleTransformer in_double(const flashback::Transformer& model) {
    DoubleTransformer out;
    const flashback::TransformerConfig& c = model.config;
    out.layers = c.layers;
    out.width = c.width;
    out.heads = c.heads;
    out.kv_heads = c.kv_heads;
    out.head_dim = c.head_dim;
    out.rotary_dim = c.rotary_dim;
    out.epsilon = static_cast<double>(c.norm_epsilon);
    out.rotary_base = c.rotary_base;
    for (std::size_t i = 0; i < c.rotary_dim / 2; ++i) {
        out.rotary_divisors.push_back(c.rotary_linear);
        if (!c.rotary_factors.empty()) out.rotary_divisors.back() *= static_cast<double>(c.rotary_factors[i]);
    }
    out.post_norm = c.post_norm;
    out.position_offset = c.position_offset;
    using flashback::Activation;
    out.activation = c.activation == Activation::silu ? silu64 : c.activation == Activation::relu ? relu64 : gelu64;
    flashback::each_tensor(
        model,
        [&](const flashback::TensorId& id, std::size_t, std::size_t, const flashback::simd::PackedMatrix& tensor) {
            std::vector<float> row(tensor.inputs());
            for (std::size_t o = 0; o < tensor.outputs(); ++o) {
                tensor.row(o, row.data());
                std::vector<double>& values = out.tensors[to_string(id)];
                values.insert(values.end(), row.begin(), row.end());
            }
        },
        [&](const flashback::TensorId& id, std::size_t, const std::vector<float>& tensor) {
            out.tensors[to_string(id)].assign(tensor.begin(), tensor.end());
        });
    return out;
}

}  // namespace flashback_test::inline FLASHBACK_ISA
