/// \file What an adapter adds to the products of a forward pass.
#pragma once

#include "flashback/core/executor.hpp"
#include "flashback/model/detail/cuts.hpp"
#include "flashback/model/packed_adapter.hpp"
#include "flashback/simd/elementwise.hpp"
#include "flashback/simd/gemm.hpp"
#include "flashback/simd/matmul.hpp"

#include <cstddef>

namespace flashback::inline FLASHBACK_ISA::detail {

/// What is added to one product. First `down` runs for all rows, then `up` beside the product to which it adds. Both do nothing
/// if the adapter has nothing for it. The bits are those of one row at a time in one thread, because gemm's are, however it is
/// cut.
class RunLora {
public:
    RunLora() = default;
    /// `low` is memory for (rows, low_stride).
    RunLora(const AdapterUse& use, std::size_t layer, LinearModule module, float* low, std::size_t low_stride) noexcept
        : low_(low), low_stride_(low_stride) {
        if (!use.adapter) return;
        pair_ = use.adapter->lora(layer, module);
        if (pair_) scale_ = pair_->scale * use.scale;
    }

    bool present() const noexcept { return pair_ != nullptr; }

    /// low = scale · A x, for the rows from `first` to `last`.
    void down(const float* x, std::size_t x_stride, std::size_t first, std::size_t last) const noexcept {
        if (!pair_ || first == last) return;
        const simd::PackedMatrix& a = pair_->a;
        float* low = low_ + first * low_stride_;
        simd::gemm({x + first * x_stride, x_stride}, panels(a, 0), {low, simd::panel_outputs, low_stride_},
                   {last - first, a.panels(), a.inputs()});
        for (std::size_t r = first; r < last; ++r) simd::scale(low_ + r * low_stride_, scale_, simd::padded(a.outputs()));
    }

    /// y += B low, for some outputs of some rows.
    void up(const ProductPart& part, float* y, std::size_t y_stride) const noexcept {
        if (!pair_) return;
        simd::gemm({low_ + part.first_row * low_stride_, low_stride_}, panels(pair_->b, part.first),
                   {y + part.first_row * y_stride + part.first * simd::panel_outputs, simd::panel_outputs, y_stride},
                   {part.last_row - part.first_row, part.last - part.first, pair_->b.inputs()}, simd::GemmStart::accumulate);
    }

private:
    static simd::GemmPanels panels(const simd::PackedMatrix& w, std::size_t first) noexcept {
        return {reinterpret_cast<const float*>(w.panel(first)), w.inputs() * simd::panel_outputs, simd::panel_outputs};
    }

    const PackedLora* pair_ = nullptr;
    float scale_ = 0;
    float* low_ = nullptr;
    std::size_t low_stride_ = 0;
};

// A thread takes at least this many rows; it is not worth waking it for fewer.
inline constexpr std::size_t rows_of_lora = 8;

/// The first half of what is added to some products of the same rows; the rows are divided between threads.
template <class... Loras>
void run_down(const ExecutorRef& executor, const float* x, std::size_t x_stride, std::size_t rows, const Loras&... loras) {
    if (!(loras.present() || ...)) return;
    executor.run_ranges(rows, rows_of_lora,
                        [&](std::size_t first, std::size_t last) { (loras.down(x, x_stride, first, last), ...); });
}

}  // namespace flashback::inline FLASHBACK_ISA::detail
