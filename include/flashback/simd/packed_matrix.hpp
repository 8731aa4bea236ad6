/// \file A weight matrix that is repacked so that the lanes of a vector run across its outputs.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/simd/detail/packed_k_formats.hpp"
#include "flashback/tensor/aligned_buffer.hpp"
#include "flashback/tensor/dtype.hpp"
#include "flashback/tensor/huge_pages.hpp"
#include "flashback/tensor/quantize.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::simd {

/// How panels are packed: another number if any of their bytes would be another. Files of panels name it.
/// For tiles (simd/tiles.hpp), panels of bf16 end with zeros.
inline constexpr std::uint64_t packing_version = bf16_group == 2 ? 2 : 1002;

/// The matrix of a linear layer: F32, F16, BF16, Q8_0, Q4_0, Q4_K or Q6_K. It has about as many bytes as in a GGUF file.
/// Shape     (outputs, inputs); stored as panels of 16 outputs, missing outputs as zeros (rule R3)
class PackedMatrix {
public:
    PackedMatrix() = default;

    /// Throws    Error{contract} for a type that is not multiplied as it is, or if inputs is not a multiple of its block
    PackedMatrix(DType type, std::size_t outputs, std::size_t inputs)
        : type_(type), outputs_(outputs), inputs_(inputs), panel_bytes_(checked_panel_bytes(type, inputs)) {
        values_ = in_huge_pages(AlignedBuffer<std::byte>{panels() * panel_bytes_});
        if (outputs != padded(outputs)) std::fill_n(values_.data() + values_.size() - panel_bytes_, panel_bytes_, std::byte{});
    }

    /// The matrix whose weights are `value(output, input)`, asked for row by row and rounded to F32, F16, BF16, Q8_0 or Q4_0.
    /// Throws    as the constructor; Error{contract} for another type
    template <class Value>
    static PackedMatrix of(DType type, std::size_t outputs, std::size_t inputs, const Value& value) {
        PackedMatrix w{type, outputs, inputs};
        const DTypeLayout layout = layout_of(type);
        std::vector<float> row(inputs);
        std::vector<std::byte> bytes(inputs / layout.block_elements * layout.block_bytes);
        for (std::size_t o = 0; o < outputs; ++o) {
            for (std::size_t i = 0; i < inputs; ++i) row[i] = value(o, i);
            quantize(type, row.data(), inputs, bytes.data());
            w.set_row(o, bytes.data());
        }
        return w;
    }

    /// A matrix whose panels lie in memory of others, such as a mapped file. No row of it can be stored.
    /// Shape     panels: bytes_of(type, outputs, inputs), as another matrix has them from `panel(0)` on
    /// Requires  they stay where and what they are as long as anybody has the owner
    /// Throws    as the constructor; Error{contract} for another number of bytes
    static PackedMatrix view(DType type, std::size_t outputs, std::size_t inputs, std::span<const std::byte> panels,
                             std::shared_ptr<const void> owner) {
        FLASHBACK_ASSERT(panels.size() == bytes_of(type, outputs, inputs), "the panels of a matrix have ", panels.size(),
                         " bytes, expected ", bytes_of(type, outputs, inputs));
        PackedMatrix w;
        w.type_ = type;
        w.outputs_ = outputs;
        w.inputs_ = inputs;
        w.panel_bytes_ = checked_panel_bytes(type, inputs);
        w.view_ = panels;
        w.owner_ = std::move(owner);
        return w;
    }

    /// How much memory a matrix takes.
    /// Throws    as the constructor
    static std::size_t bytes_of(DType type, std::size_t outputs, std::size_t inputs) {
        return padded(outputs) / panel_outputs * checked_panel_bytes(type, inputs);
    }

    /// Whether matrices of a type are multiplied as they are.
    static constexpr bool takes(DType type) noexcept {
        return detail::with_format(type, [](auto) {});
    }

    /// A copy of the matrix, with panels of its own.
    /// Throws    std::bad_alloc
    PackedMatrix copy() const {
        PackedMatrix w;
        if (outputs_ > 0) w = PackedMatrix{type_, outputs_, inputs_};
        std::copy_n(panel(0), w.values_.size(), w.values_.data());
        return w;
    }

