/// \file Small models to train, and the same in double.
#pragma once

#include "flashback/train/trainer.hpp"
#include "support/double_llama.hpp"
#include "support/random_model.hpp"

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

namespace flashback_test::inline FLASHBACK_ISA {

/// Sides that are no multiples of 16, heads of 6 of which 4 elements are rotated, three queries to a head of keys.
inline RandomModel odd_shape(bool tied) {
    return {.layers = 2,
            .width = 20,
            .heads = 6,
            .kv_heads = 2,
            .head_dim = 6,
            .hidden = 27,
            .vocab = 37,
            .window = 100,
            .tied = tied};
}

inline std::shared_ptr<const flashback::Transformer> odd_model(bool tied) {
    auto model = std::const_pointer_cast<flashback::Transformer>(random_model(odd_shape(tied)));
    model->config.rotary_dim = 4;
    model->rotary_frequencies = {1.0, std::pow(model->config.rotary_base, -0.5)};
    return model;
}

/// Random tokens, all of which but the first `skipped` are targets unless they are cut.
inline flashback::TrainingExample random_example(std::size_t tokens, std::size_t vocab, std::uint64_t seed,
                                                 std::size_t skipped = 1, const std::vector<flashback::TokenId>& cut = {}) {
    flashback::SplitMix64 random{seed};
    flashback::TrainingExample example{random_tokens(random, tokens, vocab), {}};
    for (std::size_t t = skipped; t < tokens; ++t) {
        if (std::ranges::find(cut, example.tokens[t]) == cut.end()) example.targets.push_back(static_cast<std::uint32_t>(t));
    }
    return example;
}

/// The frozen model in double, then what a trainer trains on top of it.
inline DoubleLlama in_double(const flashback::Transformer& m, flashback::Trainer& trainer) {
    DoubleLlama out;
    const flashback::TransformerConfig& c = m.config;
    out.layers = c.layers;
    out.width = c.width;
    out.heads = c.heads;
    out.kv_heads = c.kv_heads;
    out.head_dim = c.head_dim;
    out.rotary_dim = c.rotary_dim;
    out.epsilon = static_cast<double>(c.norm_epsilon);
    out.rotary_base = c.rotary_base;
    const auto matrix = [&](const std::string& name, const flashback::simd::PackedMatrix& w) {
        std::vector<float> row(w.inputs());
        std::vector<double>& values = out.tensors[name + ".weight"];
        for (std::size_t o = 0; o < w.outputs(); ++o) {
            w.row(o, row.data());
            values.insert(values.end(), row.begin(), row.end());
        }
    };
    const auto vector = [&](const std::string& name, const std::vector<float>& v) {
        out.tensors[name + ".weight"].assign(v.begin(), v.end());
    };
    matrix("token_embd", m.embedding);
    for (std::size_t l = 0; l < c.layers; ++l) {
        const std::string block = "blk." + std::to_string(l) + '.';
        const flashback::TransformerLayer& layer = m.layers[l];
        vector(block + "attn_norm", layer.attention_norm);
        matrix(block + "attn_q", layer.q);
        matrix(block + "attn_k", layer.k);
        matrix(block + "attn_v", layer.v);
        matrix(block + "attn_output", layer.output);
        vector(block + "ffn_norm", layer.ffn_norm);
        matrix(block + "ffn_gate", layer.gate);
        matrix(block + "ffn_up", layer.up);
        matrix(block + "ffn_down", layer.down);
    }
    vector("output_norm", m.output_norm);
    if (m.head) matrix("output", *m.head);
    for (const flashback::Parameter& p : trainer.layout()) {
        const std::vector<float> values = p.read(trainer.state().parameters.data());
        out.tensors[p.name].assign(values.begin(), values.end());
    }
    return out;
}

/// Random numbers for B of a LoRA and the like, which begin as zeros and would hide mistakes.
inline void disturb(flashback::Trainer& trainer, std::uint64_t seed = 9) {
    flashback::SplitMix64 random{seed};
    for (const flashback::Parameter& p : trainer.layout()) {
        for (std::size_t o = 0; o < p.outputs; ++o) {
            for (std::size_t i = 0; i < p.inputs; ++i)
                trainer.state().parameters[p.at(o, i)] += static_cast<float>(0.2 * (random.uniform() - 0.5));
        }
    }
}

inline bool same_bits(std::span<const float> a, std::span<const float> b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

}  // namespace flashback_test::inline FLASHBACK_ISA
