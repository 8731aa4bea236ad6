/// \file One example, forward and backward, in a single thread. The bits depend only on weights, example and dropout key.
#pragma once

#include "flashback/data/example.hpp"
#include "flashback/model/activation.hpp"
#include "flashback/simd/backward.hpp"
#include "flashback/simd/norm.hpp"
#include "flashback/train/detail/activation_backward.hpp"
#include "flashback/train/detail/workspace.hpp"

#include <algorithm>
#include <array>
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
        : net_(net), example_(example), cut_(cut), dropout_(dropout), work_(work), rows_(example.tokens.size()) {
        const PassageRows& beside = example.beside;
        if (!example.runs.empty()) {
            runs_ = example.runs;
        } else if (beside.size() == 0) {
            own_runs_[0] = {.end = rows_};
            runs_ = std::span{own_runs_}.first(1);
        } else {
            own_runs_ = {TokenRun{.end = beside.begin}, TokenRun{beside.begin, beside.end, beside.head, beside.head},
                         TokenRun{beside.end, rows_, beside.begin, beside.begin, 1, beside.gap}};
            runs_ = own_runs_;
        }
    }
    Pass(const Pass&) = delete;
    Pass& operator=(const Pass&) = delete;
    ~Pass() = default;

    /// The sum of the cross entropy of all targets; NaN if the model overflows.
    double forward() noexcept {
        const std::size_t layers = net_.layers.size();
        embed();
        for (std::size_t l = 0; l < layers; ++l) {
            attend(l);
            feed_forward(l);
        }
        return predict();
    }

    /// Writes the gradients of that sum into an array with the layout of the parameters. Those of matrices are set; those of
    /// norms, embedding and marker rows are added to what is there.
    /// Requires  forward() was the last to use the workspace; backward() is called once
    void backward(float* gradients) noexcept {
        gradients_ = gradients;
        predict_backward();
        for (std::size_t l = net_.layers.size(); l-- > 0;) {
            if (net_.lowest > stage(2 * l + 1)) return;
            feed_forward_backward(l);
            if (net_.lowest > stage(2 * l)) return;
            attend_backward(l);
        }
        if (net_.lowest < 0) embed_backward();
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

    /// The first row for which the output of a block matters. After the last block only the rows before targets are read, so in
    /// that block everything but keys and values begins with them.
    std::size_t first_row(std::size_t l) const noexcept {
        return l + 1 < net_.layers.size() ? 0 : example_.targets.front() - 1;
    }

    // Each of these works on the rows from `begin` on, and does not touch the rows before.
    void run(std::size_t l, LinearModule m, ConstRowSpan x, RowSpan y, std::size_t begin, simd::GemmStart start) noexcept {
        linear_forward(net_.layers[l][m], x.from(begin), y.from(begin),
                       {rows_ - begin, start, dropout(l, m, begin), work_.linear});
    }
    /// What a layer read, the gradient of what it gave, and where the gradient of what it read goes.
    struct Back {
        ConstRowSpan x, dy;
        RowSpan dx;
    };
    void run_back(std::size_t l, LinearModule m, const Back& back, std::size_t begin, simd::GemmStart start) noexcept {
        const auto& [x, dy, dx] = back;
        linear_backward(net_.layers[l][m], x.from(begin), dy.from(begin), dx ? dx.from(begin) : dx, gradients_,
                        {rows_ - begin, start, dropout(l, m, begin), work_.linear});
    }
    void copy(ConstRowSpan from, RowSpan to, std::size_t begin) const noexcept {
        std::copy_n(from.row(begin), (rows_ - begin) * from.stride, to.row(begin));
    }
    /// y = norm(x); without a norm, y = x.
    void normalise(ConstRowSpan x, const NormVectors& norm, std::size_t begin, std::size_t rows, RowSpan y) const noexcept {
        const TransformerConfig& c = net_.config;
        for (std::size_t t = begin; t < rows; ++t) {
            if (!norm.weight.data) {
                std::copy_n(x.row(t), c.width, y.row(t));
            } else if (c.norm == Norm::layer) {
                simd::layer_norm(x.row(t), norm.weight.data, norm.bias.data, c.width, c.norm_epsilon, y.row(t));
            } else {
                simd::rms_norm(x.row(t), norm.weight.data, c.width, c.norm_epsilon, y.row(t));
            }
        }
    }
    void normalise_row_back(const float* x, const NormVectors& norm, const float* dy, float* dx) const noexcept {
        const TransformerConfig& c = net_.config;
        float* dweight = norm.weight.trains() ? gradients_ + norm.weight.gradient : nullptr;
        float* dbias = norm.bias.trains() ? gradients_ + norm.bias.gradient : nullptr;
        if (!norm.weight.data) {
            simd::add(dx, dy, c.width);
        } else if (c.norm == Norm::layer) {
            simd::layer_norm_backward(x, norm.weight.data, c.width, c.norm_epsilon, {dy, dx, dweight, dbias});
        } else {
            simd::rms_norm_backward(x, norm.weight.data, c.width, c.norm_epsilon, {dy, dx, dweight});
        }
    }

    /// What a half of a block reads: the norm of the stream, or the stream itself if norms come after the sums.
    ConstRowSpan read(const Rows& x, const NormVectors& norm, std::size_t begin) noexcept {
        if (net_.config.post_norm) return x;
        normalise(x, norm, begin, rows_, work_.normed);
        return work_.normed;
    }
    /// Adds the gradient of what a half of a block read to that of the stream.
    void read_back(const Rows& x, const NormVectors& norm, std::size_t begin) noexcept {
        for (std::size_t t = begin; t < rows_; ++t) {
            const float* dy = work_.normed_gradient.row(t);
            float* dx = work_.gradient.row(t);
            if (net_.config.post_norm) {
                simd::add(dx, dy, net_.config.width);
            } else {
                normalise_row_back(x.row(t), norm, dy, dx);
            }
        }
    }
    /// Where the output of a half of a block is summed up: in the stream after it; or, if norms come after the sums, in what
    /// the norm reads.
    Rows& sum_of(Rows& behind, Rows& in_front_of_norm) const noexcept {
        return net_.config.post_norm ? in_front_of_norm : behind;
    }
    void finish_sum(const Rows& sum, const NormVectors& norm, std::size_t begin, Rows& behind) const noexcept {
        if (net_.config.post_norm) normalise(sum, norm, begin, rows_, behind);
    }
    /// Turns the gradient of the stream into that of the sum.
    void finish_sum_back(const Rows& sum, const NormVectors& norm, std::size_t begin) noexcept {
        if (!net_.config.post_norm) return;
        for (std::size_t t = begin; t < rows_; ++t) {
            float* dy = work_.normed_gradient.row(t);
            float* dx = work_.gradient.row(t);
            std::copy_n(dx, net_.config.width, dy);
            std::fill_n(dx, net_.config.width, 0.0f);
            normalise_row_back(sum.row(t), norm, dy, dx);
        }
    }

    void embed() noexcept {
        Rows& rows = projects() ? work_.embedded : stream(0);
        for (std::size_t t = 0; t < rows_; ++t) net_.embed(example_.tokens[t], rows.row(t));
        if (projects()) multiply(net_.project_in, work_.embedded, rows_, stream(0), zero, work_.linear);
        if (net_.config.positions != Positions::learned) return;
        each_position(0, [&](std::size_t t, std::size_t at) {
            net_.position(at, work_.normed.row(t));
            simd::add(stream(0).row(t), work_.normed.row(t), net_.config.width);
        });
    }

    void embed_backward() noexcept {
        each_position(0, [&](std::size_t t, std::size_t at) { net_.position_backward(at, work_.gradient.row(t), gradients_); });
        if (projects()) {
            if (net_.project_in.trains())
                weight_gradient(net_.project_in, work_.embedded, work_.gradient, rows_, gradients_, work_.linear);
            multiply_back(net_.project_in, work_.gradient, rows_, work_.embedded_gradient, zero, work_.linear);
        }
        const Rows& gradient = projects() ? work_.embedded_gradient : work_.gradient;
        for (std::size_t t = 0; t < rows_; ++t) net_.embed_backward(example_.tokens[t], gradient.row(t), gradients_);
    }

    /// Rotates all heads by the angles of their positions, or back.
    void rotate(RowSpan x, std::size_t heads, const Rows& sine, std::size_t begin) const noexcept {
        each_position(begin, [&](std::size_t t, std::size_t at) {
            for (std::size_t h = 0; h < heads; ++h)
                simd::rotate_pairs(x.row(t) + h * net_.config.head_dim, work_.cosine.row(at), sine.row(at),
                                   net_.frequencies.size());
        });
    }
    /// Calls `work(row, position)` for the rows from `begin` on.
    template <class Work>
    void each_position(std::size_t begin, const Work& work) const noexcept {
        for (const TokenRun& run : runs_) {
            for (std::size_t t = std::max(begin, run.begin); t < run.end; ++t) work(t, run.position_of(t));
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
        const NormVectors& norm = net_.layers[l].attention_norm;
        const ConstRowSpan x = read(s.x, norm, 0);
        run(l, q, x, s.q, first, zero);
        run(l, k, x, s.k, 0, zero);
        run(l, v, x, s.v, 0, zero);
        rotate(s.q, net_.config.heads, work_.sine, first);
        rotate(s.k, net_.config.kv_heads, work_.sine, 0);
        scale_queries(s.q, first);
        attention_forward(heads(), {s.q, s.k, s.v}, {first, runs_}, s.attended, work_.attention);
        Rows& sum = sum_of(s.middle, s.attention_sum);
        copy(s.x, sum, first);
        run(l, output, s.attended, sum, first, accumulate);
        finish_sum(sum, norm, first, s.middle);
    }

    void attend_backward(std::size_t l) noexcept {
        SavedLayer& s = work_.layers[l];
        const NetworkLayer& layer = net_.layers[l];
        const std::size_t first = first_row(l);
        const bool below = net_.lowest < stage(2 * l) || layer.attention_norm.weight.trains();
        const bool inside = below || layer[q].trains() || layer[k].trains() || layer[v].trains();
        finish_sum_back(s.attention_sum, layer.attention_norm, first);
        run_back(l, output, {s.attended, work_.gradient, inside ? work_.attended_gradient.view() : RowSpan{}}, first, zero);
        if (!inside) return;
        attention_backward(heads(), {s.q, s.k, s.v}, s.attended, work_.attended_gradient, {first, runs_}, work_.attention);
        scale_queries(s.q, first);
        rotate(s.q, net_.config.heads, work_.minus_sine, first);
        rotate(s.k, net_.config.kv_heads, work_.minus_sine, 0);
        const ConstRowSpan x = read(s.x, layer.attention_norm, 0);
        const RowSpan dx = below ? work_.normed_gradient.view() : RowSpan{};
        run_back(l, k, {x, s.k, dx}, 0, zero);
        run_back(l, v, {x, s.v, dx}, 0, accumulate);
        run_back(l, q, {x, s.q, dx}, first, accumulate);
        if (below) read_back(s.x, layer.attention_norm, 0);
    }

    /// What `down` reads, in `hidden`.
    void activate_rows(const SavedLayer& s, std::size_t begin) noexcept {
        const TransformerConfig& c = net_.config;
        copy(c.gated ? s.gate : s.up, work_.hidden, begin);
        for (std::size_t t = begin; t < rows_; ++t) {
            if (c.gated) {
                simd::silu_times(work_.hidden.row(t), s.up.row(t), c.hidden);
            } else {
                activate(c.activation, work_.hidden.row(t), c.hidden);
            }
        }
    }
    void activate_rows_back(SavedLayer& s, std::size_t begin) noexcept {
        const TransformerConfig& c = net_.config;
        for (std::size_t t = begin; t < rows_; ++t) {
            if (c.gated) {
                simd::silu_times_backward(s.gate.row(t), s.up.row(t), work_.hidden_gradient.row(t), c.hidden);
            } else {
                activation_backward(c.activation, s.up.row(t), work_.hidden_gradient.row(t), c.hidden);
            }
        }
    }

    void feed_forward(std::size_t l) noexcept {
        SavedLayer& s = work_.layers[l];
        const NormVectors& norm = net_.layers[l].ffn_norm;
        const std::size_t first = first_row(l);
        const ConstRowSpan x = read(s.middle, norm, first);
        if (net_.config.gated) run(l, gate, x, s.gate, first, zero);
        run(l, up, x, s.up, first, zero);
        activate_rows(s, first);
        Rows& sum = sum_of(stream(l + 1), s.ffn_sum);
        copy(s.middle, sum, first);
        run(l, down, work_.hidden, sum, first, accumulate);
        finish_sum(sum, norm, first, stream(l + 1));
    }

    void feed_forward_backward(std::size_t l) noexcept {
        SavedLayer& s = work_.layers[l];
        const NetworkLayer& layer = net_.layers[l];
        const std::size_t first = first_row(l);
        const bool below = net_.lowest < stage(2 * l + 1) || layer.ffn_norm.weight.trains();
        const bool inside = below || layer[gate].trains() || layer[up].trains();
        finish_sum_back(s.ffn_sum, layer.ffn_norm, first);
        if (layer[down].trains()) activate_rows(s, first);
        run_back(l, down, {work_.hidden, work_.gradient, inside ? work_.hidden_gradient.view() : RowSpan{}}, first, zero);
        if (!inside) return;
        activate_rows_back(s, first);
        const ConstRowSpan x = read(s.middle, layer.ffn_norm, first);
        const RowSpan dx = below ? work_.normed_gradient.view() : RowSpan{};
        if (net_.config.gated) run_back(l, gate, {x, s.gate, dx}, first, zero);
        run_back(l, up, {x, s.up, dx}, first, net_.config.gated ? accumulate : zero);
        if (below) read_back(s.middle, layer.ffn_norm, first);
    }

    double predict() noexcept {
        const std::size_t targets = example_.targets.size();
        for (std::size_t i = 0; i < targets; ++i)
            std::copy_n(work_.x.row(example_.targets[i] - 1), net_.config.width, work_.target_x.row(i));
        normalise(work_.target_x, net_.output_norm, 0, targets, work_.target_normed);
        if (projects()) multiply(net_.project_out, work_.target_normed, targets, work_.target_projected, zero, work_.linear);
        multiply(net_.head, head_input(), targets, work_.logits, zero, work_.linear);
        double loss = 0;
        for (std::size_t i = 0; i < targets; ++i) {
            float* logits = work_.logits.row(i);
            for (const TokenId id : cut_) logits[id] = -std::numeric_limits<float>::infinity();
            const auto target = static_cast<std::size_t>(example_.tokens[example_.targets[i]]);
            loss += simd::cross_entropy(logits, net_.config.vocab, target);
            // If norms come after the sums, it is the sum that may overflow.
            const float* sum =
                net_.config.post_norm ? work_.layers.back().ffn_sum.row(example_.targets[i] - 1) : work_.target_x.row(i);
            if (!simd::has_norm(sum, net_.config.width)) loss = std::numeric_limits<double>::quiet_NaN();
        }
        return loss;
    }

    void predict_backward() noexcept {
        const std::size_t targets = example_.targets.size();
        if (net_.head.trains()) weight_gradient(net_.head, head_input(), work_.logits, targets, gradients_, work_.linear);
        multiply_back(net_.head, work_.logits, targets, head_input(), zero, work_.linear);
        if (projects()) {
            if (net_.project_out.trains())
                weight_gradient(net_.project_out, work_.target_normed, work_.target_projected, targets, gradients_,
                                work_.linear);
            multiply_back(net_.project_out, work_.target_projected, targets, work_.target_normed, zero, work_.linear);
        }
        work_.gradient.clear(rows_);
        for (std::size_t i = 0; i < targets; ++i) {
            normalise_row_back(work_.target_x.row(i), net_.output_norm, work_.target_normed.row(i),
                               work_.gradient.row(example_.targets[i] - 1));
        }
    }

    bool projects() const noexcept { return net_.config.embedding_width > 0; }
    Rows& head_input() noexcept { return projects() ? work_.target_projected : work_.target_normed; }

    const Network& net_;
    const TrainingExample& example_;
    std::span<const TokenId> cut_;
    Dropout dropout_;
    TrainingWorkspace& work_;
    std::size_t rows_;
    std::array<TokenRun, 3> own_runs_;  // of an example that does not name them
    std::span<const TokenRun> runs_;
    float* gradients_ = nullptr;
};

}  // namespace flashback::inline FLASHBACK_ISA::detail
