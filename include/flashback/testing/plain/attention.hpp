/// \file Attention of one query head at one position, as plain loops over key tiles of 64 positions (rule R7).
#pragma once

#include "flashback/simd/cache_element.hpp"
#include "flashback/simd/fma.hpp"
#include "flashback/tensor/kv_tile.hpp"
#include "flashback/testing/plain/exp.hpp"
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

/// Goes over one tile: updates the sums, and out = sum of e^(score - most) · value.
/// Shape     q (d), scaled by 1/sqrt(d) already   keys (4, d, 16): groups of 16 positions, dimension-major
///           values (64, d)   out (d)
/// Requires  0 < count <= 64: the positions of the tile that the query may see; the others are not used in any way
/// Source    Milakov and Gimelshein 2018, Online normalizer calculation for softmax, algorithm 3
template <class Element>
inline void attend_tile(const float* q, const KVTile& tile, std::size_t d, std::size_t count, AttentionState& state,
                        float* out) noexcept {
    const auto* keys = reinterpret_cast<const Element*>(tile.keys);
    const auto* values = reinterpret_cast<const Element*>(tile.values);
    // What a score, and what a weight, is multiplied by.
    const auto step = [&](const Element* elements, std::size_t t) {
        if constexpr (std::same_as<Element, simd::Int8>)
            return reinterpret_cast<const float*>(elements + tile_positions * d)[t];
        return 1.0f;
    };
    float score[tile_positions];
    float part[key_group];
    for (float& p : part) p = -std::numeric_limits<float>::infinity();
    const std::size_t groups = (count + key_group - 1) / key_group;
    for (std::size_t g = 0; g < groups; ++g) {
        float sum[key_group] = {};
        const Element* group = keys + g * d * key_group;
        for (std::size_t i = 0; i < d; ++i) {
            for (std::size_t j = 0; j < key_group; ++j)
                sum[j] = simd::fma(simd::to_float(group[i * key_group + j]), q[i], sum[j]);
        }
        for (std::size_t j = 0; j < key_group; ++j) {
            const bool visible = g * key_group + j < count;
            score[g * key_group + j] =
                visible ? simd::rounded(sum[j] * step(keys, g * key_group + j)) : -std::numeric_limits<float>::infinity();
            part[j] = std::max(part[j], score[g * key_group + j]);
        }
    }
    const float most = std::max(state.most, *std::max_element(part, part + key_group));
    for (float& p : part) p = 0;
    for (std::size_t g = 0; g < groups; ++g) {
        for (std::size_t j = 0; j < key_group; ++j) {
            float& s = score[g * key_group + j];
            s = exp(s - most);  // 0 for positions that are not visible, which leaves the sum as it is
            part[j] += s;
        }
    }
    const float scale = exp(state.most - most);
    state.total = simd::fma(state.total, scale, tree_sum(part));
    state.most = most;
    for (std::size_t i = 0; i < d; ++i) out[i] *= scale;
    for (std::size_t t = 0; t < count; ++t) {
        const float weight = simd::rounded(score[t] * step(values, t));
        for (std::size_t i = 0; i < d; ++i) out[i] = simd::fma(weight, simd::to_float(values[t * d + i]), out[i]);
    }
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
