// A store of blocks: what it keeps, what it finds, and what its rounding does to numbers.
#include "flashback/kv/block_store.hpp"

#include "flashback/core/random.hpp"
#include "flashback/kv/contiguous_kv_cache.hpp"
#include "support/kv_blocks.hpp"

#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

namespace test_kv_block_store {

using namespace flashback;
using namespace flashback_test;

namespace {

constexpr KVShape shape{.layers = 2, .kv_heads = 3, .head_dim = 5, .positions = 3};
const TokenBuffer head{1};
const std::size_t size_of_one = BlockStore::bytes_of(shape);

/// A block of three tokens, the first of which tells blocks apart.
BlockStore::Handle block(TokenId first, DType type = DType::f32, std::uint64_t seed = 0) {
    KVShape its = shape;
    its.element = type;
    return random_kv_block({first, 8, 9}, its, seed);
}

BlockKey key_of(const TokenBuffer& tokens) { return {77, head, 1, tokens}; }
BlockStore::Handle find(BlockStore& store, TokenId first) { return store.find(key_of({first, 8, 9})); }

}  // namespace

TEST_CASE("a block is found by everything that it depends on, and by nothing less") {
    BlockStore store;
    const auto kept = store.keep(block(5));
    CHECK(find(store, 5) == kept);
    const TokenBuffer tokens{5, 8, 9};
    const TokenBuffer other_tokens{5, 8, 10};
    const TokenBuffer shorter{5, 8};
    const TokenBuffer other_head{2};
    CHECK(store.find({77, head, 1, tokens}) == kept);
    CHECK(store.find({78, head, 1, tokens}) == nullptr);
    CHECK(store.find({77, other_head, 1, tokens}) == nullptr);
    CHECK(store.find({77, {}, 1, tokens}) == nullptr);
    CHECK(store.find({77, head, 2, tokens}) == nullptr);
    CHECK(store.find({77, head, 1, other_tokens}) == nullptr);
    CHECK(store.find({77, head, 1, shorter}) == nullptr);
    const BlockStoreCounts counts = store.counts();
    CHECK(counts.hits == 2);
    CHECK(counts.misses == 6);
    CHECK(counts.blocks == 1);
    CHECK(counts.bytes == 2 * 2 * 3 * 64 * 5 * 4);
    CHECK(store.keep(block(5, DType::f32, 1)) == kept);  // another thread was first
    CHECK(store.counts().blocks == 1);
}

TEST_CASE("the block that was asked for longest ago goes first, pinned ones stay, and the budget is never exceeded") {
    BlockStore store{{.budget = 3 * size_of_one + 10}};
    const auto first = store.keep(block(1));
    store.keep(block(2));
    store.keep(block(3));
    CHECK(find(store, 1) == first);
    store.keep(block(4));
    CHECK(find(store, 2) == nullptr);
    CHECK(find(store, 1) == first);
    CHECK(store.counts().evictions == 1);
    CHECK(store.counts().blocks == 3);
    CHECK(store.counts().bytes == 3 * size_of_one);

    CHECK(store.pin(key_of({3, 8, 9})));
    CHECK(store.pin(key_of({3, 8, 9})));
    CHECK_FALSE(store.pin(key_of({2, 8, 9})));
    for (TokenId t = 10; t < 20; ++t) {
        store.keep(block(t));
        CHECK(store.counts().bytes <= 3 * size_of_one + 10);
    }
    CHECK(find(store, 3) != nullptr);
    CHECK(rows_of(*first).size() == 18);  // who holds a block can use it after it went
    CHECK(find(store, 1) == nullptr);
    CHECK(store.unpin(key_of({3, 8, 9})));
    for (TokenId t = 20; t < 23; ++t) store.keep(block(t));
    CHECK(find(store, 3) != nullptr);  // pinned twice
    CHECK(store.unpin(key_of({3, 8, 9})));
    CHECK_FALSE(store.unpin(key_of({3, 8, 9})));
    for (TokenId t = 23; t < 26; ++t) store.keep(block(t));
    CHECK(find(store, 3) == nullptr);

    // If pinned blocks leave no room, a block is used and not kept.
    for (TokenId t = 23; t < 26; ++t) CHECK(store.pin(key_of({t, 8, 9})));
    CHECK(store.keep(block(40)) != nullptr);
    CHECK(find(store, 40) == nullptr);
    store.clear();
    CHECK(store.counts().blocks == 3);
    CHECK(store.unpin(key_of({24, 8, 9})));
    store.clear();
    CHECK(store.counts().blocks == 2);
    CHECK(find(store, 24) == nullptr);
    CHECK(find(store, 25) != nullptr);
}

TEST_CASE("a block that is larger than the budget is used, and not kept") {
    for (const std::size_t budget : {std::size_t{0}, size_of_one - 1}) {
        BlockStore store{{.budget = budget}};
        const auto made = block(5);
        CHECK(store.keep(made) == made);
        CHECK(find(store, 5) == nullptr);
        CHECK(store.counts().bytes == 0);
    }
    BlockStore store{{.budget = size_of_one}};
    store.keep(block(5));
    CHECK(find(store, 5) != nullptr);
}

TEST_CASE("a store that rounds gives the rounded block from the first use on, and one for all its users") {
    for (const BlockElement kind : {BlockElement::f16, BlockElement::int8}) {
        for (const DType type : {DType::f32, DType::f16, DType::bf16, DType::i8}) {
            BlockStore store{{.element = kind}};
            const auto exact = block(5, type);
            auto first = store.keep(exact);
            const std::vector<KVRow> of_first = rows_of(*first);
            const auto second = find(store, 5);
            CHECK(second == first);
            first = nullptr;
            const std::weak_ptr<const KVBlock> watched = second;
            const auto copy_of_second = rows_of(*second);
            CHECK(std::equal(of_first.begin(), of_first.end(), copy_of_second.begin(),
                             [](const KVRow& a, const KVRow& b) { return a == b; }));
            CHECK(second->tokens == exact->tokens);
            CHECK(second->seen == exact->seen);
            CHECK(second->first_position == 1);
            CHECK(second->fingerprint == 77);
            CHECK(second->cache.shape() == exact->cache.shape());
            CHECK(store.counts().bytes == BlockStore::bytes_of(shape, kind));
            CHECK(store.counts().bytes == 2u * 2 * 3 * 3 * (kind == BlockElement::int8 ? 4 + 5 : 10));

            const std::vector<KVRow> expected = rows_of(*exact);
            double farthest = 0;
            for (std::size_t r = 0; r < expected.size(); ++r) {
                for (const auto row : {&KVRow::key, &KVRow::value}) {
                    double most = 0;
                    for (const float x : expected[r].*row) most = std::max(most, std::fabs(static_cast<double>(x)));
                    for (std::size_t i = 0; i < shape.head_dim; ++i) {
                        const auto x = static_cast<double>((expected[r].*row)[i]);
                        const double error = std::fabs(static_cast<double>((of_first[r].*row)[i]) - x);
                        farthest = std::max(farthest, error);
                        // Half a step, and what the element of the cache rounds away after that.
                        const double step = kind == BlockElement::int8 ? most / 127 : std::fabs(x) / 1024;
                        const double cache = type == DType::f32 ? 1e-6 : type == DType::f16 ? 1.0 / 2048 : 1.0 / 256;
                        CHECK(error <= step / 2 * 1.0001 + most * cache);
                    }
                }
            }
            const bool halves = type == DType::f16 || type == DType::bf16;  // of numbers that f16 can hold
            const bool same = kind == BlockElement::f16 ? halves : type == DType::i8;
            CHECK((farthest == 0) == same);
        }
    }
}

TEST_CASE("an evicted block of a store that rounds is found again only if it is evaluated again") {
    const std::size_t bytes = BlockStore::bytes_of(shape, BlockElement::int8);
    BlockStore store{{.budget = bytes, .element = BlockElement::int8}};
    store.keep(block(5));
    {
        const auto again = find(store, 5);  // nobody had it: unpacked
        CHECK(again != nullptr);
        CHECK(find(store, 5) == again);
    }
    store.keep(block(6));
    CHECK(find(store, 5) == nullptr);
}

TEST_CASE("numbers that f16 cannot hold become the greatest that it can") {
    KVShape one = shape;
    one.positions = 1;
    one.layers = one.kv_heads = 1;
    one.head_dim = 3;
    ContiguousKVCache cache{one};
    const std::vector<float> row{1e9f, -1e9f, 0};
    cache.write(0, 0, 0, row.data(), row.data());
    cache.commit(1);
    BlockStore store{{.element = BlockElement::f16}};
    const auto kept = store.keep(std::make_shared<const KVBlock>(KVBlock{std::move(cache), {5}, {}, 0, 1}));
    each_position(kept->cache, {0, 1}, [](std::size_t, std::size_t, std::size_t, const float* key, const float* value) {
        CHECK(key[0] == 65504);
        CHECK(value[1] == -65504);
        CHECK(key[2] == 0);
    });
}

TEST_CASE("a key or a value that is not finite stays so as int8, and the others are as they were") {
    ContiguousKVCache cache{{.layers = 1, .kv_heads = 1, .head_dim = 2, .positions = 2}};
    const std::vector<float> fine{127, -1};
    for (const float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
        const std::vector<float> row{1, bad};
        cache.write(0, 0, 0, row.data(), fine.data());
        cache.write(0, 0, 1, fine.data(), row.data());
        cache.commit(2);
        BlockStore store{{.element = BlockElement::int8}};
        const auto kept = store.keep(std::make_shared<const KVBlock>(KVBlock{cache.fork(), {5, 6}, {}, 0, 1}));
        const std::vector<KVRow> rows = rows_of(*kept);
        CHECK(rows[0].value == fine);
        CHECK(rows[1].key == fine);
        for (const float x : rows[0].key) CHECK(std::isnan(x));
        for (const float x : rows[1].value) CHECK(std::isnan(x));
    }
}

TEST_CASE("threads share a store") {
    for (const BlockElement kind : {BlockElement::as_evaluated, BlockElement::int8}) {
        BlockStore store{{.budget = 5 * BlockStore::bytes_of(shape, kind), .element = kind}};
        std::atomic<std::size_t> wrong = 0;
        std::vector<std::thread> threads;
        for (std::size_t t = 0; t < 4; ++t) {
            threads.emplace_back([&, t] {
                SplitMix64 random{t};
                for (int i = 0; i < 300; ++i) {
                    const auto first = static_cast<TokenId>(1 + random.below(9));
                    auto found = find(store, first);
                    if (!found) found = store.keep(block(first));
                    if (found->tokens[0] != first || rows_of(*found).size() != 18) ++wrong;
                    if (i % 7 == 0) store.pin(key_of({1, 8, 9}));
                    if (i % 7 == 3) store.unpin(key_of({1, 8, 9}));
                    if (store.counts().bytes > store.options().budget) ++wrong;
                }
            });
        }
        for (std::thread& thread : threads) thread.join();
        CHECK(wrong == 0);
        const BlockStoreCounts counts = store.counts();
        CHECK(counts.hits + counts.misses == 1200);
        CHECK(counts.hits > 100);
        CHECK(counts.evictions > 0);
    }
}

}  // namespace test_kv_block_store
