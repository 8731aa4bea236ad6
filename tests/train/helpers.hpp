/// \file Small models to train, and the same in double.
#pragma once

#include "flashback/model/session.hpp"
#include "flashback/train/trainer.hpp"
#include "support/in_double.hpp"
#include "support/random_model.hpp"

#include <cmath>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <utility>
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

struct OddFamily {
    std::string name;
    RandomModel shape;
};

/// A model of every kind, with the same odd sides.
inline std::vector<OddFamily> odd_families() {
    using flashback::Family;
    std::vector<OddFamily> models;
    for (const auto& [name, family] : std::vector<std::pair<const char*, Family>>{{"llama 3", Family::llama},
                                                                                  {"qwen2", Family::qwen2},
                                                                                  {"gpt2", Family::gpt2},
                                                                                  {"opt", Family::opt},
                                                                                  {"opt-350m", Family::opt},
                                                                                  {"opt-350m, wide rows", Family::opt}}) {
        models.push_back({name, odd_shape(true)});
        models.back().shape.family = family;
    }
    models[0].shape.rotary_factors = {1, 1.5f, 4};
    models[2].shape.tied = false;
    models[4].shape.post_norm = true;
    models[4].shape.embedding_width = 13;
    models[5].shape.post_norm = true;
    models[5].shape.embedding_width = 33;
    models[5].shape.tied = false;
    return models;
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

/// The loss that a session's logits have.
inline double loss_of(flashback::Session& session, const flashback::TrainingExample& e) {
    session.truncate(0);
    const std::span<const float> logits = session.evaluate_all(e.tokens);
    double sum = 0;
    for (const std::uint32_t target : e.targets) {
        const auto row = logits.subspan((target - 1) * session.vocab_size(), session.vocab_size());
        double total = 0;
        for (const float logit : row) total += std::exp(static_cast<double>(logit));
        sum += std::log(total) - static_cast<double>(row[static_cast<std::size_t>(e.tokens[target])]);
    }
    return sum;
}

inline bool same_bits(std::span<const float> a, std::span<const float> b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

/// What a run of training came to.
struct Trained {
    std::vector<float> parameters, first_moments, second_moments;
    std::vector<double> losses;

    void take(const flashback::TrainerState& state) {
        parameters.assign(state.parameters.begin(), state.parameters.end());
        first_moments.assign(state.first_moments.begin(), state.first_moments.end());
        second_moments.assign(state.second_moments.begin(), state.second_moments.end());
    }
    bool operator==(const Trained& other) const {
        return same_bits(parameters, other.parameters) && same_bits(first_moments, other.first_moments) &&
               same_bits(second_moments, other.second_moments) && losses == other.losses;
    }
};

}  // namespace flashback_test::inline FLASHBACK_ISA
