// flashback quantize: what comes out is checked with the reader, against values that are computed here.
#include "cli/tool.hpp"
#include "flashback/format/gguf.hpp"
#include "flashback/tensor/blocks.hpp"
#include "flashback/tensor/dequantize.hpp"
#include "support/gguf_bytes.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace fb = flashback;
using namespace flashback_test;
using nlohmann::json;

namespace {

struct Kind {
    const char* name;
    fb::DType type;
    std::uint64_t file_type;
};
constexpr Kind kinds[] = {{"f32", fb::DType::f32, 0},
                          {"f16", fb::DType::f16, 1},
                          {"bf16", fb::DType::bf16, 32},
                          {"q8_0", fb::DType::q8_0, 7},
                          {"q4_0", fb::DType::q4_0, 2}};

json quantize(const std::string& in, const std::string& out, const std::string& dtype, std::vector<std::string> more = {}) {
    std::vector<std::string> arguments{"quantize", in, out, "--dtype", dtype};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return tool_json(arguments);
}

std::string bytes_in(const std::string& path) {
    std::ifstream file{path, std::ios::binary};
    return {std::istreambuf_iterator<char>{file}, {}};
}

std::vector<float> values(const fb::GgufTensor& tensor) {
    const fb::DTypeLayout layout = fb::layout_of(tensor.type);
    std::vector<float> floats(tensor.data.size() / layout.block_bytes * layout.block_elements);
    fb::dequantize(tensor.type, tensor.data.data(), floats.size(), floats.data());
    return floats;
}

/// How far element i of a tensor may be from what it was made of.
double bound(const fb::GgufTensor& tensor, std::size_t i, float original) {
    const auto scale = [&](std::size_t block_bytes) {
        std::uint16_t d = 0;
        std::memcpy(&d, tensor.data.data() + i / 32 * block_bytes, sizeof d);
        return std::fabs(double{fb::half_to_float(d)});
    };
    // Half a step, and what the scale lost as a binary16 number, which counts up to 127 or 8 times.
    if (tensor.type == fb::DType::q8_0) return scale(sizeof(fb::BlockQ8_0)) * (0.5 + 127 * 0x1p-11);
    if (tensor.type == fb::DType::q4_0) {
        fb::BlockQ4_0 block;
        std::memcpy(&block, tensor.data.data() + i / 32 * sizeof block, sizeof block);
        const int level = i % 32 < 16 ? block.q[i % 16] & 15 : block.q[i % 16] >> 4;
        // The last level stands for all that lies beyond it too, up to 8 steps from the middle.
        return scale(sizeof block) * ((level == 15 ? 1.0 : 0.5) + 8 * 0x1p-11);
    }
    const double magnitude = std::fabs(double{original});
    if (tensor.type == fb::DType::f16) return std::max(magnitude * 0x1p-11, 0x1p-25);
    if (tensor.type == fb::DType::bf16) return magnitude * 0x1p-8;
    return 0;
}

/// A model in miniature: a matrix whose rows are whole blocks, one whose rows are not, one of three dimensions, a vector.
GgufBytes miniature() {
    const auto ramp = [](std::size_t count) {
        std::vector<float> floats;
        for (std::size_t i = 0; i < count; ++i) floats.push_back(static_cast<float>(i) * 0.25f - 3);
        return floats;
    };
    GgufBytes w;
    w.set("general.architecture", "llama").set<std::uint32_t>("general.file_type", 99).set("key", 0.1f);
    w.add_tensor<float>("whole.weight", {64, 3}, fb::DType::f32, ramp(192));
    w.add_tensor<float>("odd.weight", {33, 2}, fb::DType::f32, ramp(66));
    w.add_tensor<float>("experts.weight", {32, 2, 2}, fb::DType::f32, ramp(128));
    w.add_tensor<std::uint16_t>("norm.weight", {33}, fb::DType::f16, std::vector<std::uint16_t>(33, 0x3e00));
    return w;
}

}  // namespace

