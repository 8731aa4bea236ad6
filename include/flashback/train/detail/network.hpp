/// \file The model as training sees it: trained parameters in one array, all else where the frozen model has it.
#pragma once

#include "flashback/core/aligned_buffer.hpp"
#include "flashback/model/adapter.hpp"
#include "flashback/model/transformer.hpp"
#include "flashback/policy/random.hpp"
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

/// The weight of a norm.
struct Vector {
    const float* data = nullptr;
    std::size_t gradient = frozen;

    bool trains() const noexcept { return gradient != frozen; }
};

struct NetworkLayer {
    Vector attention_norm, ffn_norm;
    std::array<Linear, linear_modules.size()> linear;

    Linear& operator[](LinearModule m) noexcept { return linear[static_cast<std::size_t>(m)]; }
    const Linear& operator[](LinearModule m) const noexcept { return linear[static_cast<std::size_t>(m)]; }
};

/// What a linear layer is called in GGUF.
inline std::string name_of(std::size_t layer, LinearModule m) {
    constexpr std::array<const char*, 7> names{"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"};
    return "blk." + std::to_string(layer) + '.' + names[static_cast<std::size_t>(m)];
}

/// Weights, and where the gradient of each lies. Matrices of other types than f32 are turned into f32 once.
class Network {
public:
    Network(std::shared_ptr<const Transformer> model, const TrainingTargets& targets, std::uint64_t seed)
        : base_(std::move(model)) {
        FLASHBACK_ASSERT(base_ != nullptr, "training needs a model, found null");
        targets.check(base_->config);
        config = base_->config;
        for (const double frequency : base_->rotary_frequencies) frequencies.push_back(frequency);
        describe(targets);
        parameters = simd::in_huge_pages(AlignedBuffer<float>{layout.size()});
        std::fill_n(parameters.data(), parameters.size(), 0.0f);
        if (targets.all) {
            take_all();
        } else {
            take_frozen();
            take_lora(targets.lora, seed);
            take_markers(targets.markers);
        }
        find_lowest();
    }

    /// The input embedding of a token.
    void embed(TokenId token, float* to) const noexcept {
        const auto marker = marker_of(token);
        if (marker < markers.size()) return void(std::copy_n(marker_rows.data + marker * config.width, config.width, to));
        if (!embedding.trains()) return base_->embedding.row(static_cast<std::size_t>(token), to);
        const float* from = embedding.data + offset_of(token);
        for (std::size_t i = 0; i < config.width; ++i) to[i] = from[i * simd::panel_outputs];
    }

    /// Adds to the gradient of the input embedding of a token.
    void embed_backward(TokenId token, const float* gradient, float* gradients) const noexcept {
        if (embedding.trains()) {
            float* to = gradients + embedding.gradient + offset_of(token);
            for (std::size_t i = 0; i < config.width; ++i) to[i * simd::panel_outputs] += gradient[i];
        } else if (const auto marker = marker_of(token); marker < markers.size()) {
            simd::add(gradients + marker_rows.gradient + marker * config.width, gradient, config.width);
        }
    }
    bool embeddings_train() const noexcept { return embedding.trains() || !markers.empty(); }

    TransformerConfig config;
    std::vector<double> frequencies;
    ParameterLayout layout;
    AlignedBuffer<float> parameters;
    std::vector<NetworkLayer> layers;
    Vector output_norm;
    Matrix embedding;  ///< only where it trains
    Matrix head;       ///< the embedding again where it is tied
    std::vector<TokenId> markers;
    Vector marker_rows;  ///< (markers, width)
    bool tied = false;

    /// What trains and is evaluated first: -1 the embedding, 2 l attention of layer l, 2 l + 1 its feed-forward half, 2 · layers
    /// the output. Backward goes no further.
    std::ptrdiff_t lowest = 0;
    std::size_t rank = 0;

    /// The frozen model; where all trains, only its shape and its special tokens.
    const std::shared_ptr<const Transformer>& base() const noexcept { return base_; }

    /// Of the copies of frozen matrices.
    std::size_t converted_bytes() const noexcept {
        std::size_t sum = 0;
        for (const simd::PackedMatrix& copy : converted_) sum += copy.bytes();
        return sum;
    }

private:
    void forget_weights() {
        auto rest = std::make_shared<Transformer>();
        rest->config = base_->config;
        rest->rotary_frequencies = base_->rotary_frequencies;
        rest->text_head = base_->text_head;
        rest->text_ends = base_->text_ends;
        base_ = std::move(rest);
    }

    std::size_t marker_of(TokenId token) const noexcept {
        return static_cast<std::size_t>(std::ranges::find(markers, token) - markers.begin());
    }
    std::size_t offset_of(TokenId token) const noexcept {
        const auto row = static_cast<std::size_t>(token);
        return row / simd::panel_outputs * embedding.panel_floats() + row % simd::panel_outputs;
    }

