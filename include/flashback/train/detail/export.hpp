/// \file Trained parameters as what the rest of the library knows: an adapter, a model.
#pragma once

#include "flashback/model/adapter.hpp"
#include "flashback/model/fingerprint.hpp"
#include "flashback/model/transformer.hpp"
#include "flashback/train/detail/network.hpp"

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
            adapter.layers[l][m] = {net.rank, linear.scale, net.layout[name_of(l, m) + ".lora_a"].read(values),
                                    net.layout[name_of(l, m) + ".lora_b"].read(values)};
        }
    }
    if (!net.markers.empty()) {
        adapter.embedding_ids = net.markers;
        adapter.embedding_rows = net.layout["markers"].read(values);
    }
    return adapter;
}

inline std::shared_ptr<const Transformer> model_of(const Network& net) {
    if (!net.embedding.trains()) return net.base();
    auto model = std::make_shared<Transformer>();
    model->config = net.base()->config;
    model->rotary_frequencies = net.base()->rotary_frequencies;
    model->text_head = net.base()->text_head;
    model->text_ends = net.base()->text_ends;
    const float* values = net.parameters.data();
    const auto vector = [&](const std::string& name) { return net.layout[name].read(values); };
    const auto matrix = [&](const std::string& name) {
        const Parameter& p = net.layout[name];
        simd::PackedMatrix w{DType::f32, p.outputs, p.inputs};
        std::vector<float> row(p.inputs);
        for (std::size_t o = 0; o < p.outputs; ++o) {
            for (std::size_t i = 0; i < p.inputs; ++i) row[i] = values[p.at(o, i)];
            w.set_row(o, reinterpret_cast<const std::byte*>(row.data()));
        }
        return w;
    };
    model->embedding = matrix("token_embd.weight");
    for (std::size_t l = 0; l < net.layers.size(); ++l) {
        const std::string block = "blk." + std::to_string(l) + '.';
        TransformerLayer& layer = model->layers.emplace_back();
        layer.attention_norm = vector(block + "attn_norm.weight");
        layer.ffn_norm = vector(block + "ffn_norm.weight");
        layer.q = matrix(name_of(l, LinearModule::q) + ".weight");
        layer.k = matrix(name_of(l, LinearModule::k) + ".weight");
        layer.v = matrix(name_of(l, LinearModule::v) + ".weight");
        layer.output = matrix(name_of(l, LinearModule::output) + ".weight");
        layer.gate = matrix(name_of(l, LinearModule::gate) + ".weight");
        layer.up = matrix(name_of(l, LinearModule::up) + ".weight");
        layer.down = matrix(name_of(l, LinearModule::down) + ".weight");
    }
    model->output_norm = vector("output_norm.weight");
    if (!net.tied) model->head = matrix("output.weight");
    model->fingerprint = fingerprint(*model);
    return model;
}

}  // namespace flashback::inline FLASHBACK_ISA::detail
