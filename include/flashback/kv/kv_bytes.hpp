/// \file What keys and values take.
#pragma once

#include "flashback/kv/detail/tile_rows.hpp"
#include "flashback/kv/kv_cache.hpp"

#include <cstddef>

namespace flashback::inline FLASHBACK_ISA {

/// Bytes of the keys and values of so many positions, in whole tiles of 64.
/// Throws    std::bad_array_new_length if they are more than 64 bits count
inline std::size_t kv_bytes(const KVShape& shape) { return detail::bytes_of_tiles(shape, detail::tiles_of(shape.positions)); }

}  // namespace flashback::inline FLASHBACK_ISA
