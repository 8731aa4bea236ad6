/// \file What the header of a safetensors file says of a tensor.
#pragma once

#include "flashback/tensor/dtype.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

/// An element type of safetensors: its name, its bytes, and its type in this library.
struct SafetensorsType {
    std::string_view name;
    std::size_t bytes;
    std::optional<DType> type;
};

inline constexpr std::array<SafetensorsType, 15> safetensors_types{{{"F32", 4, DType::f32},
                                                                    {"F16", 2, DType::f16},
                                                                    {"BF16", 2, DType::bf16},
                                                                    {"F64", 8, DType::f64},
                                                                    {"I8", 1, DType::i8},
                                                                    {"I16", 2, DType::i16},
                                                                    {"I32", 4, DType::i32},
                                                                    {"I64", 8, DType::i64},
                                                                    {"BOOL", 1, {}},
                                                                    {"U8", 1, {}},
                                                                    {"U16", 2, {}},
                                                                    {"U32", 4, {}},
                                                                    {"U64", 8, {}},
                                                                    {"F8_E5M2", 1, {}},
                                                                    {"F8_E4M3", 1, {}}}};

inline constexpr std::uint64_t safetensors_most_header = 100'000'000;
inline constexpr std::string_view safetensors_metadata = "__metadata__";

/// A tensor as the header describes it. It is not yet checked against the data.
struct SafetensorsEntry {
    std::string name;
    const SafetensorsType* type = nullptr;
    std::optional<std::vector<std::uint64_t>> shape;
    std::optional<std::vector<std::uint64_t>> offsets;
};

/// Bytes of a tensor; nothing if 64 bits cannot hold the number.
inline std::optional<std::uint64_t> bytes_of(const SafetensorsEntry& entry) {
    std::uint64_t bytes = entry.type->bytes;
    if (std::ranges::find(*entry.shape, 0u) != entry.shape->end()) return 0;
    for (const std::uint64_t side : *entry.shape) {
        if (bytes > std::numeric_limits<std::uint64_t>::max() / side) return {};
        bytes *= side;
    }
    return bytes;
}

}  // namespace flashback::inline FLASHBACK_ISA::detail
