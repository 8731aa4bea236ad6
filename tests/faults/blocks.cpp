// Stores and files of blocks, while memory or a file fails: what was is what is, and nothing is left behind.
#include "flashback/kv/block_file.hpp"
#include "flashback/kv/block_file_writer.hpp"
#include "flashback/kv/block_store.hpp"
#include "support/faults.hpp"
#include "support/kv_blocks.hpp"
#include "support/temporary_folder.hpp"

#include <cstddef>
#include <filesystem>
#include <iterator>
#include <memory>
#include <utility>

#include <doctest/doctest.h>

using namespace flashback;
using namespace flashback_test;

namespace {

constexpr KVShape shape{.layers = 1, .kv_heads = 1, .head_dim = 4};

BlockStore::Handle block(TokenId token) { return random_kv_block({token}, shape); }

bool holds(BlockStore& store, TokenId token) {
    const TokenBuffer head{1};
    const TokenBuffer tokens{token};
    return store.find({77, head, 1, tokens}) != nullptr;
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

TEST_CASE("faults: a file of blocks is written whole, or what was there stays and nothing else is left") {
    const TemporaryFolder folder;
    const auto path = folder.path() / "blocks.kv";
    const auto write = [&](TokenId token) {
        BlockFileWriter writer{path};
        writer.add(*block(token));
        writer.add(*block(token + 1));
        writer.finish();
    };
    const auto has = [&](TokenId token) {
        const TokenBuffer head{1};
        const TokenBuffer tokens{token};
        return BlockFile::open(path).find({77, head, 1, tokens}).has_value();
    };
    for (const Fault fault : {Fault::allocation, Fault::file, Fault::less, Fault::interrupted}) {
        with_each_fault(
            fault,
            [&] {
                write(1);
                return 0;
            },
            [&](int) { write(5); },
            [&](int) {
                CHECK(has(1) != has(5));  // the last call makes sure of the folder: then the new file is there
                CHECK(std::distance(std::filesystem::directory_iterator{folder.path()}, {}) == 1);
            });
    }
}

TEST_CASE("faults: a file of blocks is read, or nothing is left, and the store behind which it stands goes on") {
    const TemporaryFolder folder;
    const auto path = folder.path() / "blocks.kv";
    BlockFileWriter writer{path, BlockElement::int8};
    writer.add(*block(3));
    writer.finish();
    for (const FileAccess access : {FileAccess::map, FileAccess::copy}) {
        for (const Fault fault : {Fault::allocation, Fault::file, Fault::end_of_file, Fault::less, Fault::interrupted}) {
            with_each_fault(fault, [&] {
                if (BlockFile::open(path, access).size() != 1) FAIL_CHECK("read wrongly");
            });
        }
    }
    const auto file = std::make_shared<const BlockFile>(BlockFile::open(path));
    with_each_fault(
        Fault::allocation, [&] { return std::make_unique<BlockStore>(BlockStoreOptions{.element = BlockElement::int8}, file); },
        [](auto& store) {
            if (!holds(*store, 3)) FAIL_CHECK("read wrongly");
        },
        [](auto& store) {
            CHECK(store->counts().blocks == 0);
            CHECK(holds(*store, 3));
            CHECK(store->counts().blocks == 1);
        });
}
