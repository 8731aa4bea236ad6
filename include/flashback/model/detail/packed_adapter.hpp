/// \file Packing adapters.
#pragma once

#include "flashback/core/tokens.hpp"
#include "flashback/model/adapter.hpp"
#include "flashback/model/fingerprint.hpp"
#include "flashback/model/packed_adapter.hpp"
#include "flashback/model/transformer.hpp"
#include "flashback/simd/packed_matrix.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

FLASHBACK_DETAIL_ONCE PackedAdapter::PackedAdapter(const Adapter& adapter, const TransformerConfig& model)
    : ids_(adapter.embedding_ids), rows_(adapter.embedding_rows), fingerprint_(flashback::fingerprint(adapter)) {
    check_fits(adapter, model);
    row_width_ = model.row_width();
    vocab_ = model.vocab;
    for (const LinearModule m : linear_modules) sides_[static_cast<std::size_t>(m)] = {model.outputs(m), model.inputs(m)};
    for (const AdapterLayer& from : adapter.layers) {
        auto& to = layers_.emplace_back();
        for (std::size_t m = 0; m < to.size(); ++m) {
            const LoraPair& pair = from.pairs[m];
            if (pair.rank == 0) continue;
            to[m] = {packed(pair.a, pair.rank, sides_[m].inputs), packed(pair.b, sides_[m].outputs, pair.rank), pair.scale};
            most_rank_ = std::max(most_rank_, pair.rank);
        }
    }
    if (ids_.empty()) return;
    row_of_.resize(model.vocab + new_tokens(adapter, model.vocab));
    for (std::size_t i = 0; i < ids_.size(); ++i)
        row_of_[static_cast<std::size_t>(ids_[i])] = static_cast<std::uint32_t>(i + 1);
}

FLASHBACK_DETAIL_ONCE bool PackedAdapter::fits(const TransformerConfig& model) const noexcept {
    if (!layers_.empty() && layers_.size() != model.layers) return false;
    if (!ids_.empty() && (vocab_ != model.vocab || row_width_ != model.row_width())) return false;
    return std::ranges::all_of(linear_modules, [&](LinearModule m) {
        return sides_[static_cast<std::size_t>(m)] == Sides{model.outputs(m), model.inputs(m)};
    });
}

FLASHBACK_DETAIL_ONCE const PackedLora* PackedAdapter::lora(std::size_t layer, LinearModule m) const noexcept {
    if (layers_.empty()) return nullptr;
    const PackedLora& pair = layers_[layer][static_cast<std::size_t>(m)];
    return pair.present() ? &pair : nullptr;
}

FLASHBACK_DETAIL_ONCE const float* PackedAdapter::embedding_row(TokenId token) const noexcept {
    const auto id = static_cast<std::size_t>(token);
    const std::uint32_t row = token < 0 || id >= row_of_.size() ? 0 : row_of_[id];
    return row == 0 ? nullptr : rows_.data() + (row - 1) * row_width_;
}

FLASHBACK_DETAIL_ONCE simd::PackedMatrix PackedAdapter::packed(const std::vector<float>& values, std::size_t outputs,
                                                               std::size_t inputs) {
    simd::PackedMatrix w{DType::f32, outputs, inputs};
    for (std::size_t o = 0; o < outputs; ++o) w.set_row(o, reinterpret_cast<const std::byte*>(values.data() + o * inputs));
    return w;
}

}  // namespace flashback::inline FLASHBACK_ISA
