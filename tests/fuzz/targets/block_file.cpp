#include "fuzz/target.hpp"

#include "flashback/kv/block_file.hpp"
#include "flashback/kv/block_store.hpp"
#include "flashback/kv/contiguous_kv_cache.hpp"

#include <memory>

using namespace flashback;
using flashback_test::fuzz_check;

// A cache has room for whole tiles of 64 positions in f32, and a file may keep one in 9 bytes for a key and a value of one number.
FLASHBACK_FUZZ_TARGET(block_file, .per_byte = 512, .constant = 32768) {
    const auto file = std::make_shared<const BlockFile>(BlockFile::view(bytes, "fuzz.kv"));
    const BlockFileHeader& header = file->header();
    BlockStore store{{.budget = 0, .element = header.element}, file};
    std::size_t found = 0;
    for (TokenId token = 5; token < 8; ++token) {
        const TokenBuffer tokens{token};
        const auto block = store.find({header.fingerprint, header.seen, header.first_position, tokens});
        if (!block) continue;
        ++found;
        const KVTile tile = block->cache.tile(header.shape.layers - 1, header.shape.kv_heads - 1, 0);
        flashback_test::touch({tile.keys, header.shape.head_dim * layout_of(header.shape.element).block_bytes});
        fuzz_check(block->tokens == tokens, "a block is found by its tokens");
    }
    fuzz_check(found <= file->size(), "no block is found twice");
    flashback_test::of_anything([&] { file->check_session(header.fingerprint, {.layers = 1, .kv_heads = 1, .head_dim = 2}); });
    flashback_test::of_anything([&] { file->check_session(77, header.shape); });
}
