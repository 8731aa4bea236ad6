// A model that is written and loaded again is the model that it was, as its type has it.
#include "flashback/files/write_model.hpp"
#include "flashback/tensor/dequantize.hpp"

#include "flashback/files/load.hpp"
#include "flashback/model/session.hpp"
#include "support/errors.hpp"
#include "support/random_model.hpp"
#include "support/temporary_folder.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;
using namespace flashback_test;

namespace {

/// Whose vocabulary the models here have.
const GgufFile& tokenizer_file() {
    static const GgufFile file = GgufFile::open(FLASHBACK_TEST_MODEL);
    return file;
}

std::shared_ptr<Transformer> some_model(bool tied, DType type = DType::f32) {
    return std::const_pointer_cast<Transformer>(random_model({.width = 32,
                                                              .hidden = 64,
                                                              .vocab = load_tokenizer(tokenizer_file()).size(),
                                                              .window = 96,
                                                              .tied = tied,
                                                              .type = type}));
}

std::vector<float> logits_of(const std::shared_ptr<const Transformer>& model) {
    Session session{model, {.cache = DType::f32}};
    constexpr std::array<TokenId, 5> tokens{1, 500, 19, 4000, 7};
    const auto logits = session.evaluate_all(tokens);
    return {logits.begin(), logits.end()};
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
    return std::ranges::equal(std::as_bytes(std::span{a}), std::as_bytes(std::span{b}));
}

std::string bytes_in(const std::filesystem::path& path) {
    std::ifstream file{path, std::ios::binary};
    return {std::istreambuf_iterator<char>{file}, {}};
}

}  // namespace

TEST_CASE("A model of floats comes back to the bit, with its shape, its tokenizer and its EOS") {
    const TemporaryFolder folder;
    const auto path = folder.path() / "model.gguf";
    for (const bool tied : {true, false}) {
        CAPTURE(tied);
        const auto model = some_model(tied);
        model->config.rotary_dim = 4;
        model->config.rotary_base = 5000;
        model->config.name = "a name";
        model->rotary_frequencies = rotary_frequencies_of(model->config);
        write_model(path, *model, tokenizer_file(), DType::f32);
        const auto loaded = load_model(path);
        CHECK(fingerprint(*loaded) == fingerprint(*model));
        const TransformerConfig& a = loaded->config;
        const TransformerConfig& b = model->config;
        CHECK(a.name == b.name);
        CHECK(a.vocab == b.vocab);
        CHECK(a.window == b.window);
        CHECK(a.layers == b.layers);
        CHECK(a.width == b.width);
        CHECK(a.heads == b.heads);
        CHECK(a.kv_heads == b.kv_heads);
        CHECK(a.head_dim == b.head_dim);
        CHECK(a.rotary_dim == b.rotary_dim);
        CHECK(a.rotary_base == b.rotary_base);
        CHECK(a.hidden == b.hidden);
        CHECK(a.norm_epsilon == b.norm_epsilon);
        CHECK(loaded->head.has_value() == !tied);
        CHECK(loaded->text_head == TokenBuffer{1});
        REQUIRE_FALSE(loaded->text_ends.empty());
        CHECK(loaded->text_ends.front() == 2);  // of the model; the file of the tokenizer may name another
        CHECK(same_bits(logits_of(loaded), logits_of(model)));
        CHECK(load_tokenizer(path).vocabulary().pieces == load_tokenizer(tokenizer_file()).vocabulary().pieces);
        CHECK(load_tokenizer(path).vocabulary().eos == 2);
    }
}

