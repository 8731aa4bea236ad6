/// \file An adapter in memory: what LoRA adds to linear layers, and input embedding rows that replace those of the model.
#pragma once

#include "flashback/core/tokens.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// The linear layers of a block, in the order of a forward pass.
enum class LinearModule : std::uint8_t { q, k, v, output, gate, up, down };

inline constexpr std::array<LinearModule, 7> linear_modules{LinearModule::q,      LinearModule::k,    LinearModule::v,
                                                            LinearModule::output, LinearModule::gate, LinearModule::up,
                                                            LinearModule::down};

/// The short name of a linear layer: "q", "k", "v", "o", "gate", "up" or "down".
constexpr std::string_view to_string(LinearModule module) noexcept {
    constexpr std::array<std::string_view, 7> names{"q", "k", "v", "o", "gate", "up", "down"};
    return names[static_cast<std::size_t>(module)];
}

/// What is added to one linear layer: y = W x + scale · B A x. There is nothing where the rank is 0.
/// Source    Hu et al. 2021, LoRA, equation 3
struct LoraPair {
    std::size_t rank = 0;
    float scale = 0;       ///< alpha / rank, or alpha / sqrt(rank) where the adapter is rank-stabilised
    std::vector<float> a;  ///< (rank, inputs) row-major
    std::vector<float> b;  ///< (outputs, rank) row-major
};

/// The pairs of one block, by LinearModule.
struct AdapterLayer {
    std::array<LoraPair, linear_modules.size()> pairs;

    LoraPair& operator[](LinearModule module) noexcept { return pairs[static_cast<std::size_t>(module)]; }
    const LoraPair& operator[](LinearModule module) const noexcept { return pairs[static_cast<std::size_t>(module)]; }
};

/// An adapter: changes a model without touching its weights. Replacement rows act on the input side only; an output head that is
/// tied to the embedding keeps the rows of the model.
struct Adapter {
    std::vector<AdapterLayer> layers;    ///< as many as the model has, or none
    std::vector<TokenId> embedding_ids;  ///< tokens whose input embedding is replaced
    std::vector<float> embedding_rows;   ///< (embedding_ids.size(), width) row-major: the rows themselves, no differences
};

}  // namespace flashback::inline FLASHBACK_ISA
