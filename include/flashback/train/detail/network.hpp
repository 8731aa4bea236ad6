/// \file The model as training sees it: trained parameters in one array, everything else in the frozen model.
#pragma once

#include "flashback/core/random.hpp"
#include "flashback/model/adapter.hpp"
#include "flashback/model/tensors.hpp"
#include "flashback/model/transformer.hpp"
#include "flashback/tensor/aligned_buffer.hpp"
#include "flashback/tensor/dtype.hpp"
#include "flashback/train/detail/linear.hpp"
#include "flashback/train/parameters.hpp"
#include "flashback/train/targets.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

/// The weight of a norm and, if its kind has one, its bias.
struct NormVectors {
    Vector weight, bias;
};

struct NetworkLayer {
    NormVectors attention_norm, ffn_norm;
    std::array<Linear, linear_modules.size()> linear;

    Linear& operator[](LinearModule m) noexcept { return linear[static_cast<std::size_t>(m)]; }
    const Linear& operator[](LinearModule m) const noexcept { return linear[static_cast<std::size_t>(m)]; }
};

/// The names of the parameters of a LoRA.
inline std::string lora_a_name(std::size_t layer, LinearModule m) { return stem_of(TensorId::of(m, layer)) + ".lora_a"; }
inline std::string lora_b_name(std::size_t layer, LinearModule m) { return stem_of(TensorId::of(m, layer)) + ".lora_b"; }

/// Weights, and where the gradient of each lies. Matrices of other types than f32 are converted to f32 once.
class Network {
public:
    Network(std::shared_ptr<const Transformer> model, const TrainingTargets& targets, std::uint64_t seed)
        : base_(std::move(model)) {
        FLASHBACK_ASSERT(base_ != nullptr, "training needs a model, found null");
        FLASHBACK_ASSERT(base_->config.causal && base_->config.activation != Activation::gelu,
                         "training needs a model that writes texts, found the encoder '", printable(base_->config.name), "'");
        targets.check(base_->config);
        config = base_->config;
        for (const double frequency : base_->rotary_frequencies) frequencies.push_back(frequency);
        describe(targets);
        parameters = in_huge_pages(AlignedBuffer<float>{layout.size()});
        std::fill_n(parameters.data(), parameters.size(), 0.0f);
        take(targets.all);
        take_lora(targets.lora, seed);
        take_markers(targets.markers);
        if (targets.all) forget_weights();
        find_lowest();
    }

    /// The input embedding of a token.
    /// Shape     to (row_width)
    void embed(TokenId token, float* to) const noexcept {
        const auto marker = marker_of(token);
        const std::size_t width = config.row_width();
        if (marker < markers.size()) return void(std::copy_n(marker_rows.data + marker * width, width, to));
        row_of(embedding, base_->embedding, static_cast<std::size_t>(token), to);
    }

    /// Adds to the gradient of the input embedding of a token.
    void embed_backward(TokenId token, const float* gradient, float* gradients) const noexcept {
        if (embedding.trains()) {
            add_to_row(embedding, static_cast<std::size_t>(token), gradient, gradients);
        } else if (const auto marker = marker_of(token); marker < markers.size()) {
            simd::add(gradients + marker_rows.gradient + marker * config.row_width(), gradient, config.row_width());
        }
    }
    bool embeddings_train() const noexcept { return embedding.trains() || !markers.empty(); }

    /// The row of a position in the table.
    /// Shape     to (width)
    void position(std::size_t at, float* to) const noexcept {
        row_of(positions, base_->positions, at + config.position_offset, to);
    }
    void position_backward(std::size_t at, const float* gradient, float* gradients) const noexcept {
        if (positions.trains()) add_to_row(positions, at + config.position_offset, gradient, gradients);
    }

    TransformerConfig config;
    std::vector<double> frequencies;
    ParameterLayout layout;
    AlignedBuffer<float> parameters;
    std::vector<NetworkLayer> layers;
    NormVectors output_norm;
    Matrix embedding, positions;     ///< only if they train
    Matrix project_in, project_out;  ///< they have no outputs if embedding and stream have the same width
    Matrix head;                     ///< the embedding again if it is tied
    std::vector<TokenId> markers;
    Vector marker_rows;  ///< (markers, row_width)
    bool tied = false;

