/// \file Keys and values of a block in fewer bytes than its cache takes.
#pragma once

#include "flashback/kv/copy_positions.hpp"
#include "flashback/kv/kv_cache.hpp"
#include "flashback/tensor/dtype.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

/// Bytes of a key or a value of `d` elements.
constexpr std::size_t packed_row_bytes(bool int8, std::size_t d) noexcept { return int8 ? sizeof(float) + d : 2 * d; }

/// A row as f16; what f16 cannot hold becomes the greatest that it can.
inline std::byte* pack_f16(const float* row, std::size_t d, std::byte* to) noexcept {
    constexpr float most = 65504;
    for (std::size_t i = 0; i < d; ++i) {
        const std::uint16_t half = float_to_half(std::clamp(row[i], -most, most));
        std::memcpy(to + 2 * i, &half, 2);
    }
    return to + packed_row_bytes(false, d);
}
inline const std::byte* unpack_f16(const std::byte* from, std::size_t d, float* row) noexcept {
    for (std::size_t i = 0; i < d; ++i) {
        std::uint16_t half = 0;
        std::memcpy(&half, from + 2 * i, 2);
        row[i] = half_to_float(half);
    }
    return from + packed_row_bytes(false, d);
}

/// A row as a scale, the greatest magnitude over 127, and whole numbers of it: an error of at most half a scale.
inline std::byte* pack_int8(const float* row, std::size_t d, std::byte* to) noexcept {
    float most = 0;
    for (std::size_t i = 0; i < d; ++i) most = std::max(most, std::fabs(row[i]));
    const float scale = most / 127;
    std::memcpy(to, &scale, sizeof(scale));
    to += sizeof(scale);
    for (std::size_t i = 0; i < d; ++i) {
        const float steps = scale > 0 ? std::nearbyint(row[i] / scale) : 0.0f;
        const auto q = static_cast<std::int8_t>(std::clamp(steps, -127.0f, 127.0f));
        std::memcpy(to + i, &q, 1);
    }
    return to + d;
}
inline const std::byte* unpack_int8(const std::byte* from, std::size_t d, float* row) noexcept {
    float scale = 0;
    std::memcpy(&scale, from, sizeof(scale));
    from += sizeof(scale);
    for (std::size_t i = 0; i < d; ++i) {
        std::int8_t q = 0;
        std::memcpy(&q, from + i, 1);
        row[i] = scale * static_cast<float>(q);
    }
    return from + d;
}

/// All rows of a cache, a key and its value for each layer, head and position in turn.
/// Requires  the cache holds `positions` positions
template <KVCache Cache>
std::vector<std::byte> pack_rows(const Cache& cache, std::size_t positions, bool int8) {
    const KVShape shape = cache.shape();
    std::vector<std::byte> packed(2 * shape.layers * shape.kv_heads * positions * packed_row_bytes(int8, shape.head_dim));
    std::byte* to = packed.data();
    each_position(cache, {0, positions}, [&](std::size_t, std::size_t, std::size_t, const float* key, const float* value) {
        for (const float* row : {key, value})
            to = int8 ? pack_int8(row, shape.head_dim, to) : pack_f16(row, shape.head_dim, to);
    });
    return packed;
}

/// The cache that was packed, as far as its rows kept it.
template <KVCache Cache>
Cache unpack_rows(std::span<const std::byte> packed, const KVShape& shape, bool int8) {
    Cache cache{shape};
    const std::byte* from = packed.data();
    std::vector<float> key(shape.head_dim);
    std::vector<float> value(shape.head_dim);
    for (std::size_t layer = 0; layer < shape.layers; ++layer) {
        for (std::size_t head = 0; head < shape.kv_heads; ++head) {
            for (std::size_t position = 0; position < shape.positions; ++position) {
                for (std::vector<float>* row : {&key, &value})
                    from =
                        int8 ? unpack_int8(from, shape.head_dim, row->data()) : unpack_f16(from, shape.head_dim, row->data());
                cache.write(layer, head, position, key.data(), value.data());
            }
        }
    }
    cache.commit(shape.positions);
    return cache;
}

}  // namespace flashback::inline FLASHBACK_ISA::detail