TEST_CASE("quantize: the default model in every type") {
    const TemporaryFolder folder;
    const fb::GgufFile source = fb::GgufFile::open(FLASHBACK_TEST_MODEL);
    for (const Kind& kind : kinds) {
        CAPTURE(kind.name);
        const std::string out = (folder.path() / kind.name).string();
        const json result = quantize(FLASHBACK_TEST_MODEL, out, kind.name);
        const fb::GgufFile file = fb::GgufFile::open(out);
        CHECK(file.integer("general.file_type") == kind.file_type);
        CHECK(file.integer("general.quantization_version") == 2);
        for (std::size_t i = 0; i < source.metadata().size(); ++i) {
            const std::string key{source.metadata()[i].first};
            CAPTURE(key);
            if (key == "general.file_type" || key == "general.quantization_version") continue;
            CHECK(file.metadata()[i].first == key);
            CHECK(std::ranges::equal(file.raw_metadata()[i], source.raw_metadata()[i]));
        }
        REQUIRE(file.tensors().size() == source.tensors().size());
        std::uint64_t bytes = 0;
        for (std::size_t t = 0; t < file.tensors().size(); ++t) {
            const fb::GgufTensor& before = source.tensors()[t];
            const fb::GgufTensor& after = file.tensors()[t];
            CAPTURE(before.name);
            CHECK(after.name == before.name);
            CHECK(after.rank == before.rank);
            CHECK(after.dims == before.dims);
            CHECK(after.type == (before.rank == 1 ? fb::DType::f32 : kind.type));
            bytes += after.data.size();
            const std::vector<float> expected = values(before);
            const std::vector<float> found = values(after);
            REQUIRE(found.size() == expected.size());
            int wrong = 0;
            for (std::size_t i = 0; i < found.size(); ++i)
                wrong += !(std::fabs(double{found[i]} - double{expected[i]}) <= bound(after, i, expected[i]));
            CHECK(wrong == 0);
        }
        CHECK(result["dtype"] == kind.name);
        CHECK(result["before"]["file"] == FLASHBACK_TEST_MODEL);
        CHECK(result["before"]["bytes"] == std::filesystem::file_size(FLASHBACK_TEST_MODEL));
        CHECK(result["before"]["types"]["F16"]["tensors"] == 43);
        CHECK(result["after"]["file"] == out);
        CHECK(result["after"]["bytes"] == std::filesystem::file_size(out));
        const json inspected = tool_json({"inspect", "--model", out});
        CHECK(inspected["weights"]["bytes"] == bytes);
        for (const auto& [type, sums] : inspected["weights"]["types"].items()) {
            CHECK(result["after"]["types"][type]["tensors"] == sums["tensors"]);
            CHECK(result["after"]["types"][type]["bytes"] == sums["bytes"]);
        }
        CHECK(result["kept_as_f16"].empty());
    }
}

TEST_CASE("quantize: reading blocks and writing them again gives the same file, with any number of threads") {
    const TemporaryFolder folder;
    const auto path = [&](const char* name) { return (folder.path() / name).string(); };
    for (const char* dtype : {"f16", "bf16", "q8_0", "q4_0"}) {
        CAPTURE(dtype);
        quantize(FLASHBACK_TEST_MODEL, path("once"), dtype, {"--force", "--threads", "1"});
        quantize(path("once"), path("f32"), "f32", {"--force", "--threads", "3"});
        quantize(path("f32"), path("twice"), dtype, {"--force", "--threads", "3"});
        CHECK((bytes_in(path("twice")) == bytes_in(path("once"))));
        quantize(path("once"), path("same"), dtype, {"--force"});  // a type that is there already is copied
        CHECK((bytes_in(path("same")) == bytes_in(path("once"))));
    }
}

TEST_CASE("quantize: rows that are no whole blocks become f16 and are named, vectors become f32") {
    const TemporaryFolder folder;
    const std::string in = folder.write("in.gguf", miniature().bytes());
    const std::string out = (folder.path() / "out.gguf").string();
    const Result result = tool({"quantize", in, out, "--dtype", "q4_0", "--json"});
    CHECK(result.status == 0);
    CHECK(result.err == "flashback: tensor odd.weight has rows of 33 elements, not a multiple of 32, and is stored as F16\n");
    CHECK(json::parse(result.out)["kept_as_f16"] == json({"odd.weight"}));
    const fb::GgufFile file = fb::GgufFile::open(out);
    CHECK(file.tensor("whole.weight")->type == fb::DType::q4_0);
    CHECK(file.tensor("experts.weight")->type == fb::DType::q4_0);
    CHECK(file.tensor("experts.weight")->rank == 3);
    REQUIRE(file.tensor("odd.weight")->type == fb::DType::f16);
    CHECK(values(*file.tensor("odd.weight"))[65] == 65 * 0.25f - 3);
    REQUIRE(file.tensor("norm.weight")->type == fb::DType::f32);
    CHECK(values(*file.tensor("norm.weight")) == std::vector<float>(33, 1.5f));
    CHECK(file.metadata()[1].first == "general.file_type");  // replaced where it stood
    CHECK(file.integer("general.file_type") == 2);

    const Result text = tool({"quantize", in, out, "--dtype", "bf16", "--force"});
    CHECK(text.err.empty());  // bf16 has no blocks
    CHECK(text.out.find("BF16  3 tensors") != std::string::npos);
    CHECK(text.out.find("before  " + in) != std::string::npos);
    CHECK(std::distance(std::filesystem::directory_iterator{folder.path()}, {}) == 2);  // nothing temporary is left
}

TEST_CASE("quantize: every type that can be read is a source") {
    const TemporaryFolder folder;
    const std::string out = (folder.path() / "out.gguf").string();
    for (std::uint32_t n = 0; n < 64; ++n) {
        const auto type = static_cast<fb::DType>(n);
        if (!fb::can_dequantize(type)) continue;
        const fb::DTypeLayout layout = fb::layout_of(type);
        CAPTURE(layout.name);
        // 0x1111 and 0x11111111 are small in each type, so that all scales are.
        const std::vector<std::uint8_t> bytes(512 / layout.block_elements * layout.block_bytes, 0x11);
        GgufBytes w;
        w.add_tensor<std::uint8_t>("w", {256, 2}, type, bytes);
        quantize(folder.write("in.gguf", w.bytes()), out, "f32", {"--force"});
        std::vector<float> expected(512);
        fb::dequantize(type, std::as_bytes(std::span{bytes}).data(), expected.size(), expected.data());
        CHECK(values(fb::GgufFile::open(out).tensors()[0]) == expected);
    }
}
