/// \file The half of a block that works on each position by itself.
#pragma once

#include "flashback/core/executor.hpp"
#include "flashback/model/activation.hpp"
#include "flashback/model/detail/block_parts.hpp"
#include "flashback/model/observer.hpp"
#include "flashback/simd/activation.hpp"

#include <algorithm>
#include <cstddef>

namespace flashback::inline FLASHBACK_ISA::detail {

/// x += down(act(gate(x)) · up(x)), or down(act(up(x))).
template <class Observer>
void feed_forward_half(const Piece& piece, std::size_t number, const Observer& observer) {
    const TransformerConfig& c = piece.model.config;
    const TransformerLayer& layer = piece.model.layers[number];
    const std::size_t rows = piece.rows;
    Workspace& work = piece.work;
    const std::size_t stride = work.hidden_stride;
    const float* from = read_stream(piece, layer.ffn_norm, layer.ffn_norm_bias, {&layer.gate, &layer.up});
    if (!c.post_norm) show(observer, Stage::ffn_norm, number, {rows, from, work.stream_stride, 0, c.width});
    const simd::Activations x = work.converted.view(from, work.stream_stride);
    const RunLora gate_lora = lora_of(piece, number, LinearModule::gate, 0);
    const RunLora up_lora = lora_of(piece, number, LinearModule::up, 1);
    run_down(piece.executor, x.x, x.x_stride, rows, gate_lora, up_lora);
    float* gate = work.gate.data();
    float* up = work.up.data();
    float* activated = c.gated ? gate : up;
    CutProduct product = whole_product(layer.up, rows);
    product.finest = simd::activation_block / simd::panel_outputs;  // activated outputs are converted in blocks
    run_product(piece.executor, product, [&](const ProductPart& part) {
        if (c.gated) multiply_part(layer.gate, part, x, gate_lora, layer.bias(LinearModule::gate), {gate, stride});
        multiply_part(layer.up, part, x, up_lora, layer.bias(LinearModule::up), {up, stride});
        const std::size_t begin = part.first * simd::panel_outputs;
        const std::size_t count = (part.last - part.first) * simd::panel_outputs;
        const std::size_t real = std::min(count, c.hidden - begin);  // the rest is padding
        const auto see = [&](Stage stage, const float* values) {
            show(observer, stage, number, {part.last_row, values, stride, begin, real, part.first_row});
        };
        if (c.gated) see(Stage::gate, gate);
        see(Stage::up, up);
        for (std::size_t r = part.first_row; r < part.last_row; ++r) {
            const std::size_t at = r * stride;
            if (c.gated) {
                simd::silu_times(gate + at + begin, up + at + begin, count);
            } else {
                activate(c.activation, up + at + begin, count);
            }
            convert({&layer.down}, work.converted_hidden, r, activated + at, begin, real);
        }
        see(Stage::activated, activated);
    });
    project_to_stream(piece, number, LinearModule::down, work.converted_hidden.view(activated, stride));
    show(observer, Stage::ffn_output, number, {rows, work.added.data(), work.stream_stride, 0, c.width});
    norm_stream(piece, layer.ffn_norm, layer.ffn_norm_bias);
    show(observer, Stage::block, number, {rows, work.stream.data(), work.stream_stride, 0, c.width});
}

}  // namespace flashback::inline FLASHBACK_ISA::detail
