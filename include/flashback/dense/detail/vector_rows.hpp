/// \file How vectors lie in memory and in files.
#pragma once

#include "flashback/core/config.hpp"
#include "flashback/simd/cache_element.hpp"
#include "flashback/tensor/dtype.hpp"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace flashback::inline FLASHBACK_ISA::detail {

inline constexpr std::string_view vector_file_magic = "FBVECTOR";
inline constexpr std::uint64_t vector_file_version = 1;
/// Every row begins at a multiple of this.
inline constexpr std::size_t vector_row_border = 64;

/// Calls `call(Element{})` with the element of stored vectors that a type names. Tells whether it names one.
template <class Call>
constexpr bool with_vector_element(DType type, const Call& call) {
    switch (type) {
        case DType::f32: call(float{}); return true;
        case DType::f16: call(simd::Half{}); return true;
        case DType::i8: call(simd::Int8{}); return true;
        default: return false;
    }
}

/// Bytes of a row with the zeros at its end.
constexpr std::size_t vector_row_bytes(DType type, std::size_t dimension) noexcept {
    const std::size_t bytes = dimension * layout_of(type).block_bytes;
    return (bytes + vector_row_border - 1) / vector_row_border * vector_row_border;
}

/// The length of a vector; no square of a float is too large for a double.
inline double vector_length(std::span<const float> vector) noexcept {
    double squares = 0;
    for (const float x : vector) squares += static_cast<double>(x) * static_cast<double>(x);
    return std::sqrt(squares);
}

/// A vector scaled to length 1; one of zeros stays.
/// Shape     from, to (the same); they may be the same memory
inline void normalise_vector(std::span<const float> from, float* to) noexcept {
    const double length = vector_length(from);
    for (std::size_t i = 0; i < from.size(); ++i)
        to[i] = length > 0 ? static_cast<float>(static_cast<double>(from[i]) / length) : 0.0f;
}

}  // namespace flashback::inline FLASHBACK_ISA::detail
