/// \file Turns trained parameters into what the rest of the library knows: an adapter, a model.
#pragma once

#include "flashback/model/adapter.hpp"
#include "flashback/model/fingerprint.hpp"
#include "flashback/model/tensors.hpp"
#include "flashback/model/transformer.hpp"
#include "flashback/train/detail/network.hpp"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

inline Adapter adapter_of(const Network& net) {
    Adapter adapter;
    const float* values = net.parameters.data();
    if (net.rank > 0) adapter.layers.resize(net.layers.size());
    for (std::size_t l = 0; l < adapter.layers.size(); ++l) {
        for (const LinearModule m : linear_modules) {
            const Linear& linear = net.layers[l][m];
            if (!linear.has_lora()) continue;
            adapter.layers[l][m] = {net.rank, linear.scale, net.layout[lora_a_name(l, m)].read(values),
                                    net.layout[lora_b_name(l, m)].read(values)};
        }
    }
    if (!net.markers.empty()) {
        adapter.embedding_ids = net.markers;
        adapter.embedding_rows = net.layout["markers"].read(values);
    }
    return adapter;
}

/// Writes the numbers of an adapter into the LoRA and the marker rows.
/// Throws    Error{contract} if it is not exactly what trains; then nothing has changed
inline void take_adapter(Network& net, const Adapter& adapter) {
    check_fits(adapter, net.config);
    for (std::size_t l = 0; l < net.layers.size(); ++l) {
        for (const LinearModule m : linear_modules) {
            const Linear& linear = net.layers[l][m];
            const LoraPair none;
            const LoraPair& pair = adapter.layers.empty() ? none : adapter.layers[l][m];
            const std::size_t rank = linear.has_lora() ? net.rank : 0;
            FLASHBACK_ASSERT(pair.rank == rank, "the adapter has a LoRA of rank ", pair.rank, " for ",
                             peft_module(net.config, l, m), ", but one of rank ", rank, " trains");
            FLASHBACK_ASSERT(rank == 0 || pair.scale == linear.scale, "the adapter has the scale ", pair.scale, " for ",
                             peft_module(net.config, l, m), ", but the one that trains has ", linear.scale);
        }
    }
    FLASHBACK_ASSERT(std::ranges::is_permutation(adapter.embedding_ids, net.markers), "the adapter replaces ",
                     adapter.embedding_ids.size(), " embedding rows, which are not the ", net.markers.size(), " that train");
    float* values = net.parameters.data();
    for (std::size_t l = 0; l < adapter.layers.size(); ++l) {
        for (const LinearModule m : linear_modules) {
            const LoraPair& pair = adapter.layers[l][m];
            if (pair.rank == 0) continue;
            net.layout[lora_a_name(l, m)].write(pair.a, values);
            net.layout[lora_b_name(l, m)].write(pair.b, values);
        }
    }
    for (std::size_t i = 0; i < net.markers.size(); ++i) {
        const auto row = std::ranges::find(adapter.embedding_ids, net.markers[i]) - adapter.embedding_ids.begin();
        std::copy_n(adapter.embedding_rows.begin() + row * static_cast<std::ptrdiff_t>(net.config.row_width()),
                    net.config.row_width(), values + net.layout["markers"].at(i, 0));
    }
}

inline std::shared_ptr<const Transformer> model_of(const Network& net) {
    if (!net.embedding.trains()) return net.base();
    auto model = std::make_shared<Transformer>(without_tensors(*net.base()));
    const float* values = net.parameters.data();
    each_tensor(
        *model,
        [&](const TensorId& id, std::size_t outputs, std::size_t inputs, simd::PackedMatrix& to) {
            const Parameter& p = net.layout[to_string(id)];
            to = simd::PackedMatrix{DType::f32, outputs, inputs};
            std::vector<float> row(inputs);
            for (std::size_t o = 0; o < outputs; ++o) {
                for (std::size_t i = 0; i < inputs; ++i) row[i] = values[p.at(o, i)];
                to.set_row(o, reinterpret_cast<const std::byte*>(row.data()));
            }
        },
        [&](const TensorId& id, std::size_t, std::vector<float>& to) { to = net.layout[to_string(id)].read(values); });
    model->fingerprint = fingerprint(*model);
    return model;
}

}  // namespace flashback::inline FLASHBACK_ISA::detail
