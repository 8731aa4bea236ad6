#include "fuzz/seeds.hpp"

#include "flashback/kv/block_file_writer.hpp"
#include "support/block_file_bytes.hpp"
#include "support/kv_blocks.hpp"
#include "support/temporary_folder.hpp"

#include <limits>

using namespace flashback;
using flashback_test::BlockFileBytes;

namespace {

std::string written_blocks(BlockElement element, DType type) {
    const flashback_test::TemporaryFolder folder;
    const std::filesystem::path path = folder.path() / "written.kv";
    BlockFileWriter writer{path, element};
    const KVShape shape{.layers = 1, .kv_heads = 2, .head_dim = 3, .element = type};
    for (const TokenBuffer& tokens : {TokenBuffer{5}, TokenBuffer{6}, TokenBuffer{6, 7}})
        writer.add(*flashback_test::random_kv_block(tokens, shape));
    writer.finish();
    return flashback_test::bytes_of_file(path);
}

}  // namespace

FLASHBACK_FUZZ_SEEDS(block_file) {
    static constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
    seeds.push_back({"empty", ""});
    seeds.push_back({"f32", written_blocks(BlockElement::as_evaluated, DType::f32)});
    seeds.push_back({"bf16", written_blocks(BlockElement::as_evaluated, DType::bf16)});
    seeds.push_back({"f16", written_blocks(BlockElement::f16, DType::f32)});
    seeds.push_back({"int8", written_blocks(BlockElement::int8, DType::f32)});
    const auto add = [&](const char* name, const auto& change) {
        BlockFileBytes w;
        w.add({5}, std::string(16, '\1'));
        w.add({6}, std::string(16, '\2'));
        change(w);
        seeds.push_back({name, w.bytes()});
    };
    add("other_model", [](auto& w) { w.fingerprint = 78; });
    add("version", [](auto& w) { w.version = 2; });
    add("directory", [](auto& w) { w.directory_bytes = most; });
    add("element", [](auto& w) { w.element = 3; });
    add("type", [](auto& w) { w.type = 8; });
    add("no_layers", [](auto& w) { w.layers = 0; });
    add("wide", [](auto& w) { w.layers = w.kv_heads = w.head_dim = std::uint64_t{1} << 20; });
    add("head", [](auto& w) { w.seen_count = most; });
    add("part_of_an_entry", [](auto& w) { w.behind_entries = "x"; });
    add("order", [](auto& w) { std::swap(w.entries[0], w.entries[1]); });
    add("place", [](auto& w) { w.entries[0].place = most; });
    add("tokens", [](auto& w) { w.entries[0].tokens = most; });
    add("no_tokens", [](auto& w) { w.entries[0].tokens = 0; });
    add("damaged", [](auto& w) { ++w.blocks[20]; });
    add("magic", [](auto& w) { w.magic = "FBBLOCKZ"; });
    seeds.push_back({"short", "FBBLOCKS" + flashback_test::bytes_of<std::uint64_t>(1)});
    // One number for each key and each value, so that unpacking takes the most memory for each byte.
    BlockFileBytes w{.element = 2, .head_dim = 1};
    w.add({5}, std::string(10, '\1'));
    seeds.push_back({"narrow", w.bytes()});
    w = BlockFileBytes{.element = 2, .head_dim = 1};
    w.add({5}, std::string(10, '\1'));
    const std::uint64_t hash = w.entries[0].hash;
    w = BlockFileBytes{.element = 2, .head_dim = 1};
    w.add({6}, std::string(10, '\1'));
    w.entries[0].hash = hash;
    seeds.push_back({"forged_hash", w.bytes()});
}
