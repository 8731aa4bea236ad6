/// \file Attention of one query head at one position, as plain loops over key tiles of 64 positions (rule R7).
#pragma once

#include "flashback/simd/cache_element.hpp"
#include "flashback/simd/fma.hpp"
#include "flashback/tensor/kv_tile.hpp"
#include "flashback/testing/plain/exp.hpp"
#include "flashback/testing/plain/matmul.hpp"
#include "flashback/testing/plain/rows.hpp"

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <limits>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::testing::plain {

/// The sums of an attention on its way over the tiles.
struct AttentionState {
    float most = -std::numeric_limits<float>::infinity();  ///< the greatest score so far
    float total = 0;                                       ///< sum of e^(score - most)
};

/// Whether attention to keys and values of a type has the arithmetic of Intel's tiles.
#if defined(FLASHBACK_SIMD_AMX)
template <class Element>
inline constexpr bool attends_in_tiles = std::same_as<Element, simd::BFloat16>;
#else
template <class Element>
inline constexpr bool attends_in_tiles = false;
#endif

/// The score of a query and the key at position t of a tile: one chain of multiply-adds, or the product of tiles.
/// Shape     q (d), scaled by 1/sqrt(d) already   keys (4, d, 16): groups of 16 positions, dimension-major
template <class Element>
inline float attention_score(const float* q, const Element* keys, std::size_t d, std::size_t t) noexcept {
    const Element* const key = keys + t / key_group * d * key_group + t % key_group;
#if defined(FLASHBACK_SIMD_AMX)
    if constexpr (attends_in_tiles<Element>) {
        float sum = 0;
        for (std::size_t first = 0; first < d; first += 32) {
            const std::size_t count = std::min<std::size_t>(32, d - first);
            float some[32];
            for (std::size_t i = 0; i < count; ++i) some[i] = simd::to_float(key[(first + i) * key_group]);
            sum = add_tile_step(some, q + first, count, sum);
        }
        return sum;
    }
#endif
    float sum = 0;
    for (std::size_t i = 0; i < d; ++i) sum = simd::fma(simd::to_float(key[i * key_group]), q[i], sum);
    if constexpr (std::same_as<Element, simd::Int8>)
        sum = simd::rounded(sum * reinterpret_cast<const float*>(keys + tile_positions * d)[t]);
    return sum;
}

/// out += weight · value for the first `count` positions of a tile, ascending, or as tiles add them.
/// Shape     weight (count)   values (64, d)   out (d)
template <class Element>
inline void add_values(const float* weight, const Element* values, std::size_t d, std::size_t count, float* out) noexcept {
#if defined(FLASHBACK_SIMD_AMX)
    if constexpr (attends_in_tiles<Element>) {
        for (std::size_t first = 0; first < count; first += 32) {
            const std::size_t some = std::min<std::size_t>(32, count - first);
            for (std::size_t i = 0; i < d; ++i) {
                float value[32];
                for (std::size_t t = 0; t < some; ++t) value[t] = simd::to_float(values[(first + t) * d + i]);
                out[i] = add_tile_step(value, weight + first, some, out[i]);
            }
        }
        return;
    }
#endif
    for (std::size_t t = 0; t < count; ++t) {
        float w = weight[t];
        if constexpr (std::same_as<Element, simd::Int8>)
            w = simd::rounded(w * reinterpret_cast<const float*>(values + tile_positions * d)[t]);
        for (std::size_t i = 0; i < d; ++i) out[i] = simd::fma(w, simd::to_float(values[t * d + i]), out[i]);
    }
}

/// Goes over one tile: updates the sums, and out = sum of e^(score - most) · value. In tiles the weights are rounded to bfloat16.
/// Shape     q (d), scaled by 1/sqrt(d) already   keys (4, d, 16): groups of 16 positions, dimension-major
///           values (64, d)   out (d)
/// Requires  0 < count <= 64: the positions of the tile that the query may see; the others are not used in any way
/// Source    Milakov and Gimelshein 2018, Online normalizer calculation for softmax, algorithm 3
template <class Element>
inline void attend_tile(const float* q, const KVTile& tile, std::size_t d, std::size_t count, AttentionState& state,
                        float* out) noexcept {
    const auto* keys = reinterpret_cast<const Element*>(tile.keys);
    const auto* values = reinterpret_cast<const Element*>(tile.values);
    float score[tile_positions];
    float part[key_group];
    for (float& p : part) p = -std::numeric_limits<float>::infinity();
    const std::size_t groups = (count + key_group - 1) / key_group;
    for (std::size_t t = 0; t < groups * key_group; ++t) {
        score[t] = t < count ? attention_score(q, keys, d, t) : -std::numeric_limits<float>::infinity();
        part[t % key_group] = std::max(part[t % key_group], score[t]);
    }
    const float most = std::max(state.most, *std::max_element(part, part + key_group));
    for (float& p : part) p = 0;
    for (std::size_t t = 0; t < groups * key_group; ++t) {
        score[t] = exp(score[t] - most);  // 0 for positions that are not visible, which leaves the sum as it is
        // The weights that are summed are those that are multiplied: so the weights of all positions add to 1.
        if constexpr (attends_in_tiles<Element>) score[t] = bf16_to_float(float_to_bf16(score[t]));
        part[t % key_group] += score[t];
    }
    const float scale = exp(state.most - most);
    state.total = simd::fma(state.total, scale, tree_sum(part));
    state.most = most;
    for (std::size_t i = 0; i < d; ++i) out[i] *= scale;
    add_values(score, values, d, count, out);
}

/// Adds the sums of the next part: those of each part are taken relative to its own greatest score.
/// Shape     part, out (d)
inline void add_part(const AttentionState& part, const float* part_out, std::size_t d, AttentionState& state,
                     float* out) noexcept {
    const float most = std::max(state.most, part.most);
    const float before = exp(state.most - most);
    const float now = exp(part.most - most);
    for (std::size_t i = 0; i < d; ++i) out[i] = simd::fma(out[i], before, simd::rounded(part_out[i] * now));
    state.total = simd::fma(state.total, before, simd::rounded(part.total * now));
    state.most = most;
}

/// One query head at one position attends to some other spans of positions, to all of each, and then to the positions of its own span
/// up to its own: out = softmax(q Kᵀ) V. At each multiple of 512 positions within a span it begins anew and adds what it had (rule R7).
/// Shape     q, out (d)   `tile(t)` gives the keys and values of the positions [64 t, 64 t + 64)
///           `others(visit)` calls `visit(tile, positions)` for each other span, in order
/// Requires  q is scaled by 1/sqrt(d) already
/// Cost      2 · d multiply-adds for each position that it sees
/// Source    Vaswani et al. 2017, Attention is all you need, equation 1
template <class Element, class Tiles, class Others>
inline void attend(const float* q, const Tiles& tile, std::size_t d, std::size_t position, float* out, const Others& others) {
    AttentionState state;
    AttentionState part;
    std::vector<float> part_out(d);
    bool is_first = true;
    const auto end_part = [&] {
        if (is_first) {
            state = part;
            std::copy_n(part_out.data(), d, out);
        } else {
            add_part(part, part_out.data(), d, state, out);
        }
        is_first = false;
        part = {};
        std::fill_n(part_out.data(), d, 0.0f);
    };
    const auto see = [&](const auto& tiles, std::size_t positions) {
        for (std::size_t t = 0; t * tile_positions < positions; ++t) {
            if (t > 0 && t % 8 == 0) end_part();
            attend_tile<Element>(q, tiles(t), d, std::min(tile_positions, positions - t * tile_positions), part,
                                 part_out.data());
        }
    };
    others(see);
    see(tile, position + 1);
    end_part();
    for (std::size_t i = 0; i < d; ++i) out[i] = out[i] / state.total;
}

/// The same without other spans.
template <class Element, class Tiles>
inline void attend(const float* q, const Tiles& tile, std::size_t d, std::size_t position, float* out) {
    attend<Element>(q, tile, d, position, out, [](const auto& /*visit*/) {});
}

}  // namespace flashback::inline FLASHBACK_ISA::testing::plain
