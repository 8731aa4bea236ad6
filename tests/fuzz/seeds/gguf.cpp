#include "fuzz/seeds.hpp"

#include "flashback/format/gguf_writer.hpp"
#include "support/gguf_bytes.hpp"
#include "support/temporary_folder.hpp"

#include <limits>

using namespace flashback;
using flashback_test::bytes_of;
using flashback_test::GgufBytes;

namespace {

std::string written_gguf() {
    const flashback_test::TemporaryFolder folder;
    const std::filesystem::path path = folder.path() / "written.gguf";
    GgufWriter writer{path};
    writer.set("general.architecture", "llama")
        .set("llama.block_count", 2u)
        .set("llama.real", 0.5f)
        .set("general.alignment", 8u);
    writer.add_tensor("first", std::array<std::uint64_t, 1>{32}, DType::q8_0);
    writer.add_tensor("second", std::array<std::uint64_t, 2>{1, 2}, DType::f32);
    writer.write(std::array<std::byte, 34>{});
    writer.write(std::array<std::byte, 8>{});
    writer.finish();
    return flashback_test::bytes_of_file(path);
}

GgufBytes gguf_of_all_types() {
    GgufBytes w;
    w.set("general.architecture", "llama").set("text", "a text").set("flag", true);
    w.set<std::uint8_t>("u8", 1).set<std::int8_t>("i8", -1).set<std::uint16_t>("u16", 1).set<std::int16_t>("i16", -1);
    w.set<std::uint32_t>("u32", 1).set<std::int32_t>("i32", -1).set<std::uint64_t>("u64", 1).set<std::int64_t>("i64", 1);
    w.set("f32", 1.5f).set("f64", 2.5);
    w.set_array<std::string>("words", {"one", "", "three"}).set_array<bool>("flags", {true, false});
    w.set_array<float>("reals", {1, 2}).set_array<std::int32_t>("ids", {1, -2}).set_array<std::uint32_t>("counts", {3});
    w.set_array<double>("doubles", {1}).set_array<std::uint8_t>("bytes", {1, 2, 3});
    w.add_tensor<float>("a", {3, 2}, DType::f32, {1, 2, 3, 4, 5, 6});
    w.add_tensor<std::uint16_t>("b", {4, 1, 1, 1}, DType::f16, {1, 2, 3, 4});
    return w;
}

}  // namespace

FLASHBACK_FUZZ_SEEDS(gguf) {
    constexpr std::uint64_t most = std::numeric_limits<std::int64_t>::max();
    const auto add = [&](const char* name, const GgufBytes& file) { seeds.push_back({name, file.bytes()}); };
    seeds.push_back({"empty", ""});
    seeds.push_back({"written", written_gguf()});
    add("all_types", gguf_of_all_types());
    GgufBytes w;
    add("nothing", w);
    w.version = 2;
    add("version_2", w);
    w.version = 0x03000000;
    add("big_endian", w);
    w = gguf_of_all_types();
    w.set<std::uint16_t>("split.count", 3).set<std::uint16_t>("split.no", 1);
    add("split", w);
    w = gguf_of_all_types();
    w.set<std::uint32_t>("general.alignment", 3);
    add("alignment", w);
    w = gguf_of_all_types();
    w.tensor_count = most;
    add("tensor_count", w);
    w = gguf_of_all_types();
    w.entry_count = most;
    add("entry_count", w);
    w = gguf_of_all_types();
    w.add("nested", 9, bytes_of<std::uint32_t>(9) + bytes_of<std::uint64_t>(1) + bytes_of<std::uint32_t>(0));
    add("array_of_arrays", w);
    w = gguf_of_all_types();
    w.add("long", 9, bytes_of<std::uint32_t>(8) + bytes_of<std::uint64_t>(1ull << 40));
    add("many_strings", w);
    w = gguf_of_all_types();
    w.tensors.push_back({"wraps", {most, 2}, 0, ""});
    add("dimensions_wrap", w);
    w = gguf_of_all_types();
    w.tensor("b").offset = 64;
    add("gap", w);
    w = gguf_of_all_types();
    w.tensors.push_back({"a", {1}, 0, "abcd"});
    add("twice", w);
    w = gguf_of_all_types();
    w.tensors.push_back({"kind", {32}, 36, "abcd"});
    add("removed_type", w);
    w = gguf_of_all_types();
    w.add("odd", 7, "\x02");
    add("bool_of_2", w);
    w = gguf_of_all_types();
    w.add("flag", 0, "a");
    add("key_twice", w);
    w = gguf_of_all_types();
    w.add("", 0, "a");
    add("empty_key", w);
    w = gguf_of_all_types();
    w.set<std::uint8_t>("\x1b[2J", 1);
    add("key_is_no_ascii", w);
    w = gguf_of_all_types();
    w.tensors.push_back({"", {1}, 0, "abcd"});
    add("empty_name", w);
    w = gguf_of_all_types();
    w.tensors.push_back({"blocks", {33}, 8, "abcd"});
    add("part_of_a_block", w);
    w = gguf_of_all_types();
    w.tensors.push_back({"long", {1000}, 0, "abcd"});
    add("cut", w);
    // Many entries and a long architecture: what is done for each entry must not cost as much as the architecture is long.
    w = GgufBytes{};
    w.set("general.architecture", std::string(2000, 'a').c_str());
    for (int i = 0; i < 100; ++i) w.set<std::uint8_t>("k" + std::to_string(i), 1);
    add("long_architecture", w);
}
