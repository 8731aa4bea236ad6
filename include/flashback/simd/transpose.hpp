/// \file Rows to columns.
#pragma once

#include "flashback/simd/fma.hpp"
#include "flashback/simd/packed_panel.hpp"

#include <algorithm>
#include <cstddef>

namespace flashback::inline FLASHBACK_ISA::simd {

namespace detail {

// A square of 16 rows and columns.
inline void transpose_square(const float* from, std::size_t from_stride, float* to, std::size_t to_stride) noexcept {
#if FLASHBACK_SIMD_FLOATS == 16
    __m512 a[16];
    __m512 b[16];
#pragma GCC unroll 16
    for (std::size_t i = 0; i < 16; ++i) a[i] = _mm512_loadu_ps(from + i * from_stride);
#pragma GCC unroll 8
    for (std::size_t i = 0; i < 16; i += 2) {
        b[i] = _mm512_unpacklo_ps(a[i], a[i + 1]);
        b[i + 1] = _mm512_unpackhi_ps(a[i], a[i + 1]);
    }
    // Now each quarter of a register holds one column of four rows: a[4 g + c] has those of the rows 4 g .. 4 g + 3.
#pragma GCC unroll 4
    for (std::size_t i = 0; i < 16; i += 4) {
        const auto pairs = [&](std::size_t low, std::size_t high, bool upper) {
            const __m512d x = _mm512_castps_pd(b[i + low]);
            const __m512d y = _mm512_castps_pd(b[i + high]);
            return _mm512_castpd_ps(upper ? _mm512_unpackhi_pd(x, y) : _mm512_unpacklo_pd(x, y));
        };
        a[i] = pairs(0, 2, false);
        a[i + 1] = pairs(0, 2, true);
        a[i + 2] = pairs(1, 3, false);
        a[i + 3] = pairs(1, 3, true);
    }
#pragma GCC unroll 4
    for (std::size_t c = 0; c < 4; ++c) {
        const __m512 even01 = _mm512_shuffle_f32x4(a[c], a[4 + c], 0x88);  // quarters 0 and 2 of the first eight rows
        const __m512 odd01 = _mm512_shuffle_f32x4(a[c], a[4 + c], 0xdd);
        const __m512 even23 = _mm512_shuffle_f32x4(a[8 + c], a[12 + c], 0x88);
        const __m512 odd23 = _mm512_shuffle_f32x4(a[8 + c], a[12 + c], 0xdd);
        _mm512_storeu_ps(to + c * to_stride, _mm512_shuffle_f32x4(even01, even23, 0x88));
        _mm512_storeu_ps(to + (4 + c) * to_stride, _mm512_shuffle_f32x4(odd01, odd23, 0x88));
        _mm512_storeu_ps(to + (8 + c) * to_stride, _mm512_shuffle_f32x4(even01, even23, 0xdd));
        _mm512_storeu_ps(to + (12 + c) * to_stride, _mm512_shuffle_f32x4(odd01, odd23, 0xdd));
    }
#else
    for (std::size_t c = 0; c < panel_outputs; ++c) {
        for (std::size_t r = 0; r < panel_outputs; ++r) to[c * to_stride + r] = from[r * from_stride + c];
    }
#endif
}

}  // namespace detail

/// to[c][r] = from[r][c].
/// Shape     from (rows, from_stride), of which `columns` are read   to (columns, to_stride), of which `rows` are written
inline void transpose(const float* from, std::size_t from_stride, std::size_t rows, std::size_t columns, float* to,
                      std::size_t to_stride) noexcept {
    for (std::size_t r = 0; r < rows; r += panel_outputs) {
        for (std::size_t c = 0; c < columns; c += panel_outputs) {
            const float* source = from + r * from_stride + c;
            float* target = to + c * to_stride + r;
            if (r + panel_outputs <= rows && c + panel_outputs <= columns) {
                detail::transpose_square(source, from_stride, target, to_stride);
            } else {
                const std::size_t height = std::min(panel_outputs, rows - r);
                const std::size_t width = std::min(panel_outputs, columns - c);
                for (std::size_t i = 0; i < width; ++i) {
                    for (std::size_t j = 0; j < height; ++j) target[i * to_stride + j] = source[j * from_stride + i];
                }
            }
        }
    }
}

}  // namespace flashback::inline FLASHBACK_ISA::simd
