/// \file One example, forward and back. A single thread; the bits depend on weights, example and dropout key alone.
#pragma once

#include "flashback/simd/norm.hpp"
#include "flashback/train/detail/row_operations.hpp"
#include "flashback/train/detail/workspace.hpp"
#include "flashback/train/example.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>

namespace flashback::inline FLASHBACK_ISA::detail {

/// A pass over one example.
class Pass {
public:
    /// Requires  `work` has room for the example; without dropout, `dropout` is inactive
    Pass(const Network& net, const TrainingExample& example, std::span<const TokenId> cut, const Dropout& dropout,
         TrainingWorkspace& work)
        : net_(net), example_(example), cut_(cut), dropout_(dropout), work_(work), rows_(example.tokens.size()) {}

    /// The sum of the cross entropy of all targets; NaN where the model overflows.
    double forward() noexcept {
        const std::size_t layers = net_.layers.size();
        for (std::size_t t = 0; t < rows_; ++t) net_.embed(example_.tokens[t], stream(0).row(t));
        for (std::size_t l = 0; l < layers; ++l) {
            attend(l);
            feed_forward(l);
        }
        return predict();
    }

    /// The gradients of that sum, into an array that is laid out as the parameters are: of matrices set, of norms, embedding and
    /// marker rows added to what is there.
    /// Requires  forward() was the last that used the workspace; once only
    void backward(float* gradients) noexcept {
        gradients_ = gradients;
        predict_backward();
        for (std::size_t l = net_.layers.size(); l-- > 0;) {
            if (net_.lowest > stage(2 * l + 1)) return;
            feed_forward_backward(l);
            if (net_.lowest > stage(2 * l)) return;
            attend_backward(l);
        }
        if (net_.lowest >= 0) return;
        for (std::size_t t = 0; t < rows_; ++t) net_.embed_backward(example_.tokens[t], work_.gradient.row(t), gradients_);
    }

private:
    using enum LinearModule;
    static constexpr simd::GemmStart zero = simd::GemmStart::zero;
    static constexpr simd::GemmStart accumulate = simd::GemmStart::accumulate;

    static std::ptrdiff_t stage(std::size_t s) noexcept { return static_cast<std::ptrdiff_t>(s); }
    Rows& stream(std::size_t l) noexcept { return l < work_.layers.size() ? work_.layers[l].x : work_.x; }
    Dropout dropout(std::size_t l, LinearModule m, std::size_t begin) const noexcept {
        return {dropout_.dropped, random_key(dropout_.key, l, m), begin};
    }

    /// The first row whose output of a block matters: behind the last block only those in front of targets are read, so there
    /// everything but keys and values begins with them.
    std::size_t first_row(std::size_t l) const noexcept {
        return l + 1 < net_.layers.size() ? 0 : example_.targets.front() - 1;
    }

