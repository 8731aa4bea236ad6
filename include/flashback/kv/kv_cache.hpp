/// \file Storage of keys and values: what the model needs of it.
#pragma once

#include "flashback/tensor/dtype.hpp"
#include "flashback/tensor/kv_tile.hpp"

#include <concepts>
#include <cstddef>
#include <type_traits>

namespace flashback::inline FLASHBACK_ISA {

/// What a KV cache is made for.
struct KVShape {
    std::size_t layers = 0;      ///< blocks of the model
    std::size_t kv_heads = 0;    ///< heads of keys and values; fewer than query heads if these share them
    std::size_t head_dim = 0;    ///< numbers of a key, and of a value
    std::size_t positions = 0;   ///< the most positions that it can hold
    DType element = DType::f32;  ///< f32, f16, bf16 or i8: what keys and values are rounded to (rule R6)

    constexpr bool operator==(const KVShape&) const = default;
};

/// Storage of keys and values. It knows nothing about what they mean: reuse is a policy (KVReuse).
///
/// | expression                        | result        | meaning                                                       |
/// |-----------------------------------|---------------|---------------------------------------------------------------|
/// | `c.shape()`                       | `KVShape`     | what it was made for                                          |
/// | `c.size()`                        | `std::size_t` | positions held                                                |
/// | `c.reserve(n)`                    |               | makes the positions from size() to n writable, or throws and changes nothing |
/// | `c.write(layer, head, pos, k, v)` |               | stores a key and a value of head_dim each at such a position  |
/// | `c.commit(n)`                     |               | holds the positions written up to n                           |
/// | `c.truncate(n)`                   |               | forgets positions >= n                                        |
/// | `c.tile(layer, head, t)`          | `KVTile`      | the positions [64 t, 64 t + 64), written or indeterminate     |
/// | `c.fork()`                        | the same type | a cache that holds the same and goes its own way              |
/// | `c.sibling()`                     | the same type | an empty cache of the same shape, whose memory comes from the same place |
///
/// A cache may also have `static constexpr bool writes_in_place = true`: positions that it holds are writable, too, and no fork sees it.
/// Positions then move without a copy of the cache.
template <class C>
concept KVCache = std::constructible_from<C, KVShape> && requires(C& cache, const C& held, std::size_t n, const float* row) {
    { held.shape() } -> std::convertible_to<KVShape>;
    { held.size() } -> std::convertible_to<std::size_t>;
    cache.reserve(n);
    cache.write(n, n, n, row, row);
    cache.commit(n);
    cache.truncate(n);
    { held.tile(n, n, n) } -> std::convertible_to<KVTile>;
    { held.fork() } -> std::same_as<C>;
    { held.sibling() } -> std::same_as<C>;
};

}  // namespace flashback::inline FLASHBACK_ISA
