/// \file The half of a block that works on each position by itself.
#pragma once

#include "flashback/core/executor.hpp"
#include "flashback/model/detail/block_parts.hpp"
#include "flashback/simd/activation.hpp"

#include <algorithm>
#include <cstddef>

namespace flashback::inline FLASHBACK_ISA::detail {

/// x = act(x).
/// Shape     x (n)
inline void activate(Activation activation, float* x, std::size_t n) noexcept {
    switch (activation) {
        case Activation::silu: return simd::silu(x, n);
        case Activation::gelu_tanh: return simd::gelu(x, n);
        case Activation::relu: return simd::relu(x, n);
    }
}

/// x += down(act(gate(x)) · up(x)), or down(act(up(x))).
inline void feed_forward_half(const ExecutorRef& executor, const Transformer& model, const AdapterUse& use, std::size_t number,
                              std::size_t rows, Workspace& work) {
    const TransformerConfig& c = model.config;
    const TransformerLayer& layer = model.layers[number];
    const float* from = read_stream(executor, c, layer.ffn_norm, layer.ffn_norm_bias, rows, {&layer.gate, &layer.up}, work);
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
        for (std::size_t r = 0; r < rows; ++r) {
            const std::size_t at = r * work.hidden;
            if (c.gated) {
                simd::silu_times(work.gate.data() + at + begin, work.up.data() + at + begin, count);
            } else {
                activate(c.activation, work.up.data() + at + begin, count);
            }
            convert({&layer.down}, work.hidden_inputs, r, activated + at, begin, std::min(count, layer.down.inputs() - begin));
        }
    });
    project_to_residual(executor, layer, LinearModule::down, lora_of(use, number, LinearModule::down, work),
                        work.hidden_inputs.view(activated, work.hidden), rows, work);
    norm_stream(executor, c, layer.ffn_norm, layer.ffn_norm_bias, rows, work);
}

}  // namespace flashback::inline FLASHBACK_ISA::detail
