// Files of blocks: what comes back, what is refused, and the store in front of them.
#include "flashback/kv/block_file.hpp"

#include "flashback/kv/block_file_writer.hpp"
#include "flashback/kv/block_store.hpp"
#include "support/block_file_bytes.hpp"
#include "support/errors.hpp"
#include "support/kv_blocks.hpp"
#include "support/temporary_folder.hpp"

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

namespace test_kv_block_file {

using namespace flashback;
using namespace flashback_test;

namespace {

constexpr std::array every_element{BlockElement::as_evaluated, BlockElement::f16, BlockElement::int8};
constexpr KVShape shape{.layers = 2, .kv_heads = 3, .head_dim = 5};

KVShape shape_of(DType type) {
    KVShape its = shape;
    its.element = type;
    return its;
}

/// Blocks of 1 to 70 tokens.
std::vector<BlockStore::Handle> some_blocks(DType type = DType::f32) {
    std::vector<BlockStore::Handle> blocks;
    for (const std::size_t length : {1u, 3u, 64u, 70u}) {
        TokenBuffer tokens(length, 9);
        tokens[0] = static_cast<TokenId>(length);
        blocks.push_back(random_kv_block(tokens, shape_of(type)));
    }
    return blocks;
}

std::filesystem::path written(const TemporaryFolder& folder, const std::vector<BlockStore::Handle>& blocks,
                              BlockElement element = BlockElement::as_evaluated) {
    const auto path = folder.path() / "blocks.kv";
    BlockFileWriter writer{path, element};
    for (const auto& block : blocks) CHECK(writer.add(*block));
    writer.finish();
    return path;
}

std::shared_ptr<const BlockFile> opened(const std::filesystem::path& path) {
    return std::make_shared<const BlockFile>(BlockFile::open(path));
}

std::string bytes_in(const std::filesystem::path& path) {
    std::ifstream file{path, std::ios::binary};
    return {std::istreambuf_iterator<char>{file}, {}};
}

/// Opens bytes as a file and looks for the blocks of tokens.
std::size_t found_in(const std::string& bytes, const std::vector<TokenBuffer>& blocks) {
    const BlockFile file = BlockFile::view(std::as_bytes(std::span{bytes}), "some.kv");
    std::size_t found = 0;
    for (const TokenBuffer& tokens : blocks)
        found += file.find({77, file.header().seen, file.header().first_position, tokens}).has_value();
    return found;
}

/// A key and a value of two numbers for each token, in f32.
BlockFileBytes small_file() {
    BlockFileBytes w;
    w.add({5}, bytes_of(1.0f) + bytes_of(2.0f) + bytes_of(3.0f) + bytes_of(4.0f));
    w.add({6, 7}, std::string(32, 'x'));
    return w;
}
const std::vector<TokenBuffer> small_blocks{{5}, {6, 7}};

}  // namespace

TEST_CASE("what is read from a file has the bits of what a store would keep of the evaluated block") {
    const TemporaryFolder folder;
    for (const BlockElement element : every_element) {
        for (const DType type : {DType::f32, DType::f16, DType::bf16, DType::i8}) {
            const auto blocks = some_blocks(type);
            const auto file = opened(written(folder, blocks, element));
            CHECK(file->size() == blocks.size());
            CHECK(file->header().fingerprint == 77);
            CHECK(file->header().shape == shape_of(type));
            CHECK(file->header().element == element);
            CHECK(file->header().seen == TokenBuffer{1});
            CHECK(file->header().first_position == 1);
            BlockStore store{{.element = element}, file};
            BlockStore without{{.element = element}};
            for (const auto& block : blocks) {
                const auto read = store.find(key_of(*block));
                REQUIRE(read != nullptr);
                const auto kept = without.keep(block);
                CHECK(rows_of(*read) == rows_of(*kept));
                CHECK(key_of(*read) == key_of(*block));
                CHECK(read->cache.shape() == block->cache.shape());
                CHECK(store.find(key_of(*block)) == read);  // and now from memory
            }
            CHECK(store.counts().reads == blocks.size());
            CHECK(store.counts().hits == blocks.size());
            CHECK(store.counts().misses == 0);
            CHECK(store.counts().bytes == without.counts().bytes);
        }
    }
}

TEST_CASE("the bytes of a file are those of the page, and a block is found by everything that it depends on") {
    const TemporaryFolder folder;
    const auto path = folder.path() / "small.kv";
    KVBlock block{ContiguousKVCache{{.layers = 1, .kv_heads = 1, .head_dim = 2, .positions = 1}}, {5}, {1}, 1, 77};
    const std::array<float, 4> numbers{1, 2, 3, 4};
    block.cache.write(0, 0, 0, numbers.data(), numbers.data() + 2);
    block.cache.commit(1);
    BlockFileBytes w;
    w.add({5}, bytes_of(1.0f) + bytes_of(2.0f) + bytes_of(3.0f) + bytes_of(4.0f));
    {
        BlockFileWriter writer{path};
        CHECK_FALSE(writer.holds(block.tokens));
        CHECK(writer.add(block));
        CHECK(writer.holds(block.tokens));
        CHECK_FALSE(writer.add(block));
        CHECK(writer.size() == 1);
        CHECK(writer.bytes() == 4 + 16);
        writer.finish();
    }
    CHECK(bytes_in(path) == w.bytes());
    w = BlockFileBytes{.element = 1};
    w.add({5}, bytes_of<std::uint16_t>(0x3c00) + bytes_of<std::uint16_t>(0x4000) + bytes_of<std::uint16_t>(0x4200) +
                   bytes_of<std::uint16_t>(0x4400));
    CHECK(bytes_in(written(folder, {std::make_shared<const KVBlock>(KVBlock{block.cache.fork(), {5}, {1}, 1, 77})},
                           BlockElement::f16)) == w.bytes());
    w = BlockFileBytes{.element = 2};
    // The steps are 2 / 127 and 4 / 127, rounded up to 16 bits; in them, 1 and 3 are nearly 63.5 and 95.25.
    w.add({5}, bytes_of<std::uint32_t>(0x3c810300) + '\x3f' + '\x7f' + bytes_of<std::uint32_t>(0x3d010300) + '\x5f' + '\x7f');
    CHECK(bytes_in(written(folder, {std::make_shared<const KVBlock>(KVBlock{block.cache.fork(), {5}, {1}, 1, 77})},
                           BlockElement::int8)) == w.bytes());

    const BlockFile file = BlockFile::open(path);
    const TokenBuffer head{1};
    const TokenBuffer tokens{5};
    const TokenBuffer others{6};
    const TokenBuffer more{5, 5};
    CHECK(file.find({77, head, 1, tokens}).has_value());
    CHECK_FALSE(file.find({78, head, 1, tokens}).has_value());
    CHECK_FALSE(file.find({77, {}, 1, tokens}).has_value());
    CHECK_FALSE(file.find({77, tokens, 1, tokens}).has_value());
    CHECK_FALSE(file.find({77, head, 2, tokens}).has_value());
    CHECK_FALSE(file.find({77, head, 1, others}).has_value());
    CHECK_FALSE(file.find({77, head, 1, more}).has_value());
    CHECK_FALSE(file.find({77, head, 1, {}}).has_value());

    // The hash finds, and the tokens decide.
    BlockFileBytes forged;
    forged.add({5}, std::string(16, 'x'));
    const std::uint64_t hash = forged.entries[0].hash;
    forged = BlockFileBytes{};
    forged.add({6}, std::string(16, 'x'));
    forged.entries[0].hash = hash;
    CHECK(found_in(forged.bytes(), {{5}}) == 0);
}

TEST_CASE("hostile: every changed bit of a file of blocks and every cut is noticed") {
    const std::string bytes = small_file().bytes();
    REQUIRE(found_in(bytes, small_blocks) == 2);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        CAPTURE(i);
        for (const int bit : {0, 7}) {
            std::string broken = bytes;
            broken[i] = static_cast<char>(broken[i] ^ (1 << bit));
            CHECK_THROWS_AS(static_cast<void>(found_in(broken, small_blocks)), Error);
        }
        CHECK_THROWS_AS(static_cast<void>(found_in(bytes.substr(0, i), small_blocks)), Error);
    }
    check_error(ErrorCode::format, "is damaged", [&] { found_in(bytes + '\0', small_blocks); });

