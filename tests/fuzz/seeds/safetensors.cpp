#include "fuzz/seeds.hpp"

#include "flashback/format/safetensors_writer.hpp"
#include "support/gguf_bytes.hpp"
#include "support/temporary_folder.hpp"

#include <array>

using namespace flashback;

namespace {

std::string written_safetensors() {
    const flashback_test::TemporaryFolder folder;
    const std::filesystem::path path = folder.path() / "written.safetensors";
    SafetensorsWriter writer{path};
    writer.set_metadata("format", "pt").add_tensor("a.weight", {2, 3}, DType::f32).add_tensor("none", {0}, DType::bf16);
    writer.add_tensor("b", {2}, DType::f16);
    writer.write(std::array<std::byte, 28>{});
    writer.finish();
    return flashback_test::bytes_of_file(path);
}

}  // namespace

FLASHBACK_FUZZ_SEEDS(safetensors) {
    const auto add = [&](const char* name, const std::string& header, std::size_t data) {
        seeds.push_back({name, flashback_test::gguf_string(header) + std::string(data, 'd')});
    };
    seeds.push_back({"written", written_safetensors()});
    seeds.push_back({"header_beyond_all_bounds", std::string(8, '\xff') + "{}"});
    seeds.push_back({"header_cut", flashback_test::bytes_of<std::uint64_t>(100) + "{}"});
    seeds.push_back({"seven_bytes", "1234567"});
    add("nothing", "{}", 0);
    add("spaces", "{}   ", 0);
    add("polyglot", "{}", 8);
    add("scalar", R"({"t":{"dtype":"F64","shape":[],"data_offsets":[0,8]}})", 8);
    add("many_types",
        R"({"a":{"dtype":"I8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"BOOL","shape":[1],"data_offsets":[1,2]},)"
        R"("c":{"dtype":"I64","shape":[1,1],"data_offsets":[2,10]},"d":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[10,12]}})",
        12);
    add("escapes",
        R"({"__metadata__":{"\u00e4\ud83d\ude00":"\"\\\/\b"},"\u0000":{"shape":[0],"data_offsets":[0,0],"dtype":"U8"}})", 0);
    for (const char* value : {"null", "true", "-1", "1.5", "1e400", "\"8\"", "{}", "[]", "18446744073709551615"}) {
        add((std::string{"shape_of_"} + std::to_string(seeds.size())).c_str(),
            std::string{R"({"t":{"dtype":"F32","shape":[)"} + value + R"(],"data_offsets":[0,8]}})", 8);
    }
    add("overlap",
        R"({"t":{"dtype":"U16","shape":[2],"data_offsets":[0,4]},"u":{"dtype":"U16","shape":[2],"data_offsets":[2,6]}})", 6);
    add("reversed", R"({"t":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", 8);
    add("three_offsets", R"({"t":{"dtype":"F32","shape":[2],"data_offsets":[0,4,8]}})", 8);
    add("wraps", R"({"t":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}})", 8);
    add("twice", R"({"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"t":1})", 8);
    add("field_twice", R"({"t":{"dtype":"F32","dtype":"F32"}})", 8);
    add("unknown_field", R"({"t":{"dtype":"F32","strides":[1]}})", 8);
    add("unknown_type", R"({"t":{"dtype":"F4","shape":[16],"data_offsets":[0,8]}})", 8);
    add("lacks_a_field", R"({"t":{"dtype":"F32"}})", 8);
    add("metadata_no_text", R"({"__metadata__":{"a":1}})", 0);
    add("deep", R"({"t":)" + std::string(1000, '['), 0);
    add("number_outside", "{1}", 0);
    add("no_utf8", "{\"\xff\":1}", 0);
}
