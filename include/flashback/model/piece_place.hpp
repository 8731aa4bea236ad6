/// \file Where a piece of tokens stands, and what it sees.
#pragma once

#include "flashback/kv/kv_cache.hpp"

#include <cstddef>
#include <span>

namespace flashback::inline FLASHBACK_ISA {

/// The first positions of a cache, all of which a piece of tokens sees.
template <class Cache>
struct SeenPositions {
    const Cache* cache;
    std::size_t positions;  ///< at least 1
};

/// Where a piece of tokens stands. Each token sees `seen`, span by span, and then the positions of its own cache up to itself;
/// sums are taken in this order (rule R7).
template <class Cache>
struct PiecePlace {
    std::size_t first_row = 0;       ///< of the piece in its cache
    std::size_t first_position = 0;  ///< what rotary angles and the table of positions are asked for
    std::span<const SeenPositions<Cache>> seen = {};
};

}  // namespace flashback::inline FLASHBACK_ISA
