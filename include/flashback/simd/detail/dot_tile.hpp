/// \file The inner loops of dot_rows: a tile of rows and queries with its partial sums in registers.
#pragma once

#include "flashback/simd/cache_element.hpp"
#include "flashback/simd/detail/half_lanes.hpp"
#include "flashback/simd/detail/lanes.hpp"
#include "flashback/simd/detail/reduce.hpp"

#include <algorithm>
#include <cstddef>

namespace flashback::inline FLASHBACK_ISA::simd::detail {

/// What dot_rows multiplies; dot_rows.hpp explains it.
template <class Element>
struct DotOperands {
    const Element* rows;
    std::size_t row_stride, row_count;
    const float* queries;
    std::size_t query_stride, query_count;
    float* out;
    std::size_t out_stride;
};

// Rows and queries of a tile: their partial sums, and what is multiplied next, fit into the registers.
#if FLASHBACK_SIMD_FLOATS == 16
inline constexpr std::size_t dot_tile_rows = 4;
inline constexpr std::size_t dot_tile_queries = 4;
#elif FLASHBACK_SIMD_FLOATS == 8
inline constexpr std::size_t dot_tile_rows = 2;
inline constexpr std::size_t dot_tile_queries = 2;
#else
inline constexpr std::size_t dot_tile_rows = 2;
inline constexpr std::size_t dot_tile_queries = 1;
#endif
/// Rows that one query meets before the next one comes, if there are several: they stay in the nearest cache.
inline constexpr std::size_t dot_block_bytes = 16384;
/// Products whose partial sums are added up together.
inline constexpr std::size_t dot_sums = panel_outputs;

/// The sums of 16 times 16 partial sums, each by the tree of tree_sum.
/// Shape     part (16)   to (16)
inline void tree_sums(const Lanes* part, float* to) noexcept {
#if FLASHBACK_SIMD_FLOATS == 16
    // Each step adds the upper halves of what is left to the lower ones, and puts two registers into one.
    __m512 x[16];
    for (std::size_t i = 0; i < 16; ++i) x[i] = part[i].part[0];
#pragma GCC unroll 8
    for (std::size_t i = 0; i < 8; ++i)
        x[i] = _mm512_add_ps(_mm512_shuffle_f32x4(x[2 * i], x[2 * i + 1], 0x44),
                             _mm512_shuffle_f32x4(x[2 * i], x[2 * i + 1], 0xee));
#pragma GCC unroll 4
    for (std::size_t i = 0; i < 4; ++i)
        x[i] = _mm512_add_ps(_mm512_shuffle_f32x4(x[2 * i], x[2 * i + 1], 0x88),
                             _mm512_shuffle_f32x4(x[2 * i], x[2 * i + 1], 0xdd));
#pragma GCC unroll 2
    for (std::size_t i = 0; i < 2; ++i) {
        const __m512d low = _mm512_castps_pd(x[2 * i]);
        const __m512d high = _mm512_castps_pd(x[2 * i + 1]);
        x[i] = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(low, high)), _mm512_castpd_ps(_mm512_unpackhi_pd(low, high)));
    }
    float sums[16];
    _mm512_storeu_ps(sums, _mm512_add_ps(_mm512_shuffle_ps(x[0], x[1], 0x88), _mm512_shuffle_ps(x[0], x[1], 0xdd)));
    // A quarter of the register has the sums of part[q], part[4 + q], part[8 + q], part[12 + q].
    for (std::size_t i = 0; i < 16; ++i) to[i] = sums[i % 4 * 4 + i / 4];
#else
    for (std::size_t i = 0; i < dot_sums; ++i) to[i] = tree_sum(part[i]);
#endif
}