TEST_CASE("Each type rounds rows of matrices as quantize does, and leaves norms alone") {
    const TemporaryFolder folder;
    const auto path = folder.path() / "model.gguf";
    const auto model = some_model(false);
    struct Expected {
        DType type;
        std::uint64_t number;
    };
    for (const Expected& expected : {Expected{DType::f32, 0}, Expected{DType::f16, 1}, Expected{DType::q4_0, 2},
                                     Expected{DType::q8_0, 7}, Expected{DType::bf16, 32}}) {
        const DType type = expected.type;
        CAPTURE(layout_of(type).name);
        write_model(path, *model, tokenizer_file(), type);
        CHECK(GgufFile::open(path).integer("general.file_type") == expected.number);
        const auto loaded = load_model(path);
        const auto check_matrix = [&](const simd::PackedMatrix& written, const simd::PackedMatrix& original) {
            CHECK(written.type() == type);
            const DTypeLayout layout = layout_of(type);
            std::vector<float> wanted(original.inputs());
            std::vector<float> found(original.inputs());
            std::vector<std::byte> bytes(original.inputs() / layout.block_elements * layout.block_bytes);
            for (std::size_t o = 0; o < original.outputs(); o += 1 + original.outputs() / 10) {
                original.row(o, wanted.data());
                quantize(type, wanted.data(), wanted.size(), bytes.data());
                dequantize(type, bytes.data(), wanted.size(), wanted.data());
                written.row(o, found.data());
                CHECK(same_bits(found, wanted));
            }
        };
        check_matrix(loaded->embedding, model->embedding);
        check_matrix(*loaded->head, *model->head);
        for (std::size_t l = 0; l < model->layers.size(); ++l) {
            const TransformerLayer& a = loaded->layers[l];
            const TransformerLayer& b = model->layers[l];
            check_matrix(a.q, b.q);
            check_matrix(a.k, b.k);
            check_matrix(a.v, b.v);
            check_matrix(a.output, b.output);
            check_matrix(a.gate, b.gate);
            check_matrix(a.up, b.up);
            check_matrix(a.down, b.down);
            CHECK(a.attention_norm == b.attention_norm);
            CHECK(a.ffn_norm == b.ffn_norm);
        }
        CHECK(loaded->output_norm == model->output_norm);
    }
}

TEST_CASE("Weights of another type are written as what they stand for") {
    const TemporaryFolder folder;
    const auto first = folder.path() / "first.gguf";
    const auto second = folder.path() / "second.gguf";
    const auto model = some_model(true, DType::q8_0);
    write_model(first, *model, tokenizer_file(), DType::f32);
    write_model(second, *load_model(first), tokenizer_file(), DType::q8_0);
    CHECK(fingerprint(*load_model(second)) == fingerprint(*model));  // blocks of Q8_0 are what they stand for
}

TEST_CASE("Rows that are no whole blocks are written as f16") {
    const TemporaryFolder folder;
    const auto path = folder.path() / "model.gguf";
    const auto narrow = random_model({.layers = 1, .width = 24, .heads = 2, .kv_heads = 2, .head_dim = 12, .hidden = 32});
    write_model(path, *narrow, nullptr, DType::q8_0);
    const GgufFile file = GgufFile::open(path);
    for (const GgufTensor& tensor : file.tensors()) {
        CAPTURE(tensor.name);
        if (tensor.rank == 2) CHECK(tensor.type == (tensor.dims[0] == 32 ? DType::q8_0 : DType::f16));
    }
    const auto again = load_model(path);
    CHECK(again->layers[0].q.type() == DType::f16);
    CHECK(again->layers[0].down.type() == DType::q8_0);
    std::vector<float> before(24), after(24);
    narrow->layers[0].q.row(5, before.data());
    again->layers[0].q.row(5, after.data());
    for (std::size_t i = 0; i < 24; ++i) CHECK(after[i] == doctest::Approx(before[i]).epsilon(0.001));
}

TEST_CASE("What cannot be written is refused, and a file that was there stays") {
    const TemporaryFolder folder;
    const std::string path = folder.write("model.gguf", "as before");
    const auto refused = [&](ErrorCode code, const char* words, const Transformer& model, DType type) {
        check_error(code, words, [&] { write_model(path, model, tokenizer_file(), type); });
        CHECK(bytes_in(path) == "as before");
        CHECK(std::distance(std::filesystem::directory_iterator{folder.path()}, {}) == 1);
    };
    const auto model = some_model(true);
    refused(ErrorCode::unsupported, "a model cannot be written as Q4_K, expected F32, F16, BF16, Q8_0 or Q4_0", *model,
            DType::q4_k);
    const auto large = some_model(true);
    std::vector<float> row(32, 1e6f);
    large->layers[1].v.set_row(3, reinterpret_cast<const std::byte*>(row.data()));
    refused(ErrorCode::format, "a weight of blk.1.attn_v.weight is not a finite number as F16", *large, DType::f16);
    write_model(folder.path() / "large.gguf", *large, tokenizer_file(), DType::bf16);
    std::filesystem::remove(folder.path() / "large.gguf");

    const auto broken = some_model(true);
    broken->output_norm[7] = std::numeric_limits<float>::quiet_NaN();
    refused(ErrorCode::format, "a weight of output_norm.weight is not a finite number", *broken, DType::f32);
    check_error(ErrorCode::io, "nowhere/model.gguf': No such file",
                [&] { write_model(folder.path() / "nowhere/model.gguf", *model, tokenizer_file(), DType::f32); });
}
