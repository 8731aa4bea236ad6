/// \file What the newest position of a session reads.
#pragma once

#include "flashback/core/attention.hpp"
#include "flashback/core/error.hpp"
#include "flashback/model/piece_place.hpp"
#include "flashback/model/session.hpp"
#include "flashback/simd/attention.hpp"
#include "flashback/simd/cache_element.hpp"
#include "flashback/simd/softmax.hpp"

#include <algorithm>
#include <cstddef>
#include <optional>

namespace flashback::inline FLASHBACK_ISA {

template <class Cache>
AttentionWeights BasicSession<Cache>::attention(std::size_t layer) {
    const TransformerConfig& c = model_->config;
    FLASHBACK_ASSERT(layer < c.layers, "attention was asked of layer ", layer, ", but the model has ", c.layers,
                     " layers, counted from 0");
    const std::optional<PiecePlace<Cache>> newest = cache_.newest();
    FLASHBACK_ASSERT(newest.has_value(), "what the newest of ", size(),
                     " positions reads is not known: nothing was evaluated since the session was made, restored, cut, let see "
                     "blocks or made to forget positions; evaluate a token first");
    std::size_t positions = size();
    for (const SeenPositions<Cache>& one : newest->seen) positions += one.cache == &cache_.text() ? 0 : one.positions;
    // Most who ask once ask after every token: there is room for all that fit.
    if (attention_.capacity() < c.heads * positions) attention_.reserve(c.heads * std::max(positions, window()));
    attention_.resize(c.heads * positions);
    options_.executor.run(c.heads, [&](std::size_t h) {
        const float* q = newest->last_query + (layer * c.heads + h) * c.head_dim;
        float* weights = attention_.data() + h * positions;
        const auto score = [&](const Cache& cache, std::size_t count, float* to) {
            const auto tile = [&](std::size_t t) { return cache.tile(layer, h / (c.heads / c.kv_heads), t); };
            simd::with_element(cache_element(),
                               [&](auto e) { simd::attention_scores<decltype(e)>(q, tile, c.head_dim, count, to); });
        };
        float* beside = weights + size();
        for (const SeenPositions<Cache>& one : newest->seen) {
            const bool is_text = one.cache == &cache_.text();
            score(*one.cache, one.positions, is_text ? weights : beside);
            if (!is_text) beside += one.positions;
        }
        const std::size_t own = newest->first_row + 1;
        score(*newest->cache, own, weights + (size() - own));
        simd::softmax(weights, positions, weights);
    });
    return {attention_, c.heads};
}

}  // namespace flashback::inline FLASHBACK_ISA
