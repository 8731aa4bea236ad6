/// \file The half of a block that does attention.
#pragma once

#include "flashback/core/executor.hpp"
#include "flashback/kv/kv_cache.hpp"
#include "flashback/model/detail/attend_all.hpp"
#include "flashback/model/detail/block_parts.hpp"
#include "flashback/model/observer.hpp"
#include "flashback/model/piece_place.hpp"
#include "flashback/simd/elementwise.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

/// Queries, keys and values of all rows, as one range of panels: threads fork and join once for three products.
inline void project_qkv(const Piece& piece, std::size_t number, const float* from) {
    const TransformerLayer& layer = piece.model.layers[number];
    const std::size_t rows = piece.rows;
    Workspace& work = piece.work;
    struct Part {
        const simd::PackedMatrix& w;
        const std::vector<float>& bias;
        RunLora lora;
        float* y;
        std::size_t stride, start;
    };
    const std::size_t q = layer.q.panels();
    const std::size_t k = layer.k.panels();
    const Part parts[]{
        {layer.q, layer.bias(LinearModule::q), lora_of(piece, number, LinearModule::q, 0), work.queries.data(), work.q_stride,
         0},
        {layer.k, layer.bias(LinearModule::k), lora_of(piece, number, LinearModule::k, 1), work.keys.data(), work.kv_stride, q},
        {layer.v, layer.bias(LinearModule::v), lora_of(piece, number, LinearModule::v, 2), work.values.data(), work.kv_stride,
         q + k}};
    const simd::Activations x = work.converted.view(from, work.stream_stride);
    run_down(piece.executor, x.x, x.x_stride, rows, parts[0].lora, parts[1].lora, parts[2].lora);
    CutProduct product = whole_product(layer.q, rows);
    product.panels = q + k + layer.v.panels();
    run_product(piece.executor, product, [&](const ProductPart& range) {
        for (const Part& part : parts) {
            const std::size_t begin = std::max(range.first, part.start);
            const std::size_t end = std::min(range.last, part.start + part.w.panels());
            if (begin >= end) continue;
            multiply_part(part.w, {begin - part.start, end - part.start, range.first_row, range.last_row}, x, part.lora,
                          part.bias, {part.y, part.stride});
        }
    });
}

/// Angles depend on the absolute position alone: computed in double, rounded once (rule R5).
inline void rotary_angles(const Piece& piece) {
    const std::vector<double>& frequencies = piece.model.rotary_frequencies;
    const std::size_t pairs = frequencies.size();
    if (pairs == 0) return;
    Workspace& work = piece.work;
    constexpr std::size_t elements_of_an_angle = 64;  // sine and cosine in double take as long
    run_rows(piece.executor, piece.rows, pairs * elements_of_an_angle, [&](std::size_t r) {
        for (std::size_t i = 0; i < pairs; ++i) {
            const double angle = static_cast<double>(work.positions[r]) * frequencies[i];
            work.cosine[r * pairs + i] = static_cast<float>(std::cos(angle));
            work.sine[r * pairs + i] = static_cast<float>(std::sin(angle));
        }
    });
}

/// Rotates queries and keys, scales queries by 1/sqrt(head_dim), and writes keys and values to the caches (rule R6). The query of the
/// last row of each place is kept if somebody may ask later what it read: a copy of a row in each layer, which no measurement shows.
template <KVCache Cache>
void rotate_and_store(const Piece& piece, std::size_t layer, PiecePlaces<Cache> places) {
    const TransformerConfig& c = piece.model.config;
    Workspace& work = piece.work;
    const std::size_t pairs = piece.model.rotary_frequencies.size();
    const float scale = 1.0f / std::sqrt(static_cast<float>(c.head_dim));
    const auto rotate_and_store_row = [&](std::size_t r, const PiecePlace<Cache>& place, std::size_t row) {
        const float* cosine = work.cosine.data() + r * pairs;
        const float* sine = work.sine.data() + r * pairs;
        float* q = work.queries.data() + r * work.q_stride;
        float* k = work.keys.data() + r * work.kv_stride;
        const float* v = work.values.data() + r * work.kv_stride;
        for (std::size_t h = 0; h < c.heads; ++h) simd::rotate_pairs(q + h * c.head_dim, cosine, sine, pairs);
        simd::scale(q, scale, c.heads * c.head_dim);
        if (place.last_query != nullptr && row + 1 == place.rows)
            std::copy_n(q, c.heads * c.head_dim, place.last_query + layer * c.heads * c.head_dim);
        for (std::size_t h = 0; h < c.kv_heads; ++h) {
            simd::rotate_pairs(k + h * c.head_dim, cosine, sine, pairs);
            place.cache->write(layer, h, place.first_row + row, k + h * c.head_dim, v + h * c.head_dim);
        }
    };
    run_rows(piece.executor, piece.rows, c.heads * c.head_dim, [&](std::size_t r) {
        std::size_t row = r;
        const PiecePlace<Cache>* place = places.data();
        for (; row >= place->rows; ++place) row -= place->rows;
        rotate_and_store_row(r, *place, row);
    });
}

/// x += attention(x).
template <KVCache Cache, class Observer>
void attention_half(const Piece& piece, std::size_t number, PiecePlaces<Cache> places, const Observer& observer) {
    const auto see = [&](Stage stage, const float* values, std::size_t stride, std::size_t count) {
        show(observer, stage, number, {piece.rows, values, stride, 0, count});
    };
    const TransformerConfig& c = piece.model.config;
    const TransformerLayer& layer = piece.model.layers[number];
    Workspace& work = piece.work;
    const float* x = read_stream(piece, layer.attention_norm, layer.attention_norm_bias, {&layer.q, &layer.k, &layer.v});
    if (!c.post_norm) see(Stage::attention_norm, x, work.stream_stride, c.width);
    project_qkv(piece, number, x);
    see(Stage::query, work.queries.data(), work.q_stride, c.outputs(LinearModule::q));
    see(Stage::key, work.keys.data(), work.kv_stride, c.outputs(LinearModule::k));
    see(Stage::value, work.values.data(), work.kv_stride, c.outputs(LinearModule::v));
    rotate_and_store(piece, number, places);
    attend_all(piece, number, places);
    see(Stage::attended, work.attended.data(), work.q_stride, c.outputs(LinearModule::q));
    project_to_stream(piece, number, LinearModule::output, work.converted.view(work.attended.data(), work.q_stride));
    see(Stage::attention_output, work.added.data(), work.stream_stride, c.width);
    norm_stream(piece, layer.attention_norm, layer.attention_norm_bias);
    see(Stage::attention_stream, work.stream.data(), work.stream_stride, c.width);
}

}  // namespace flashback::inline FLASHBACK_ISA::detail
