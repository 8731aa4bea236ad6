/// \file What trains: a LoRA, some embedding rows, or every parameter.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/model/adapter.hpp"
#include "flashback/model/transformer.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// A LoRA on some linear layers of every block.
/// Source    Hu et al. 2021, LoRA; Kalajdzievski 2023, A rank stabilization scaling factor for fine-tuning with LoRA
struct LoraOptions {
    std::vector<LinearModule> modules = {};  ///< none: no LoRA; the official FlashBack has q and v
    std::size_t rank = 16;                   ///< rows of A
    float alpha = 32;                        ///< the scale is alpha / rank, or as below
    float dropout = 0.05f;                   ///< for what enters A; rounded to a multiple of 2^-16
    bool rank_stabilised = false;            ///< scale = alpha / sqrt(rank)

    /// What the product is multiplied by.
    float scale() const noexcept {
        const auto r = static_cast<float>(rank);
        return rank_stabilised ? alpha / std::sqrt(r) : alpha / r;
    }
    /// Whether a linear layer has one.
    bool has(LinearModule module) const noexcept { return std::ranges::find(modules, module) != modules.end(); }
};

/// What trains. Everything else is frozen and needs no gradient of its own.
struct TrainingTargets {
    LoraOptions lora = {};              ///< its layers and numbers
    std::vector<TokenId> markers = {};  ///< exactly these rows of the input embedding; a tied head keeps the model's rows
    bool all = false;                   ///< every parameter of the model, instead of the two above

    /// Throws    Error{contract} if nothing trains, for `all` together with something else, for impossible modules, ids, ranks
    ///           or dropouts
    void check(const TransformerConfig& c) const {
        FLASHBACK_ASSERT(all || !lora.modules.empty() || !markers.empty(),
                         "nothing trains: expected modules of a LoRA, markers, or all parameters");
        FLASHBACK_ASSERT(!all || (lora.modules.empty() && markers.empty()),
                         "all parameters train, and a LoRA or markers besides: expected one or the other");
        for (const LinearModule m : lora.modules) {
            FLASHBACK_ASSERT(c.has(m), "a LoRA on ", to_string(m), ", a layer that the blocks of this model do not have");
        }
        if (!lora.modules.empty()) {
            FLASHBACK_ASSERT(lora.rank > 0, "a LoRA of rank 0, expected at least 1");
            FLASHBACK_ASSERT(lora.dropout >= 0 && lora.dropout < 1, "a LoRA with a dropout of ", lora.dropout,
                             ", expected a number from 0 to below 1");
            FLASHBACK_ASSERT(std::isfinite(lora.alpha), "a LoRA with an alpha of ", lora.alpha, ", expected a number");
        }
        for (std::size_t i = 0; i < markers.size(); ++i) {
            const TokenId id = markers[i];
            FLASHBACK_ASSERT(id >= 0 && static_cast<std::size_t>(id) < c.vocab, "the marker ", id,
                             " is no row of an embedding of ", c.vocab, " rows");
            FLASHBACK_ASSERT(std::find(markers.begin(), markers.begin() + static_cast<std::ptrdiff_t>(i), id) ==
                                 markers.begin() + static_cast<std::ptrdiff_t>(i),
                             "the marker ", id, " is named twice");
        }
    }
};

}  // namespace flashback::inline FLASHBACK_ISA
