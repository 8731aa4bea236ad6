/// \file Where the tokens of a piece stand, and what they see.
#pragma once

#include "flashback/kv/kv_cache.hpp"

#include <cstddef>
#include <span>

namespace flashback::inline FLASHBACK_ISA {

/// The first positions of a cache, all of which some tokens see.
template <class Cache>
struct SeenPositions {
    const Cache* cache;     ///< holds them
    std::size_t positions;  ///< at least 1
};

/// Where some tokens of a piece stand: one after the other in a cache. Each sees `seen`, span by span, and then the positions of its
/// own cache up to itself; sums are taken in this order (rule R7). In an encoder each sees its own cache up to the last of these tokens.
template <class Cache>
struct PiecePlace {
    Cache* cache;                                     ///< holds the tokens' own positions
    std::size_t rows;                                 ///< how many tokens
    std::size_t first_row = 0;                        ///< of them in the cache
    std::size_t first_position = 0;                   ///< what rotary angles and the table of positions are asked for
    std::span<const SeenPositions<Cache>> seen = {};  ///< in the order of the sum
    float* last_query =
        nullptr;  ///< (layers, heads · head_dim): gets the queries of the last of these tokens, as attention takes them; or null
};

/// The tokens of a piece, place by place: several sequences in one pass.
template <class Cache>
using PiecePlaces = std::span<const PiecePlace<Cache>>;

}  // namespace flashback::inline FLASHBACK_ISA