    /// The earliest part that trains: -1 is the embedding, 2 l the attention of layer l, 2 l + 1 its feed-forward half, 2 ·
    /// layers the output. The backward pass stops there.
    std::ptrdiff_t lowest = 0;
    std::size_t rank = 0;
    DType precision = DType::f32;  ///< of the factors of products

    /// The frozen model. If everything trains, only its shape and its special tokens are left.
    const std::shared_ptr<const Transformer>& base() const noexcept { return base_; }

    /// Bytes of the copies of frozen matrices.
    std::size_t converted_bytes() const noexcept {
        std::size_t sum = 0;
        for (const simd::PackedMatrix& copy : converted_) sum += copy.bytes();
        return sum;
    }

private:
    void forget_weights() {
        auto rest = std::make_shared<Transformer>(without_tensors(*base_));
        rest->notes.clear();  // of how the old weights were read
        base_ = std::move(rest);
    }

    std::size_t marker_of(TokenId token) const noexcept {
        return static_cast<std::size_t>(std::ranges::find(markers, token) - markers.begin());
    }
    static std::size_t offset_of(const Matrix& m, std::size_t row) noexcept {
        return row / simd::panel_outputs * m.panel_floats() + row % simd::panel_outputs;
    }
    /// A row of a matrix. If the matrix does not train, the row is in the frozen model.
    static void row_of(const Matrix& m, const simd::PackedMatrix& frozen_one, std::size_t row, float* to) noexcept {
        if (!m.trains()) return frozen_one.row(row, to);
        const float* from = m.data + offset_of(m, row);
        for (std::size_t i = 0; i < m.inputs; ++i) to[i] = from[i * simd::panel_outputs];
    }
    static void add_to_row(const Matrix& m, std::size_t row, const float* gradient, float* gradients) noexcept {
        float* to = gradients + m.gradient + offset_of(m, row);
        for (std::size_t i = 0; i < m.inputs; ++i) to[i * simd::panel_outputs] += gradient[i];
    }

    void describe(const TrainingTargets& targets) {
        if (targets.all) {
            each_tensor(
                *base_,
                [&](const TensorId& id, std::size_t outputs, std::size_t inputs, const simd::PackedMatrix&) {
                    layout.add(to_string(id), outputs, inputs, Parameter::Order::panels, true);
                },
                [&](const TensorId& id, std::size_t count, const std::vector<float>&) {
                    layout.add(to_string(id), 1, count, Parameter::Order::rows, false);
                });
        }
        for (std::size_t l = 0; l < config.layers; ++l) {
            for (const LinearModule m : linear_modules) {
                if (!targets.lora.has(m)) continue;
                layout.add(lora_a_name(l, m), targets.lora.rank, config.inputs(m), Parameter::Order::panels, true);
                layout.add(lora_b_name(l, m), config.outputs(m), targets.lora.rank, Parameter::Order::panels, true);
            }
        }
        if (!targets.markers.empty())
            layout.add("markers", targets.markers.size(), config.row_width(), Parameter::Order::rows, true);
    }

    /// A matrix as f32. If it has another type, the converted copy is kept.
    Matrix as_f32(const simd::PackedMatrix& w, std::deque<simd::PackedMatrix>& kept) const {
        const simd::PackedMatrix* source = &w;
        if (w.type() != DType::f32) {
            simd::PackedMatrix& copy = kept.emplace_back(DType::f32, w.outputs(), w.inputs());
            std::vector<float> row(w.inputs());
            for (std::size_t o = 0; o < w.outputs(); ++o) {
                w.row(o, row.data());
                copy.set_row(o, reinterpret_cast<const std::byte*>(row.data()));
            }
            source = &copy;
        }
        return {reinterpret_cast<const float*>(source->panel(0)), w.outputs(), w.inputs(), frozen};
    }

    Matrix trained_matrix(const TensorId& id, const simd::PackedMatrix& w) {
        std::deque<simd::PackedMatrix> converted;
        const Matrix from = as_f32(w, converted);
        const Parameter& p = layout[to_string(id)];
        std::copy_n(from.data, p.size(), parameters.data() + p.offset);
        return trained(p);
    }
    Matrix trained(const Parameter& p) const { return {parameters.data() + p.offset, p.outputs, p.inputs, p.offset}; }
    Vector trained_vector(const TensorId& id, const std::vector<float>& from) {
        const Parameter& p = layout[to_string(id)];
        std::copy(from.begin(), from.end(), parameters.data() + p.offset);
        return {parameters.data() + p.offset, p.offset};
    }

