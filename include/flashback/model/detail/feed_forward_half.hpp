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
void feed_forward_half(const ExecutorRef& executor, const Transformer& model, const AdapterUse& use, std::size_t number,
                       std::size_t rows, Workspace& work, const Observer& observer) {
    const TransformerConfig& c = model.config;
    const TransformerLayer& layer = model.layers[number];
    const float* from = read_stream(executor, c, layer.ffn_norm, layer.ffn_norm_bias, rows, {&layer.gate, &layer.up}, work);
    if (!c.post_norm) show(observer, Stage::ffn_norm, number, rows, from, work.width, 0, c.width);
    const simd::Activations x = work.inputs.view(from, work.width);
    const RunLora gate_lora = lora_of(use, number, LinearModule::gate, work, 0);
    const RunLora up_lora = lora_of(use, number, LinearModule::up, work, 1);
    run_down(executor, x.x, x.x_stride, rows, gate_lora, up_lora);
    float* activated = c.gated ? work.gate.data() : work.up.data();
    executor.run_ranges(layer.up.panels(), panel_grain, [&](std::size_t first, std::size_t last) {
        if (c.gated) {
            simd::matmul(layer.gate, first, last, x, rows, work.gate.data(), work.hidden);
            gate_lora.up(first, last, rows, work.gate.data(), work.hidden);
            add_bias(layer.bias(LinearModule::gate), first, last, rows, work.gate.data(), work.hidden);
        }
        simd::matmul(layer.up, first, last, x, rows, work.up.data(), work.hidden);
        up_lora.up(first, last, rows, work.up.data(), work.hidden);
        add_bias(layer.bias(LinearModule::up), first, last, rows, work.up.data(), work.hidden);
        const std::size_t begin = first * simd::panel_outputs;
        const std::size_t count = (last - first) * simd::panel_outputs;
        const std::size_t real = std::min(count, c.hidden - begin);  // the rest is padding
        if (c.gated) show(observer, Stage::gate, number, rows, work.gate.data(), work.hidden, begin, real);
        show(observer, Stage::up, number, rows, work.up.data(), work.hidden, begin, real);
        for (std::size_t r = 0; r < rows; ++r) {
            const std::size_t at = r * work.hidden;
            if (c.gated) {
                simd::silu_times(work.gate.data() + at + begin, work.up.data() + at + begin, count);
            } else {
                activate(c.activation, work.up.data() + at + begin, count);
            }
            convert({&layer.down}, work.hidden_inputs, r, activated + at, begin, real);
        }
        show(observer, Stage::activated, number, rows, activated, work.hidden, begin, real);
    });
    project_to_residual(executor, layer, LinearModule::down, lora_of(use, number, LinearModule::down, work),
                        work.hidden_inputs.view(activated, work.hidden), rows, work);
    show(observer, Stage::ffn_output, number, rows, work.normed.data(), work.width, 0, c.width);
    norm_stream(executor, c, layer.ffn_norm, layer.ffn_norm_bias, rows, work);
    show(observer, Stage::block, number, rows, work.x.data(), work.width, 0, c.width);
}

}  // namespace flashback::inline FLASHBACK_ISA::detail