    void describe(const TrainingTargets& targets) {
        const auto matrix = [&](std::string name, const simd::PackedMatrix& w) {
            layout.add(std::move(name), w.outputs(), w.inputs(), Parameter::Order::panels, true);
        };
        const auto norm = [&](std::string name) {
            layout.add(std::move(name), 1, config.width, Parameter::Order::rows, false);
        };
        if (targets.all) matrix("token_embd.weight", base_->embedding);
        for (std::size_t l = 0; l < config.layers; ++l) {
            const std::string block = "blk." + std::to_string(l) + '.';
            if (targets.all) norm(block + "attn_norm.weight");
            for (const LinearModule m : linear_modules) {
                const simd::PackedMatrix& w = base_->layers[l][m];
                if (targets.all && m == LinearModule::gate) norm(block + "ffn_norm.weight");
                if (targets.all) matrix(name_of(l, m) + ".weight", w);
                if (!targets.lora.has(m)) continue;
                layout.add(name_of(l, m) + ".lora_a", targets.lora.rank, w.inputs(), Parameter::Order::panels, true);
                layout.add(name_of(l, m) + ".lora_b", w.outputs(), targets.lora.rank, Parameter::Order::panels, true);
            }
        }
        if (targets.all) norm("output_norm.weight");
        if (targets.all && base_->head) matrix("output.weight", *base_->head);
        if (!targets.markers.empty()) layout.add("markers", targets.markers.size(), config.width, Parameter::Order::rows, true);
    }

    /// A matrix as f32; one of another type is kept beside.
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

    Matrix trained_matrix(const std::string& name, const simd::PackedMatrix& w) {
        std::deque<simd::PackedMatrix> converted;
        const Matrix from = as_f32(w, converted);
        const Parameter& p = layout[name];
        std::copy_n(from.data, p.size(), parameters.data() + p.offset);
        return trained(p);
    }
    Matrix trained(const Parameter& p) const { return {parameters.data() + p.offset, p.outputs, p.inputs, p.offset}; }
    Vector trained_vector(const std::string& name, const std::vector<float>& from) {
        const Parameter& p = layout[name];
        std::copy(from.begin(), from.end(), parameters.data() + p.offset);
        return {parameters.data() + p.offset, p.offset};
    }

    void take_all() {
        embedding = trained_matrix("token_embd.weight", base_->embedding);
        for (std::size_t l = 0; l < config.layers; ++l) {
            const std::string block = "blk." + std::to_string(l) + '.';
            NetworkLayer& layer = layers.emplace_back();
            layer.attention_norm = trained_vector(block + "attn_norm.weight", base_->layers[l].attention_norm);
            layer.ffn_norm = trained_vector(block + "ffn_norm.weight", base_->layers[l].ffn_norm);
            for (const LinearModule m : linear_modules)
                layer[m].w = trained_matrix(name_of(l, m) + ".weight", base_->layers[l][m]);
        }
        output_norm = trained_vector("output_norm.weight", base_->output_norm);
        tied = !base_->head;
        head = tied ? embedding : trained_matrix("output.weight", *base_->head);
        forget_weights();
    }

    void take_frozen() {
        for (const TransformerLayer& from : base_->layers) {
            NetworkLayer& layer = layers.emplace_back();
            layer.attention_norm = {from.attention_norm.data(), frozen};
            layer.ffn_norm = {from.ffn_norm.data(), frozen};
            for (const LinearModule m : linear_modules) layer[m].w = as_f32(from[m], converted_);
        }
        output_norm = {base_->output_norm.data(), frozen};
        tied = !base_->head;
        head = as_f32(base_->output_matrix(), converted_);
    }

    /// A is uniform in ±1/sqrt(inputs), as PEFT's Kaiming initialisation with a = sqrt(5) is; B is 0, so that nothing changes at first.
    void take_lora(const LoraOptions& lora, std::uint64_t seed) {
        if (lora.modules.empty()) return;
        rank = lora.rank;
        SplitMix64 random{seed};
        for (std::size_t l = 0; l < config.layers; ++l) {
            for (const LinearModule m : linear_modules) {
                if (!lora.has(m)) continue;
                const Parameter& a = layout[name_of(l, m) + ".lora_a"];
                const double most = 1 / std::sqrt(static_cast<double>(a.inputs));
                for (std::size_t o = 0; o < a.outputs; ++o) {
                    for (std::size_t i = 0; i < a.inputs; ++i)
                        parameters[a.at(o, i)] = static_cast<float>((2 * random.uniform() - 1) * most);
                }
                layers[l][m].a = trained(a);
                layers[l][m].b = trained(layout[name_of(l, m) + ".lora_b"]);
                layers[l][m].scale = lora.scale();
            }
        }
    }

    void take_markers(const std::vector<TokenId>& ids) {
        if (ids.empty()) return;
        const Parameter& p = layout["markers"];
        for (std::size_t i = 0; i < ids.size(); ++i)
            base_->embedding.row(static_cast<std::size_t>(ids[i]), parameters.data() + p.offset + i * config.width);
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
            if (layer.ffn_norm.trains() || any(4, 7)) lowest = static_cast<std::ptrdiff_t>(2 * l + 1);
            if (layer.attention_norm.trains() || any(0, 4)) lowest = static_cast<std::ptrdiff_t>(2 * l);
        }
        if (embeddings_train()) lowest = -1;
    }

    std::shared_ptr<const Transformer> base_;
    std::deque<simd::PackedMatrix> converted_;
};

}  // namespace flashback::inline FLASHBACK_ISA::detail