    // A damaged block is noticed when it is read; the others are as they were.
    std::string broken = bytes;
    ++broken[16 + 4];
    CHECK(found_in(broken, {{6, 7}}) == 1);
    check_error(ErrorCode::format, "'some.kv' is damaged: a block does not give its checksum",
                [&] { found_in(broken, {{5}}); });
}

TEST_CASE("hostile: no number in a file of blocks is believed, even if the checksum is right") {
    constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
    const auto refused = [](ErrorCode code, std::string_view part, const BlockFileBytes& w) {
        check_error(code, part, [&] { found_in(w.bytes(), small_blocks); });
    };
    const auto with = [](const auto& change) {
        BlockFileBytes w = small_file();
        change(w);
        return w;
    };
    check_error(ErrorCode::format, "is no file of blocks", [] { found_in("", {}); });
    check_error(ErrorCode::format, "is no file of blocks", [] { found_in("FBBLOCKS", {}); });
    check_error(ErrorCode::format, "is damaged: it ends too early",
                [] { found_in("FBBLOCKS" + bytes_of<std::uint64_t>(1), {}); });
    refused(ErrorCode::format, "'some.kv' is no file of blocks", with([](auto& w) { w.magic = "FBBLOCKZ"; }));
    refused(ErrorCode::unsupported, "has version 2, expected 1", with([](auto& w) { w.version = 2; }));
    for (const std::uint64_t length : {std::uint64_t{0}, std::uint64_t{63}, std::uint64_t{1} << 40, most})
        refused(ErrorCode::format, "its directory does not fit into it", with([&](auto& w) { w.directory_bytes = length; }));
    refused(ErrorCode::format, "elements of no known kind", with([](auto& w) { w.element = 3; }));
    refused(ErrorCode::format, "elements of no known kind", with([](auto& w) { w.element = 256; }));
    for (const std::uint64_t type : {std::uint64_t{8}, std::uint64_t{28}, std::uint64_t{1} << 32})
        refused(ErrorCode::format, "caches of no known type", with([&](auto& w) { w.type = type; }));
    for (auto factor : {&BlockFileBytes::layers, &BlockFileBytes::kv_heads, &BlockFileBytes::head_dim}) {
        for (const std::uint64_t value : {std::uint64_t{0}, (std::uint64_t{1} << 20) + 1, std::uint64_t{1} << 63, most})
            refused(ErrorCode::format, "an impossible shape", with([&](auto& w) { w.*factor = value; }));
        refused(ErrorCode::format, "one of its blocks does not fit into it",
                with([&](auto& w) { w.*factor = std::uint64_t{1} << 20; }));
    }
    for (const std::uint64_t count : {std::uint64_t{1} << 40, std::uint64_t{1} << 62, most})
        refused(ErrorCode::format, "its head does not fit into it", with([&](auto& w) { w.seen_count = count; }));
    refused(ErrorCode::format, "no whole number of entries", with([](auto& w) { w.behind_entries = "x"; }));
    refused(ErrorCode::format, "no whole number of entries", with([](auto& w) { w.seen_count = 0; }));
    refused(ErrorCode::format, "not in order", with([](auto& w) { std::swap(w.entries[0], w.entries[1]); }));
    refused(ErrorCode::format, "not in order", with([](auto& w) { w.entries[0] = w.entries[1]; }));
    for (const std::uint64_t place : {std::uint64_t{0}, std::uint64_t{15}, std::uint64_t{16 + 41}, most})
        refused(ErrorCode::format, "does not fit into it", with([&](auto& w) { w.entries[0].place = place; }));
    for (const std::uint64_t tokens : {std::uint64_t{0}, std::uint64_t{4}, std::uint64_t{1} << 60, most})
        refused(ErrorCode::format, "does not fit into it", with([&](auto& w) { w.entries[0].tokens = tokens; }));
    CHECK(found_in(with([](auto& w) { w.first_position = most; }).bytes(), {}) == 0);
    CHECK(found_in(BlockFileBytes{.seen = {}}.bytes(), small_blocks) == 0);  // no head, no block
}

