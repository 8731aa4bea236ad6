/// \file A weight matrix repacked so that the lanes of a vector run across its outputs.
#pragma once

#include "flashback/core/aligned_buffer.hpp"

#include <algorithm>
#include <cstddef>

namespace flashback::inline FLASHBACK_ISA::simd {

/// Outputs that lie side by side in a panel: one AVX-512 vector, two of AVX2, four of SSE2 or NEON.
inline constexpr std::size_t panel_outputs = 16;

/// The least multiple of `panel_outputs` that is >= n.
constexpr std::size_t padded(std::size_t n) noexcept { return (n + panel_outputs - 1) / panel_outputs * panel_outputs; }

/// The matrix of a linear layer, f32.
/// Shape     (outputs, inputs); stored as (padded(outputs) / 16, inputs, 16), missing outputs as zeros (rule R3)
class PackedMatrix {
public:
    PackedMatrix() = default;
    PackedMatrix(std::size_t outputs, std::size_t inputs)
        : outputs_(outputs), inputs_(inputs), values_(padded(outputs) * inputs) {
        if (outputs != padded(outputs))
            std::fill_n(values_.data() + values_.size() - panel_outputs * inputs, panel_outputs * inputs, 0.0f);
    }

    std::size_t outputs() const noexcept { return outputs_; }
    std::size_t inputs() const noexcept { return inputs_; }
    std::size_t panels() const noexcept { return padded(outputs_) / panel_outputs; }
    /// Shape     (inputs, 16)
    const float* panel(std::size_t p) const noexcept { return values_.data() + p * inputs_ * panel_outputs; }

    float& at(std::size_t output, std::size_t input) noexcept { return values_[index(output, input)]; }
    float at(std::size_t output, std::size_t input) const noexcept { return values_[index(output, input)]; }

private:
    std::size_t index(std::size_t output, std::size_t input) const noexcept {
        return (output / panel_outputs * inputs_ + input) * panel_outputs + output % panel_outputs;
    }

    std::size_t outputs_ = 0;
    std::size_t inputs_ = 0;
    AlignedBuffer<float> values_;
};

}  // namespace flashback::inline FLASHBACK_ISA::simd
