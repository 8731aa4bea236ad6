/// \file The keys and values of a text as bytes: saved, and restored to the bit.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/executor.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/kv/detail/kv_state_parts.hpp"
#include "flashback/kv/kv_cache.hpp"

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// A cache whose tiles can be filled as they are: `c.raw_tile(layer, head, t)` is the memory of a tile with a reserved position, laid out
/// as detail::tile_bytes says.
template <class C>
concept RawKVCache = KVCache<C> && requires(C& cache, std::size_t n) {
    { cache.raw_tile(n, n, n) } -> std::same_as<std::byte*>;
};

/// What the keys and values of a text are a function of: who evaluated it, and its tokens.
struct KVStateKey {
    std::uint64_t fingerprint;  ///< of the session
    TokenSpan tokens;           ///< that the session holds
};

/// Writes the first positions of a cache, one for each token, by `sink(bytes)`, in order. The format, numbers as this machine has them:
///
/// | part    | what it holds                                                                                                    |
/// |---------|------------------------------------------------------------------------------------------------------------------|
/// | header  | `FBSTATES`, then u64: version 1, 0x0102030405060708, fingerprint, GGUF's number of the element, layers, heads, head_dim, tokens |
/// | tokens  | i32 each                                                                                                         |
/// | sums    | u64: the checksum of each page of 64 positions, then that of everything in front of it                           |
/// | pages   | the tiles of each layer and head: keys, values; positions behind the last token are 0                            |
///
/// Requires  the cache holds at least as many positions as there are tokens
/// Throws    what the sink throws; std::bad_alloc
/// Cost      reads the keys and values twice; no copy, except of the last page; `executor` computes the checksums
template <KVCache Cache, class Sink>
void write_kv_state(const KVStateKey& key, const Cache& cache, Sink&& sink, ExecutorRef executor = {}) {
    const KVShape shape = cache.shape();
    const std::size_t pages = detail::tiles_of(key.tokens.size());
    const auto each_tile = [&](std::size_t page, std::span<std::byte> tile, auto&& visit) {
        const std::size_t positions = std::min(tile_positions, key.tokens.size() - page * tile_positions);
        for (std::size_t layer = 0; layer < shape.layers; ++layer) {
            for (std::size_t head = 0; head < shape.kv_heads; ++head) {
                visit(detail::whole_tile(cache.tile(layer, head, page), shape, positions, tile));
            }
        }
    };
    std::vector<std::byte> front = detail::kv_state_front(key.fingerprint, shape, key.tokens);
    std::vector<std::uint64_t> sums(pages);
    executor.run(pages, [&](std::size_t page) {
        std::vector<std::byte> tile(detail::tile_bytes(shape));
        Fingerprint sum;
        each_tile(page, tile, [&](std::span<const std::byte> bytes) { sum.add(bytes); });
        sums[page] = sum.value();
    });
    for (const std::uint64_t sum : sums) detail::append_number(front, sum);
    detail::append_number(front, detail::kv_state_sum(front));
    sink(std::span<const std::byte>{front});
    std::vector<std::byte> tile(detail::tile_bytes(shape));
    for (std::size_t page = 0; page < pages; ++page) each_tile(page, tile, sink);
}

/// What was read of a state.
struct RestoredTokens {
    TokenBuffer tokens;  ///< what the session holds now
    bool whole;          ///< whether these are all of it
};

/// Reads the first `positions` positions of a state, or all if it has fewer, into an empty cache, by `read(bytes, what)`, which fills
/// `bytes` with what comes next, or throws. Gives their tokens. `name` is what errors call the state.
/// Throws    Error{format} if it is no state, or damaged; Error{unsupported} for another version or order of bytes; Error{contract} if it is
///           of another fingerprint, or of caches of another shape; Error{window} if its positions do not fit into the cache; what
///           `read` and the cache throw. Then the cache is of no use
/// Cost      reads as much as it restores, once
template <RawKVCache Cache, class Read>
RestoredTokens read_kv_state(std::uint64_t fingerprint, Cache& cache, std::size_t positions, const std::string& name,
                             Read&& read) {
    detail::KVStateFront front = detail::read_kv_state_front(name, read);
    front.check(name, fingerprint, cache.shape());
    const KVShape shape = cache.shape();
    positions = std::min(positions, front.tokens.size());
    if (positions > shape.positions) {
        FLASHBACK_THROW(ErrorCode::window, "the state '", name, "' has ", positions,
                        " positions, but the session holds at most ", shape.positions);
    }
    cache.reserve(positions);
    for (std::size_t page = 0; page < detail::tiles_of(positions); ++page) {
        Fingerprint sum;
        for (std::size_t layer = 0; layer < shape.layers; ++layer) {
            for (std::size_t head = 0; head < shape.kv_heads; ++head) {
                const std::span<std::byte> tile{cache.raw_tile(layer, head, page), detail::tile_bytes(shape)};
                read(tile, "keys and values");
                sum.add(std::span<const std::byte>{tile});
            }
        }
        if (sum.value() != front.sums[page]) detail::damaged_kv_state(name, "a page does not give its checksum");
    }
    cache.commit(positions);
    const bool whole = positions == front.tokens.size();
    front.tokens.resize(positions);
    return {std::move(front.tokens), whole};
}

}  // namespace flashback::inline FLASHBACK_ISA