    /// How the weights are stored.
    DType type() const noexcept { return type_; }
    /// Rows of the matrix.
    std::size_t outputs() const noexcept { return outputs_; }
    /// Columns of the matrix.
    std::size_t inputs() const noexcept { return inputs_; }
    /// How many groups of 16 rows there are, the last one padded.
    std::size_t panels() const noexcept { return padded(outputs_) / panel_outputs; }
    /// How much memory such a group takes.
    std::size_t panel_bytes() const noexcept { return panel_bytes_; }
    /// How much memory all take.
    std::size_t bytes() const noexcept { return is_view() ? view_.size() : values_.size(); }
    /// Where group p begins.
    const std::byte* panel(std::size_t p) const noexcept {
        return (is_view() ? view_.data() : values_.data()) + p * panel_bytes_;
    }
    /// Whether the panels lie in memory of others.
    bool is_view() const noexcept { return view_.data() != nullptr; }

    /// The bytes of a panel that are weights; what lies between them and the next panel was never written.
    std::span<const std::byte> panel_weights(std::size_t p) const noexcept {
        std::size_t bytes = 0;
        detail::with_format(type_, [&](auto format) { bytes = format.bytes(inputs_); });
        return {panel(p), bytes};
    }

    /// Stores the weights of one output. Different outputs may be stored at the same time.
    /// Shape     row: inputs() elements as GGUF stores them in type()
    /// Requires  the matrix is no view
    void set_row(std::size_t output, const std::byte* row) noexcept {
        detail::with_format(type_, [&](auto format) {
            format.pack(row, inputs_, {0, inputs_}, output % panel_outputs,
                        values_.data() + output / panel_outputs * panel_bytes_);
        });
    }

    /// Stores the weights of the outputs of a panel. Different panels may be stored at the same time.
    /// Shape     rows: of the outputs from 16 p on, as many as the matrix has of them; each as for `set_row`
    /// Requires  the matrix is no view
    /// Cost      all rows are read together, so that each line of the panel is written once, while it is in the first cache
    void set_panel(std::size_t p, std::span<const std::byte* const> rows) noexcept {
        detail::with_format(type_, [&](auto format) {
            std::byte* const to = values_.data() + p * panel_bytes_;
            for (std::size_t begin = 0; begin < inputs_; begin += inputs_together) {
                const std::size_t end = std::min(begin + inputs_together, inputs_);
                for (std::size_t lane = 0; lane < rows.size(); ++lane) format.pack(rows[lane], inputs_, {begin, end}, lane, to);
            }
        });
    }

    /// The weights of one output as floats.
    /// Shape     to (inputs)
    void row(std::size_t output, float* to) const noexcept {
        detail::with_format(type_, [&](auto format) {
            const std::byte* from = panel(output / panel_outputs);
            for (std::size_t k = 0; k < inputs_; ++k) to[k] = format.value(from, output % panel_outputs, k);
        });
    }

private:
    static constexpr std::size_t inputs_together = detail::super_block;

    static std::size_t checked_panel_bytes(DType type, std::size_t inputs) {
        FLASHBACK_ASSERT(takes(type), "a packed matrix of type ", layout_of(type).name,
                         ", expected F32, F16, BF16, Q8_0, Q4_0, Q4_K or Q6_K");
        const std::size_t block = layout_of(type).block_elements;
        FLASHBACK_ASSERT(inputs % block == 0, "a matrix of ", inputs, " inputs in blocks of ", block, " (",
                         layout_of(type).name, ")");
        std::size_t bytes = 0;
        detail::with_format(type, [&](auto format) { bytes = format.bytes(inputs); });
        const std::size_t unit = type == DType::bf16 ? bf16_group / 2 * line_bytes : line_bytes;
        return (bytes + unit - 1) / unit * unit;
    }

    DType type_ = DType::f32;
    std::size_t outputs_ = 0;
    std::size_t inputs_ = 0;
    std::size_t panel_bytes_ = 0;
    AlignedBuffer<std::byte> values_;
    std::span<const std::byte> view_;  // instead of values_
    std::shared_ptr<const void> owner_;
};

}  // namespace flashback::inline FLASHBACK_ISA::simd