TEST_CASE("a file of another model, adapter or type of cache is refused, and the sentence names both") {
    const TemporaryFolder folder;
    const auto file = opened(written(folder, some_blocks()));
    KVShape window = shape;
    window.positions = 4096;
    CHECK_NOTHROW(file->check_session(77, window));
    check_error(ErrorCode::contract, "give the fingerprint 77, but this session has 78",
                [&] { file->check_session(78, window); });
    window.kv_heads = 4;
    check_error(ErrorCode::contract,
                "2 x 3 x 5 F32 (layers, heads of keys, their dimension), but this session has 2 x 4 x 5 F32",
                [&] { file->check_session(77, window); });
    check_error(ErrorCode::contract, "has blocks as-evaluated, but the store keeps them int8", [&] {
        BlockStore{{.element = BlockElement::int8}, file};
    });
}

TEST_CASE("a writer refuses blocks that differ from the first, and leaves nothing if it is not finished") {
    const TemporaryFolder folder;
    const auto path = folder.path() / "blocks.kv";
    {
        BlockFileWriter writer{path};
        check_error(ErrorCode::contract, "needs at least 1 block, found none", [&] { writer.finish(); });
        const auto first = random_kv_block({5, 6}, shape);
        writer.add(*first);
        const auto other = [&](TokenBuffer seen, std::size_t first_position, std::uint64_t fingerprint) {
            return KVBlock{first->cache.fork(), {7, 8}, std::move(seen), first_position, fingerprint};
        };
        const std::string_view part = "block 1 of a file has another fingerprint, head, first position or shape of cache";
        check_error(ErrorCode::contract, part, [&] { writer.add(other({2}, 1, 77)); });
        check_error(ErrorCode::contract, part, [&] { writer.add(other({1}, 2, 77)); });
        check_error(ErrorCode::contract, part, [&] { writer.add(other({1}, 1, 78)); });
        check_error(ErrorCode::contract, part, [&] { writer.add(*random_kv_block({7}, shape_of(DType::f16))); });
        CHECK(writer.add(other({1}, 1, 77)));
        CHECK(writer.size() == 2);
    }
    CHECK(std::filesystem::is_empty(folder.path()));
}

