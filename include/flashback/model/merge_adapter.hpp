/// \file Puts an adapter into the weights of a model.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/executor.hpp"
#include "flashback/model/adapter.hpp"
#include "flashback/model/fingerprint.hpp"
#include "flashback/model/tensors.hpp"
#include "flashback/model/transformer.hpp"
#include "flashback/tensor/quantize.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {
namespace detail {

inline void check_mergeable(const simd::PackedMatrix& w, std::string_view name) {
    if (w.type() != DType::f32 && w.type() != DType::f16 && w.type() != DType::bf16) {
        FLASHBACK_THROW(ErrorCode::unsupported, "an adapter cannot be merged into ", name, ", which is of type ",
                        layout_of(w.type()).name, ", expected F32, F16 or BF16: a session can run it beside the model");
    }
}

/// W + scale · B A, each element summed in double and rounded once.
inline simd::PackedMatrix merged(const simd::PackedMatrix& w, const LoraPair& pair, float scale, ExecutorRef executor) {
    simd::PackedMatrix sum{w.type(), w.outputs(), w.inputs()};
    const auto factor = static_cast<double>(pair.scale * scale);
    executor.run_ranges(w.outputs(), simd::panel_outputs, [&](std::size_t first, std::size_t last) {
        std::vector<float> row(w.inputs());
        std::vector<double> added(w.inputs());
        std::vector<std::byte> bytes(w.inputs() * layout_of(w.type()).block_bytes);
        for (std::size_t o = first; o < last; ++o) {
            w.row(o, row.data());
            std::ranges::fill(added, 0.0);
            for (std::size_t r = 0; r < pair.rank; ++r) {
                const auto b = static_cast<double>(pair.b[o * pair.rank + r]);
                const float* a = pair.a.data() + r * w.inputs();
                // The products are exact, so a compiler that fuses them with the sums changes no bit.
                for (std::size_t i = 0; i < added.size(); ++i) added[i] += b * static_cast<double>(a[i]);
            }
            for (std::size_t i = 0; i < added.size(); ++i)
                row[i] = static_cast<float>(std::fma(factor, added[i], static_cast<double>(row[i])));
            quantize(w.type(), row.data(), row.size(), bytes.data());
            sum.set_row(o, bytes.data());
        }
    });
    return sum;
}

}  // namespace detail

/// A model with an adapter in its weights. It is as fast as the model itself. It rounds differently from the adapter beside the
/// model, because the sums are rounded to the type of the matrix. Replaced embedding rows go into the input embedding. If the
/// head is tied to it, the new model gets a head of its own with the old rows.
/// Throws    Error{contract} if the adapter does not fit the model, or the scale is not a number; Error{unsupported} if a
///           matrix that it changes is quantised; std::bad_alloc
/// Cost      the memory of a second model; for each changed weight `rank` multiply-adds in double, in parallel if an executor
///           is given
/// Source    Hu et al. 2021, LoRA, section 4.1
inline std::shared_ptr<const Transformer> merged(const Transformer& model, const Adapter& adapter, float scale = 1,
                                                 ExecutorRef executor = {}) {
    check_fits(adapter, model.config);
    FLASHBACK_ASSERT(std::isfinite(scale), "an adapter is merged with a scale of ", scale, ", expected a number");
    for (std::size_t l = 0; l < adapter.layers.size(); ++l) {
        for (const LinearModule m : linear_modules) {
            if (adapter.layers[l][m].rank > 0) detail::check_mergeable(model.layers[l][m], peft_module(model.config, l, m));
        }
    }
    const bool rows = !adapter.embedding_ids.empty();
    if (rows) detail::check_mergeable(model.embedding, peft_embedding(model.config));
    if (const std::size_t added = new_tokens(adapter, model.config.vocab)) {
        FLASHBACK_THROW(ErrorCode::unsupported, "an adapter cannot be merged that adds ", added, " tokens to the ",
                        model.config.vocab, " of the model: a session can run it beside the model");
    }

    auto sum = std::make_shared<Transformer>(without_tensors(model));
    if (rows) sum->head.emplace();
    each_tensor(
        *sum,
        [&](const TensorId& id, std::size_t, std::size_t, simd::PackedMatrix& to) {
            const simd::PackedMatrix& from = id.role == TensorRole::head ? model.output_matrix() : matrix_of(model, id);
            const auto m = id.linear();
            const bool changes = m && !adapter.layers.empty() && adapter.layers[id.layer][*m].rank > 0;
            to = changes ? detail::merged(from, adapter.layers[id.layer][*m], scale, executor) : from.copy();
        },
        [&](const TensorId& id, std::size_t, std::vector<float>& to) { to = vector_of(model, id); });
    const std::size_t width = model.config.row_width();
    std::vector<std::byte> bytes(width * layout_of(model.embedding.type()).block_bytes);
    for (std::size_t i = 0; i < adapter.embedding_ids.size(); ++i) {
        quantize(model.embedding.type(), adapter.embedding_rows.data() + i * width, width, bytes.data());
        sum->embedding.set_row(static_cast<std::size_t>(adapter.embedding_ids[i]), bytes.data());
    }
    sum->fingerprint = fingerprint(*sum, executor);
    return sum;
}

}  // namespace flashback::inline FLASHBACK_ISA
