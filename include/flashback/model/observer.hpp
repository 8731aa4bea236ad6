/// \file Lets you look at the values of a forward pass while it runs.
#pragma once

#include "flashback/core/config.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

namespace flashback::inline FLASHBACK_ISA {

/// What a forward pass shows, in this order; what a model does not have is left out.
enum class Stage : std::uint8_t {
    token,             ///< (width) the row of the embedding, after its projection
    position,          ///< (width) row of the table of positions
    stream,            ///< (width) what goes into the first block
    attention_norm,    ///< (width)
    query,             ///< (heads · head_dim) before rotation and scale
    key,               ///< (kv_heads · head_dim) before rotation
    value,             ///< (kv_heads · head_dim)
    attended,          ///< (heads · head_dim)
    attention_output,  ///< (width) after the output matrix
    attention_stream,  ///< (width) the residual stream with that added
    ffn_norm,          ///< (width)
    gate,              ///< (hidden) before the activation; only if there is a gate
    up,                ///< (hidden) before the activation, or the factor of the activated gate
    activated,         ///< (hidden)
    ffn_output,        ///< (width)
    block,             ///< (width) what the block gives
    final_norm,        ///< (width) what goes to the head; its layer is 0
};

/// Sees nothing, and costs nothing.
struct NoObserver {};

namespace detail {

/// Some elements of the rows from `first_row` to `rows`: `count` of each, from `first` on.
/// Shape     values (rows, stride)
struct ShownRows {
    std::size_t rows;
    const float* values;
    std::size_t stride, first, count;
    std::size_t first_row = 0;
};

/// Shows some elements of some rows to an observer: a callable (Stage, layer, row, first element, span<const float>). Rows are
/// counted within the piece of tokens. Several threads may call it at once, but never for the same elements.
template <class Observer>
void show(const Observer& observer, Stage stage, std::size_t layer, const ShownRows& shown) {
    if constexpr (!std::is_same_v<Observer, NoObserver>) {
        for (std::size_t r = shown.first_row; r < shown.rows; ++r) {
            observer(stage, layer, r, shown.first,
                     std::span<const float>{shown.values + r * shown.stride + shown.first, shown.count});
        }
    }
}

}  // namespace detail
}  // namespace flashback::inline FLASHBACK_ISA
