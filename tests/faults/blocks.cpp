// Stores and files of blocks, while memory or a file fails: what was is what is, and nothing is left behind.
#include "flashback/kv/block_store.hpp"
#include "flashback/kv/contiguous_kv_cache.hpp"
#include "support/faults.hpp"

#include <array>
#include <cstddef>
#include <memory>
#include <utility>

#include <doctest/doctest.h>

using namespace flashback;
using namespace flashback_test;

namespace {

BlockStore::Handle block(TokenId token) {
    ContiguousKVCache cache{{.layers = 1, .kv_heads = 1, .head_dim = 4, .positions = 1}};
    const std::array<float, 4> row{1, -2, 3, static_cast<float>(token)};
    cache.write(0, 0, 0, row.data(), row.data());
    cache.commit(1);
    return std::make_shared<const KVBlock>(KVBlock{std::move(cache), {token}, {}, 0, 7});
}

bool holds(BlockStore& store, TokenId token) {
    const TokenBuffer tokens{token};
    return store.find({7, {}, 0, tokens}) != nullptr;
}

}  // namespace

TEST_CASE("faults: a store that finds no memory holds what it held, and goes on") {
    for (const BlockElement kind : {BlockElement::as_evaluated, BlockElement::f16, BlockElement::int8}) {
        const std::size_t bytes = BlockStore::bytes_of(block(1)->cache.shape(), kind);
        with_each_fault(
            Fault::allocation,
            [&] {
                auto store = std::make_unique<BlockStore>(BlockStoreOptions{.budget = 2 * bytes, .element = kind});
                store->keep(block(1));
                store->keep(block(2));
                return std::pair{std::move(store), block(3)};
            },
            [](auto& state) { state.first->keep(state.second); },
            [&](auto& state) {
                BlockStore& store = *state.first;
                CHECK(store.counts().blocks == 2);
                CHECK(store.counts().bytes == 2 * bytes);
                CHECK(store.counts().evictions == 0);
                CHECK(holds(store, 1));
                CHECK(holds(store, 2));
                CHECK_FALSE(holds(store, 3));
                for (TokenId token = 4; token < 8; ++token) store.keep(block(token));
                CHECK(store.counts().blocks == 2);
                CHECK(holds(store, 7));
            });
    }
}
