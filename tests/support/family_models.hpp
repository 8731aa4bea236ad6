/// \file A small random model of every family.
#pragma once

#include "support/random_model.hpp"

#include <cstddef>
#include <string>
#include <vector>

namespace flashback_test::inline FLASHBACK_ISA {

struct FamilyModel {
    std::string name;
    RandomModel shape;
};

/// Sides that are no multiples of 64. A type other than f32 needs rows of whole blocks: all are multiples of 32.
inline std::vector<FamilyModel> family_models(flashback::DType type = flashback::DType::f32) {
    using flashback::Family;
    const std::vector<float> llama3 = flashback::llama3_rotary_factors(10000, 16, {8, 1, 4, 200});
    const auto with_heads = [&](Family family, std::size_t kv_heads) {
        return RandomModel{.width = 96,
                           .heads = 6,
                           .kv_heads = kv_heads,
                           .head_dim = 16,
                           .hidden = 160,
                           .vocab = 101,
                           .window = 200,
                           .type = type,
                           .family = family};
    };
    std::vector<FamilyModel> models{{"llama", with_heads(Family::llama, 6)},
                                    {"llama 3", with_heads(Family::llama, 2)},
                                    {"llama, linear", with_heads(Family::llama, 3)},
                                    {"mistral", with_heads(Family::mistral, 2)},
                                    {"qwen2", with_heads(Family::qwen2, 2)},
                                    {"gpt2", with_heads(Family::gpt2, 6)},
                                    {"opt", with_heads(Family::opt, 6)},
                                    {"opt-350m", with_heads(Family::opt, 6)}};
    models[1].shape.rotary_factors = llama3;
    models[2].shape.rotary_linear = 4;
    models[4].shape.tied = true;
    models[5].shape.tied = true;
    models[6].shape.tied = true;
    models[7].shape.tied = true;
    models[7].shape.post_norm = true;
    models[7].shape.embedding_width = 64;
    // Two choices that no family makes together, and heads that are narrower than the stream.
    models.push_back({"gpt2, untied", with_heads(Family::gpt2, 3)});
    models.push_back({"qwen2, wide heads",
                      {.width = 64,
                       .heads = 4,
                       .kv_heads = 1,
                       .head_dim = 32,
                       .hidden = 96,
                       .vocab = 50,
                       .window = 200,
                       .type = type,
                       .family = Family::qwen2}});
    models.push_back({"opt, projected to a narrower stream", with_heads(Family::opt, 2)});
    models.back().shape.embedding_width = 128;
    return models;
}

}  // namespace flashback_test::inline FLASHBACK_ISA
