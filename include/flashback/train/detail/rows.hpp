/// \file Activations of training: rows in memory of their own, padded with zeros.
#pragma once

#include "flashback/core/aligned_buffer.hpp"
#include "flashback/simd/gemm.hpp"
#include "flashback/simd/huge_pages.hpp"
#include "flashback/simd/matmul.hpp"

#include <algorithm>
#include <cstddef>

namespace flashback::inline FLASHBACK_ISA::detail {

/// Rows of up to `width` elements. What lies behind them is 0 and stays so: products read whole panels.
class Rows {
public:
    Rows() = default;
    Rows(std::size_t rows, std::size_t width)
        : stride_(simd::row_stride(width)), values_(simd::in_huge_pages(AlignedBuffer<float>{rows * stride_})) {
        std::fill_n(values_.data(), values_.size(), 0.0f);
    }

    float* row(std::size_t r) noexcept { return values_.data() + r * stride_; }
    const float* row(std::size_t r) const noexcept { return values_.data() + r * stride_; }
    std::size_t stride() const noexcept { return stride_; }
    std::size_t bytes() const noexcept { return values_.size() * sizeof(float); }
    void clear(std::size_t rows) noexcept { std::fill_n(values_.data(), rows * stride_, 0.0f); }

    simd::GemmRows left() const noexcept { return {values_.data(), stride_, false}; }
    simd::GemmRows left_transposed() const noexcept { return {values_.data(), stride_, true}; }
    simd::GemmPanels right() const noexcept { return {values_.data(), simd::panel_outputs, stride_}; }
    simd::GemmResult result() noexcept { return {values_.data(), simd::panel_outputs, stride_}; }

private:
    std::size_t stride_ = 0;
    AlignedBuffer<float> values_;
};

constexpr std::size_t panels_of(std::size_t n) noexcept { return simd::padded(n) / simd::panel_outputs; }

}  // namespace flashback::inline FLASHBACK_ISA::detail
