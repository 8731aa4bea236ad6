/// \file Small models to train, and the same in double.
#pragma once

#include "flashback/train/trainer.hpp"
#include "support/in_double.hpp"
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
inline DoubleTransformer in_double(const flashback::Transformer& model, flashback::Trainer& trainer) {
    DoubleTransformer out = in_double(model);
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