TEST_CASE("threads share a store with a file, also one that keeps nothing") {
    const TemporaryFolder folder;
    const auto blocks = some_blocks();
    for (const BlockElement element : every_element) {
        const auto file = opened(written(folder, blocks, element));
        for (const std::size_t budget : {std::size_t{0}, std::size_t{1} << 20}) {
            BlockStore store{{.budget = budget, .element = element}, file};
            std::atomic<std::size_t> wrong = 0;
            std::vector<std::thread> threads;
            for (std::size_t t = 0; t < 4; ++t) {
                threads.emplace_back([&, t] {
                    for (std::size_t i = 0; i < 40; ++i) {
                        const KVBlock& expected = *blocks[(i + t) % blocks.size()];
                        const auto found = store.find(key_of(expected));
                        if (!found || !(key_of(*found) == key_of(expected))) ++wrong;
                        if (element == BlockElement::as_evaluated && found && rows_of(*found) != rows_of(expected)) ++wrong;
                    }
                });
            }
            for (std::thread& thread : threads) thread.join();
            CHECK(wrong == 0);
            const BlockStoreCounts counts = store.counts();
            CHECK(counts.hits + counts.reads == 160);
            CHECK(counts.blocks == (budget == 0 ? 0 : blocks.size()));
            if (budget == 0) CHECK(counts.reads == 160);
            const TokenBuffer unknown{99};
            CHECK(store.find({77, blocks[0]->seen, 1, unknown}) == nullptr);
            CHECK(store.counts().misses == 1);
        }
    }
}

}  // namespace test_kv_block_file
