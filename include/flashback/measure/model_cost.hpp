/// \file What a model costs, from its shape alone: operations and bytes, and the least time that a machine needs for them.
///
/// The counts are those of reference figures. Operations are 2 for each element of the matrices of the layers; embedding and
/// head do not count, and attention is counted separately. The bytes of a decoded token are those of the tensors that it needs,
/// as a GGUF file stores them, and of the keys and values that it reads.
#pragma once

#include "flashback/kv/kv_bytes.hpp"
#include "flashback/measure/machine_peaks.hpp"
#include "flashback/model/tensors.hpp"
#include "flashback/model/transformer.hpp"
#include "flashback/tensor/dtype.hpp"

#include <cstddef>
#include <string>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// A tensor by its size.
struct TensorSize {
    double elements;  ///< how many numbers it has
    DType type;       ///< how they are stored

    /// How much memory it takes.
    double bytes() const noexcept {
        const DTypeLayout layout = layout_of(type);
        return elements / static_cast<double>(layout.block_elements) * static_cast<double>(layout.block_bytes);
    }
};

namespace detail {

inline TensorSize size_of(const simd::PackedMatrix& matrix) {
    return {static_cast<double>(matrix.outputs()) * static_cast<double>(matrix.inputs()), matrix.type()};
}

inline TensorSize size_of(const std::vector<float>& vector) { return {static_cast<double>(vector.size()), DType::f32}; }

}  // namespace detail

/// The matrices of all layers.
inline std::vector<TensorSize> layer_matrices(const Transformer& model) {
    std::vector<TensorSize> sizes;
    for (const TransformerLayer& layer : model.layers) {
        for (const LinearModule m : linear_modules) {
            if (model.config.has(m)) sizes.push_back(detail::size_of(layer[m]));
        }
    }
    return sizes;
}

/// Every tensor that a decoded token needs: layers, norms and head. The tables of embeddings and positions are left out,
/// because a token needs only a row of them.
inline std::vector<TensorSize> tensors_of_a_token(const Transformer& model) {
    std::vector<TensorSize> sizes;
    each_tensor(
        model,
        [&](const TensorId&, std::size_t, std::size_t, const simd::PackedMatrix& matrix) {
            if (&matrix != &model.embedding && &matrix != &model.positions) sizes.push_back(detail::size_of(matrix));
        },
        [&](const TensorId&, std::size_t, const std::vector<float>& vector) { sizes.push_back(detail::size_of(vector)); });
    if (!model.head) sizes.push_back(detail::size_of(model.embedding));
    return sizes;
}

/// What tokens cost, from the shape of a model.
struct ModelCost {
    DType type = DType::f32;          ///< of most elements of the layers' matrices
    double operations = 0;            ///< of the layers' products, for one token
    double attention_operations = 0;  ///< for a token and each position that it attends to
    double weight_bytes = 0;          ///< bytes of weights that a decoded token reads
    double cache_bytes = 0;           ///< keys and values of a position

    /// Bytes that a decoded token reads if it attends to this many positions, including its own.
    double decode_bytes(double positions) const noexcept { return weight_bytes + positions * cache_bytes; }

    /// The peak with which products of these weights are compared: that of their own instruction if the machine has it.
    double product_peak(const MachinePeaks& peaks) const noexcept {
        const bool floats = type == DType::f32 || type == DType::f16;
        if (floats) return peaks.f32;
        return (type == DType::bf16 ? peaks.bf16 : peaks.int8).value_or(peaks.f32);
    }

    /// The least time to evaluate `count` tokens at once after `before` others: products at the peak of their type, attention
    /// at that of f32.
    double prefill_seconds(const MachinePeaks& peaks, std::size_t before, std::size_t count) const noexcept {
        const auto n = static_cast<double>(count);
        const double attended = n * static_cast<double>(before) + n * (n + 1) / 2;
        return n * operations / product_peak(peaks) + attended * attention_operations / peaks.f32;
    }

    /// The least time to evaluate `count` tokens one by one after `before` others: all that they read, at the speed of memory.
    double decode_seconds(const MachinePeaks& peaks, std::size_t before, std::size_t count) const noexcept {
        const auto n = static_cast<double>(count);
        return n * decode_bytes(static_cast<double>(before) + (n + 1) / 2) / peaks.read;
    }
};

/// What the tokens of a model cost, if keys and values have the given type.
inline ModelCost cost_of(const Transformer& model, DType cache = DType::f32) {
    const TransformerConfig& c = model.config;
    ModelCost cost;
    double most = 0;
    const std::vector<TensorSize> matrices = layer_matrices(model);
    for (const TensorSize& one : matrices) {
        cost.operations += 2 * one.elements;
        double same = 0;
        for (const TensorSize& other : matrices) same += other.type == one.type ? other.elements : 0;
        if (same > most) {
            most = same;
            cost.type = one.type;
        }
    }
    for (const TensorSize& tensor : tensors_of_a_token(model)) cost.weight_bytes += tensor.bytes();
    // One product of the query with each key, and one of each weight with a value.
    cost.attention_operations = 4.0 * static_cast<double>(c.layers * c.heads * c.head_dim);
    cost.cache_bytes =
        static_cast<double>(kv_bytes({c.layers, c.kv_heads, c.head_dim, tile_positions, cache})) / tile_positions;
    return cost;
}

}  // namespace flashback::inline FLASHBACK_ISA