/// Partial sums of `Rows` rows with `Queries` queries.
/// Shape     row (Rows), query (Queries): where they begin   sum (Rows, Queries)
template <std::size_t Rows, std::size_t Queries, class Element>
FLASHBACK_SIMD_INLINE void dot_tile(const Element* const* row, const float* const* query, std::size_t n, Lanes* to) noexcept {
    Lanes sum[Rows][Queries];
#pragma GCC unroll 16
    for (std::size_t r = 0; r < Rows; ++r) {
#pragma GCC unroll 16
        for (std::size_t q = 0; q < Queries; ++q) sum[r][q] = Lanes::all(0.0f);
    }
    for (std::size_t i = 0; i < n; i += panel_outputs) {
        Lanes y[Queries];
#pragma GCC unroll 16
        for (std::size_t q = 0; q < Queries; ++q) y[q] = Lanes::load(query[q] + i);
#pragma GCC unroll 16
        for (std::size_t r = 0; r < Rows; ++r) {
            const Lanes x = load_lanes(row[r] + i);
#pragma GCC unroll 16
            for (std::size_t q = 0; q < Queries; ++q) sum[r][q] = fma(x, y[q], sum[r][q]);
        }
    }
#pragma GCC unroll 16
    for (std::size_t r = 0; r < Rows; ++r) {
#pragma GCC unroll 16
        for (std::size_t q = 0; q < Queries; ++q) to[r * Queries + q] = sum[r][q];
    }
}

/// The rows [first, last) with `Queries` queries from `query` on, 16 products at a time. What a tile has beyond the last row or
/// query is the last one again, and is not stored.
template <std::size_t Queries, class Element>
inline void dot_block(const DotOperands<Element>& g, std::size_t first, std::size_t last, std::size_t query,
                      std::size_t n) noexcept {
    constexpr std::size_t rows = dot_sums / Queries;
    constexpr std::size_t tile = std::min(rows, dot_tile_rows);
    const std::size_t queries = std::min(Queries, g.query_count - query);
    const float* y[Queries];
    for (std::size_t q = 0; q < Queries; ++q) y[q] = g.queries + (query + std::min(q, queries - 1)) * g.query_stride;
    Lanes part[dot_sums];
    for (Lanes& none : part) none = Lanes::all(0.0f);
    float sums[dot_sums];
    for (std::size_t i = first; i < last; i += rows) {
        const std::size_t count = std::min(rows, last - i);
        for (std::size_t r = 0; r < count; r += tile) {
            const Element* x[tile];
            for (std::size_t j = 0; j < tile; ++j) x[j] = g.rows + (i + std::min(r + j, count - 1)) * g.row_stride;
            dot_tile<tile, Queries>(x, y, n, part + r * Queries);
        }
        tree_sums(part, sums);
        for (std::size_t q = 0; q < queries; ++q) {
            float* const to = g.out + (query + q) * g.out_stride + i;
            for (std::size_t r = 0; r < count; ++r) to[r] = sums[r * Queries + q];
        }
    }
}

template <class Element>
float dot_row(const Element* row, const float* query, std::size_t n) noexcept {
    Lanes part;
    dot_tile<1, 1>(&row, &query, n, &part);
    return tree_sum(part);
}

template <class Element>
void dot_rows(const DotOperands<Element>& g, std::size_t n) noexcept {
    if (g.query_count == 1) return dot_block<1>(g, 0, g.row_count, 0, n);
    constexpr std::size_t together = dot_sums / dot_tile_queries;
    const std::size_t fit = dot_block_bytes / std::max<std::size_t>(n * sizeof(Element), 1) / together * together;
    const std::size_t block = std::max(fit, together);
    for (std::size_t i = 0; i < g.row_count; i += block) {
        for (std::size_t q = 0; q < g.query_count; q += dot_tile_queries)
            dot_block<dot_tile_queries>(g, i, std::min(g.row_count, i + block), q, n);
    }
}

#define FLASHBACK_DETAIL_DOTS_OF(kind, Element)                                               \
    kind template float dot_row<Element>(const Element*, const float*, std::size_t) noexcept; \
    kind template void dot_rows<Element>(const DotOperands<Element>&, std::size_t) noexcept;
#define FLASHBACK_DETAIL_DOTS(kind)       \
    FLASHBACK_DETAIL_DOTS_OF(kind, float) \
    FLASHBACK_DETAIL_DOTS_OF(kind, Half)  \
    FLASHBACK_DETAIL_DOTS_OF(kind, Int8)
#if defined(FLASHBACK_COMPILED_ONCE)
FLASHBACK_DETAIL_DOTS(extern)
#endif

}  // namespace flashback::inline FLASHBACK_ISA::simd::detail