    /// The weights: in one array if they train, else in the frozen model.
    void take(bool all) {
        const auto matrix = [&](const TensorId& id, const simd::PackedMatrix& from) {
            if (from.outputs() == 0) return Matrix{};
            return all ? trained_matrix(id, from) : as_f32(from, converted_);
        };
        const auto vector = [&](const TensorId& id, const std::vector<float>& from) {
            if (from.empty()) return Vector{};
            return all ? trained_vector(id, from) : Vector{from.data(), frozen};
        };
        const auto norm = [&](TensorRole role, std::size_t l) {
            const TensorId weight{role, l};
            const TensorId bias{role, l, true};
            return NormVectors{vector(weight, vector_of(*base_, weight)), vector(bias, vector_of(*base_, bias))};
        };
        if (all) embedding = matrix({TensorRole::embedding}, base_->embedding);
        if (all) positions = matrix({TensorRole::positions}, base_->positions);
        project_in = matrix({TensorRole::project_in}, base_->project_in);
        for (std::size_t l = 0; l < config.layers; ++l) {
            const TransformerLayer& from = base_->layers[l];
            NetworkLayer& layer = layers.emplace_back();
            layer.attention_norm = norm(TensorRole::attention_norm, l);
            layer.ffn_norm = norm(TensorRole::ffn_norm, l);
            for (const LinearModule m : linear_modules) {
                layer[m].w = matrix(TensorId::of(m, l), from[m]);
                layer[m].bias = vector(TensorId::of(m, l, true), from.bias(m));
            }
        }
        output_norm = norm(TensorRole::output_norm, 0);
        project_out = matrix({TensorRole::project_out}, base_->project_out);
        tied = !base_->head;
        head = tied && all ? embedding : matrix({TensorRole::head}, base_->output_matrix());
    }

    /// A is uniform in ±1/sqrt(inputs), like PEFT's Kaiming initialisation with a = sqrt(5). B is 0, so that nothing changes at
    /// first.
    void take_lora(const LoraOptions& lora, std::uint64_t seed) {
        if (lora.modules.empty()) return;
        rank = lora.rank;
        SplitMix64 random{seed};
        for (std::size_t l = 0; l < config.layers; ++l) {
            for (const LinearModule m : linear_modules) {
                if (!lora.has(m)) continue;
                const Parameter& a = layout[lora_a_name(l, m)];
                const double most = 1 / std::sqrt(static_cast<double>(a.inputs));
                for (std::size_t o = 0; o < a.outputs; ++o) {
                    for (std::size_t i = 0; i < a.inputs; ++i)
                        parameters[a.at(o, i)] = static_cast<float>((2 * random.uniform() - 1) * most);
                }
                layers[l][m].a = trained(a);
                layers[l][m].b = trained(layout[lora_b_name(l, m)]);
                layers[l][m].scale = lora.scale();
            }
        }
    }

    void take_markers(const std::vector<TokenId>& ids) {
        if (ids.empty()) return;
        const Parameter& p = layout["markers"];
        for (std::size_t i = 0; i < ids.size(); ++i)
            base_->embedding.row(static_cast<std::size_t>(ids[i]), parameters.data() + p.offset + i * config.row_width());
        marker_rows = {parameters.data() + p.offset, p.offset};
        markers = ids;
    }

    void find_lowest() {
        lowest = static_cast<std::ptrdiff_t>(2 * config.layers);
        for (std::size_t l = config.layers; l-- > 0;) {
            const NetworkLayer& layer = layers[l];
            const auto any = [&](auto first, auto last) {
                return std::any_of(layer.linear.begin() + first, layer.linear.begin() + last,
                                   [](const Linear& m) { return m.trains(); });
            };
            if (layer.ffn_norm.weight.trains() || any(4, 7)) lowest = static_cast<std::ptrdiff_t>(2 * l + 1);
            if (layer.attention_norm.weight.trains() || any(0, 4)) lowest = static_cast<std::ptrdiff_t>(2 * l);
        }
        if (embeddings_train()) lowest = -1;
    }

    std::shared_ptr<const Transformer> base_;
    std::deque<simd::PackedMatrix> converted_;
};

}  // namespace flashback::inline FLASHBACK_ISA::detail
