/// \file Blocks of random keys and values, and what stands in blocks.
#pragma once

#include "flashback/core/random.hpp"
#include "flashback/kv/block_store.hpp"
#include "flashback/kv/contiguous_kv_cache.hpp"
#include "flashback/kv/copy_positions.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace flashback_test::inline FLASHBACK_ISA {

/// A block that sees token 1, from position 1 on, of fingerprint 77. Its numbers, from -10 to 10, depend on its tokens and the seed.
inline flashback::BlockStore::Handle random_kv_block(flashback::TokenBuffer tokens, flashback::KVShape shape,
                                                     std::uint64_t seed = 0) {
    shape.positions = tokens.size();
    flashback::KVBlock made{flashback::ContiguousKVCache{shape}, std::move(tokens), {1}, 1, 77};
    flashback::SplitMix64 random{flashback::detail::hash_of(key_of(made)) + seed};
    std::vector<float> key(shape.head_dim);
    std::vector<float> value(shape.head_dim);
    for (std::size_t layer = 0; layer < shape.layers; ++layer) {
        for (std::size_t head = 0; head < shape.kv_heads; ++head) {
            for (std::size_t position = 0; position < shape.positions; ++position) {
                for (std::vector<float>* row : {&key, &value})
                    for (float& x : *row) x = static_cast<float>(20 * random.uniform() - 10);
                made.cache.write(layer, head, position, key.data(), value.data());
            }
        }
    }
    made.cache.commit(shape.positions);
    return std::make_shared<const flashback::KVBlock>(std::move(made));
}

struct KVRow {
    std::vector<float> key, value;
    bool operator==(const KVRow&) const = default;
};

inline std::vector<KVRow> rows_of(const flashback::KVBlock& block) {
    const std::size_t d = block.cache.shape().head_dim;
    std::vector<KVRow> rows;
    each_position(block.cache, {0, block.tokens.size()},
                  [&](std::size_t, std::size_t, std::size_t, const float* key, const float* value) {
                      rows.push_back({{key, key + d}, {value, value + d}});
                  });
    return rows;
}

}  // namespace flashback_test::inline FLASHBACK_ISA
