/// \file Keys and values of a block, one after the other, as stores and files keep them.
#pragma once

#include "flashback/kv/copy_positions.hpp"
#include "flashback/kv/kv_block.hpp"
#include "flashback/kv/kv_cache.hpp"
#include "flashback/simd/cache_element.hpp"
#include "flashback/tensor/dtype.hpp"

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

/// Bytes of a key or a value.
constexpr std::size_t packed_row_bytes(BlockElement element, const KVShape& shape) noexcept {
    switch (element) {
        case BlockElement::as_evaluated: break;
        case BlockElement::f16: return 2 * shape.head_dim;
        case BlockElement::int8: return sizeof(float) + shape.head_dim;
    }
    return layout_of(shape.element).block_bytes * shape.head_dim + (shape.element == DType::i8 ? sizeof(float) : 0);
}

/// Bytes of all keys and values of one position.
constexpr std::size_t packed_position_bytes(BlockElement element, const KVShape& shape) noexcept {
    return 2 * shape.layers * shape.kv_heads * packed_row_bytes(element, shape);
}

/// A row in the element of its cache, other than i8: every bit.
inline std::byte* pack_floats(DType type, const float* row, std::size_t d, std::byte* to) noexcept {
    simd::with_element(type, [&](auto element) {
        if constexpr (!std::same_as<decltype(element), simd::Int8>) {
            for (std::size_t i = 0; i < d; ++i, to += sizeof(element)) {
                simd::round_row(row + i, 1, &element);
                std::memcpy(to, &element, sizeof(element));
            }
        }
    });
    return to;
}
inline const std::byte* unpack_floats(DType type, const std::byte* from, std::size_t d, float* row) noexcept {
    simd::with_element(type, [&](auto element) {
        for (std::size_t i = 0; i < d; ++i, from += sizeof(element)) {
            std::memcpy(&element, from, sizeof(element));
            row[i] = simd::to_float(element);
        }
    });
    return from;
}

/// A row as f16; what f16 cannot hold becomes the greatest that it can.
inline std::byte* pack_f16(const float* row, std::size_t d, std::byte* to) noexcept {
    constexpr float most = 65504;
    for (std::size_t i = 0; i < d; ++i) {
        const std::uint16_t half = float_to_half(std::clamp(row[i], -most, most));
        std::memcpy(to + 2 * i, &half, 2);
    }
    return to + 2 * d;
}

/// A row as a step and whole numbers of it: an error of at most half a step. A row that is not finite becomes NaN.
inline std::byte* pack_int8(const float* row, std::size_t d, std::byte* to) noexcept {
    const float step = simd::int8_step(row, d);
    std::memcpy(to, &step, sizeof(step));
    to += sizeof(step);
    for (std::size_t i = 0; i < d; ++i) {
        const simd::Int8 q = simd::in_steps(row[i], step);
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

inline std::byte* pack_row(BlockElement element, DType type, const float* row, std::size_t d, std::byte* to) noexcept {
    switch (element) {
        case BlockElement::as_evaluated: break;
        case BlockElement::f16: return pack_f16(row, d, to);
        case BlockElement::int8: return pack_int8(row, d, to);
    }
    return type == DType::i8 ? pack_int8(row, d, to) : pack_floats(type, row, d, to);
}
inline const std::byte* unpack_row(BlockElement element, DType type, const std::byte* from, std::size_t d,
                                   float* row) noexcept {
    switch (element) {
        case BlockElement::as_evaluated: break;
        case BlockElement::f16: return unpack_floats(DType::f16, from, d, row);
        case BlockElement::int8: return unpack_int8(from, d, row);
    }
    return type == DType::i8 ? unpack_int8(from, d, row) : unpack_floats(type, from, d, row);
}

/// All rows of a cache, a key and its value for each layer, head and position in turn.
template <KVCache Cache>
std::vector<std::byte> pack_rows(const Cache& cache, BlockElement element) {
    const KVShape shape = cache.shape();
    std::vector<std::byte> packed(cache.size() * packed_position_bytes(element, shape));
    std::byte* to = packed.data();
    each_position(cache, {0, cache.size()}, [&](std::size_t, std::size_t, std::size_t, const float* key, const float* value) {
        for (const float* row : {key, value}) to = pack_row(element, shape.element, row, shape.head_dim, to);
    });
    return packed;
}

/// The cache that was packed, as far as its rows kept it.
/// Requires  as many bytes as `shape.positions` positions have
template <KVCache Cache>
Cache unpack_rows(std::span<const std::byte> packed, const KVShape& shape, BlockElement element) {
    Cache cache{shape};
    cache.reserve(shape.positions);
    const std::byte* from = packed.data();
    std::vector<float> key(shape.head_dim);
    std::vector<float> value(shape.head_dim);
    for (std::size_t layer = 0; layer < shape.layers; ++layer) {
        for (std::size_t head = 0; head < shape.kv_heads; ++head) {
            for (std::size_t position = 0; position < shape.positions; ++position) {
                for (std::vector<float>* row : {&key, &value})
                    from = unpack_row(element, shape.element, from, shape.head_dim, row->data());
                cache.write(layer, head, position, key.data(), value.data());
            }
        }
    }
    cache.commit(shape.positions);
    return cache;
}

}  // namespace flashback::inline FLASHBACK_ISA::detail
