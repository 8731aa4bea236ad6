/// \file The same model with other types of weights.
#pragma once

#include "flashback/model/transformer.hpp"

#include <cstddef>
#include <memory>
#include <vector>

namespace flashback_test::inline FLASHBACK_ISA {

/// The matrix with its weights rounded to another type; exact where that is F32.
inline flashback::simd::PackedMatrix repacked(const flashback::simd::PackedMatrix& w, flashback::DType type) {
    std::vector<float> row(w.inputs());
    return flashback::simd::PackedMatrix::of(type, w.outputs(), w.inputs(), [&](std::size_t o, std::size_t k) {
        if (k == 0) w.row(o, row.data());
        return row[k];
    });
}

/// Repacks all matrices of a model that nobody else holds.
inline std::shared_ptr<const flashback::Transformer> repacked(std::shared_ptr<const flashback::Transformer> model,
                                                              flashback::DType type) {
    using Layer = flashback::TransformerLayer;
    const auto changed = std::const_pointer_cast<flashback::Transformer>(std::move(model));
    changed->embedding = repacked(changed->embedding, type);
    if (changed->head) changed->head = repacked(*changed->head, type);
    for (Layer& layer : changed->layers) {
        for (const auto matrix : {&Layer::q, &Layer::k, &Layer::v, &Layer::output, &Layer::gate, &Layer::up, &Layer::down})
            layer.*matrix = repacked(layer.*matrix, type);
    }
    return changed;
}

}  // namespace flashback_test::inline FLASHBACK_ISA