    // Each works on the rows from `begin` on, and leaves those before alone.
    void run(std::size_t l, LinearModule m, ConstRowSpan x, RowSpan y, std::size_t begin, simd::GemmStart start) noexcept {
        linear_forward(net_.layers[l][m], x.from(begin), rows_ - begin, y.from(begin), start, dropout(l, m, begin),
                       work_.linear);
    }
    void run_back(std::size_t l, LinearModule m, ConstRowSpan x, ConstRowSpan dy, RowSpan dx, std::size_t begin,
                  simd::GemmStart start) noexcept {
        linear_backward(net_.layers[l][m], x.from(begin), dy.from(begin), rows_ - begin, dx ? dx.from(begin) : dx, start,
                        dropout(l, m, begin), gradients_, work_.linear);
    }
    void copy(ConstRowSpan from, RowSpan to, std::size_t begin) const noexcept {
        std::copy_n(from.row(begin), (rows_ - begin) * from.stride, to.row(begin));
    }
    void normalise(ConstRowSpan x, const Vector& weight, std::size_t begin, std::size_t rows, RowSpan y) const noexcept {
        for (std::size_t t = begin; t < rows; ++t)
            simd::rms_norm(x.row(t), weight.data, net_.config.width, net_.config.norm_epsilon, y.row(t));
    }
    void normalise_back(ConstRowSpan x, const Vector& weight, ConstRowSpan dy, std::size_t begin, RowSpan dx) noexcept {
        float* dweight = weight.trains() ? gradients_ + weight.gradient : nullptr;
        for (std::size_t t = begin; t < rows_; ++t)
            rms_norm_backward(x.row(t), weight.data, net_.config.width, net_.config.norm_epsilon, dy.row(t), dx.row(t),
                              dweight);
    }
    /// Rotates all heads by the angles of their positions, or back.
    void rotate(RowSpan x, std::size_t heads, const Rows& sine, std::size_t begin) const noexcept {
        for (std::size_t t = begin; t < rows_; ++t) {
            for (std::size_t h = 0; h < heads; ++h)
                simd::rotate_pairs(x.row(t) + h * net_.config.head_dim, work_.cosine.row(t), sine.row(t),
                                   net_.frequencies.size());
        }
    }
    void scale_queries(RowSpan queries, std::size_t begin) const noexcept {
        const float scale = 1.0f / std::sqrt(static_cast<float>(net_.config.head_dim));
        for (std::size_t t = begin; t < rows_; ++t)
            simd::scale(queries.row(t), scale, net_.config.heads * net_.config.head_dim);
    }
    AttentionShape heads() const noexcept { return {net_.config.heads, net_.config.kv_heads, net_.config.head_dim}; }

    void attend(std::size_t l) noexcept {
        SavedLayer& s = work_.layers[l];
        const std::size_t first = first_row(l);
        normalise(s.x, net_.layers[l].attention_norm, 0, rows_, work_.normed);
        run(l, q, work_.normed, s.q, first, zero);
        run(l, k, work_.normed, s.k, 0, zero);
        run(l, v, work_.normed, s.v, 0, zero);
        rotate(s.q, net_.config.heads, work_.sine, first);
        rotate(s.k, net_.config.kv_heads, work_.sine, 0);
        scale_queries(s.q, first);
        attention_forward(heads(), s.q, s.k, s.v, first, rows_, s.attended, work_.attention);
        copy(s.x, s.middle, first);
        run(l, output, s.attended, s.middle, first, accumulate);
    }

    void attend_backward(std::size_t l) noexcept {
        SavedLayer& s = work_.layers[l];
        const NetworkLayer& layer = net_.layers[l];
        const std::size_t first = first_row(l);
        const bool below = net_.lowest < stage(2 * l) || layer.attention_norm.trains();
        const bool inside = below || layer[q].trains() || layer[k].trains() || layer[v].trains();
        run_back(l, output, s.attended, work_.gradient, inside ? work_.attended_gradient.view() : RowSpan{}, first, zero);
        if (!inside) return;
        attention_backward(heads(), s.q, s.k, s.v, s.attended, work_.attended_gradient, first, rows_, work_.attention);
        scale_queries(s.q, first);
        rotate(s.q, net_.config.heads, work_.minus_sine, first);
        rotate(s.k, net_.config.kv_heads, work_.minus_sine, 0);
        normalise(s.x, layer.attention_norm, 0, rows_, work_.normed);
        const RowSpan dx = below ? work_.normed_gradient.view() : RowSpan{};
        run_back(l, k, work_.normed, s.k, dx, 0, zero);
        run_back(l, v, work_.normed, s.v, dx, 0, accumulate);
        run_back(l, q, work_.normed, s.q, dx, first, accumulate);
        if (below) normalise_back(s.x, layer.attention_norm, work_.normed_gradient, 0, work_.gradient);
    }

