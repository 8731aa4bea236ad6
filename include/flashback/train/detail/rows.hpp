/// \file Activations of training: rows in memory of their own, padded with zeros.
#pragma once

#include "flashback/simd/gemm.hpp"
#include "flashback/simd/matmul.hpp"
#include "flashback/tensor/aligned_buffer.hpp"
#include "flashback/tensor/huge_pages.hpp"

#include <algorithm>
#include <cstddef>

namespace flashback::inline FLASHBACK_ISA::detail {

/// A view of rows, as a span is a view of elements.
template <class Float>
struct RowSpanOf {
    Float* data = nullptr;  ///< null: no rows at all
    std::size_t stride = 0;

    explicit operator bool() const noexcept { return data != nullptr; }
    operator RowSpanOf<const Float>() const noexcept { return {data, stride}; }

    Float* row(std::size_t r) const noexcept { return data + r * stride; }
    /// Without the first n rows.
    RowSpanOf from(std::size_t n) const noexcept { return {row(n), stride}; }

    simd::GemmRows left() const noexcept { return {data, stride, false}; }
    simd::GemmRows left_transposed() const noexcept { return {data, stride, true}; }
    simd::GemmPanels right() const noexcept { return {data, simd::panel_outputs, stride}; }
    simd::GemmResult result() const noexcept { return {data, simd::panel_outputs, stride}; }
};
using RowSpan = RowSpanOf<float>;
using ConstRowSpan = RowSpanOf<const float>;

/// Rows of up to `width` elements. What lies after them in memory is 0 and stays 0: products read whole panels.
class Rows {
public:
    Rows() = default;
    Rows(std::size_t rows, std::size_t width)
        : stride_(simd::row_stride(width)), values_(in_huge_pages(AlignedBuffer<float>{rows * stride_})) {
        std::fill_n(values_.data(), values_.size(), 0.0f);
    }

    RowSpan view() noexcept { return {values_.data(), stride_}; }
    ConstRowSpan view() const noexcept { return {values_.data(), stride_}; }
    operator RowSpan() noexcept { return view(); }
    operator ConstRowSpan() const noexcept { return view(); }
    /// Without the first n rows.
    RowSpan from(std::size_t n) noexcept { return view().from(n); }
    ConstRowSpan from(std::size_t n) const noexcept { return view().from(n); }

    float* row(std::size_t r) noexcept { return values_.data() + r * stride_; }
    const float* row(std::size_t r) const noexcept { return values_.data() + r * stride_; }
    std::size_t stride() const noexcept { return stride_; }
    std::size_t bytes() const noexcept { return values_.size() * sizeof(float); }
    simd::GemmRows left() const noexcept { return view().left(); }
    simd::GemmRows left_transposed() const noexcept { return view().left_transposed(); }
    simd::GemmPanels right() const noexcept { return view().right(); }
    simd::GemmResult result() noexcept { return view().result(); }
    void clear(std::size_t rows) noexcept { std::fill_n(values_.data(), rows * stride_, 0.0f); }

private:
    std::size_t stride_ = 0;
    AlignedBuffer<float> values_;
};

constexpr std::size_t panels_of(std::size_t n) noexcept { return simd::padded(n) / simd::panel_outputs; }

}  // namespace flashback::inline FLASHBACK_ISA::detail