    void activate(const SavedLayer& s, std::size_t begin) noexcept {
        copy(s.gate, work_.hidden, begin);
        for (std::size_t t = begin; t < rows_; ++t) simd::silu_times(work_.hidden.row(t), s.up.row(t), net_.config.hidden);
    }

    void feed_forward(std::size_t l) noexcept {
        SavedLayer& s = work_.layers[l];
        const std::size_t first = first_row(l);
        normalise(s.middle, net_.layers[l].ffn_norm, first, rows_, work_.normed);
        run(l, gate, work_.normed, s.gate, first, zero);
        run(l, up, work_.normed, s.up, first, zero);
        activate(s, first);
        copy(s.middle, stream(l + 1), first);
        run(l, down, work_.hidden, stream(l + 1), first, accumulate);
    }

    void feed_forward_backward(std::size_t l) noexcept {
        SavedLayer& s = work_.layers[l];
        const NetworkLayer& layer = net_.layers[l];
        const std::size_t first = first_row(l);
        const bool below = net_.lowest < stage(2 * l + 1) || layer.ffn_norm.trains();
        const bool inside = below || layer[gate].trains() || layer[up].trains();
        if (layer[down].trains()) activate(s, first);
        run_back(l, down, work_.hidden, work_.gradient, inside ? work_.hidden_gradient.view() : RowSpan{}, first, zero);
        if (!inside) return;
        for (std::size_t t = first; t < rows_; ++t)
            silu_times_backward(s.gate.row(t), s.up.row(t), work_.hidden_gradient.row(t), net_.config.hidden);
        normalise(s.middle, layer.ffn_norm, first, rows_, work_.normed);
        const RowSpan dx = below ? work_.normed_gradient.view() : RowSpan{};
        run_back(l, gate, work_.normed, s.gate, dx, first, zero);
        run_back(l, up, work_.normed, s.up, dx, first, accumulate);
        if (below) normalise_back(s.middle, layer.ffn_norm, work_.normed_gradient, first, work_.gradient);
    }

    double predict() noexcept {
        const std::size_t targets = example_.targets.size();
        for (std::size_t i = 0; i < targets; ++i)
            std::copy_n(work_.x.row(example_.targets[i] - 1), net_.config.width, work_.target_x.row(i));
        normalise(work_.target_x, net_.output_norm, 0, targets, work_.target_normed);
        multiply(net_.head, work_.target_normed, targets, work_.logits, zero);
        double loss = 0;
        for (std::size_t i = 0; i < targets; ++i) {
            float* logits = work_.logits.row(i);
            for (const TokenId id : cut_) logits[id] = -std::numeric_limits<float>::infinity();
            const auto target = static_cast<std::size_t>(example_.tokens[example_.targets[i]]);
            loss += cross_entropy(logits, net_.config.vocab, target);
            if (!has_norm(work_.target_x.row(i), net_.config.width)) loss = std::numeric_limits<double>::quiet_NaN();
        }
        return loss;
    }

    void predict_backward() noexcept {
        const std::size_t targets = example_.targets.size();
        if (net_.head.trains()) weight_gradient(net_.head, work_.target_normed, work_.logits, targets, gradients_);
        multiply_back(net_.head, work_.logits, targets, work_.target_normed, zero, work_.linear);
        work_.gradient.clear(rows_);
        float* dweight = net_.output_norm.trains() ? gradients_ + net_.output_norm.gradient : nullptr;
        for (std::size_t i = 0; i < targets; ++i) {
            rms_norm_backward(work_.target_x.row(i), net_.output_norm.data, net_.config.width, net_.config.norm_epsilon,
                              work_.target_normed.row(i), work_.gradient.row(example_.targets[i] - 1), dweight);
        }
    }

    const Network& net_;
    const TrainingExample& example_;
    std::span<const TokenId> cut_;
    Dropout dropout_;
    TrainingWorkspace& work_;
    std::size_t rows_;
    float* gradients_ = nullptr;
};

}  // namespace flashback::inline FLASHBACK_ISA::detail
