#include "flashback/files/load.hpp"
#include "flashback/format/gguf_fingerprint.hpp"

#include "flashback/model/session.hpp"
#include "support/errors.hpp"
#include "support/gguf_bytes.hpp"

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <doctest/doctest.h>

namespace test_files_load {

using namespace flashback;
using flashback_test::check_error;
using flashback_test::GgufBytes;
using flashback_test::view;

namespace {

constexpr std::uint64_t width = 8;
constexpr std::uint64_t vocab = 20;
constexpr std::uint64_t hidden = 8;

/// The halves of k / 64 for k in -64..64: exact.
std::uint16_t half_of(float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t sign = bits >> 16 & 0x8000;
    if (value == 0) return static_cast<std::uint16_t>(sign);
    return static_cast<std::uint16_t>(sign | ((bits >> 23 & 0xff) - 112) << 10 | (bits >> 13 & 0x3ff));
}

void add_matrix(GgufBytes& w, std::string_view name, std::vector<std::uint64_t> dims, DType type,
                const std::vector<float>& values) {
    if (type == DType::f32) {
        w.add_tensor<float>(name, std::move(dims), type, values);
        return;
    }
    std::vector<std::uint16_t> halves;
    for (const float value : values) halves.push_back(half_of(value));
    w.add_tensor<std::uint16_t>(name, std::move(dims), type, halves);
}

/// A Llama of one layer; its weights are multiples of 1/64 up to 1, the same for both types of matrices.
GgufBytes tiny_llama(DType type = DType::f32) {
    GgufBytes w;
    w.set("general.architecture", "llama").set("general.name", "tiny");
    w.set<std::uint32_t>("llama.context_length", 16).set<std::uint32_t>("llama.embedding_length", width);
    w.set<std::uint32_t>("llama.block_count", 1).set<std::uint32_t>("llama.feed_forward_length", hidden);
    w.set<std::uint32_t>("llama.attention.head_count", 2).set<std::uint32_t>("llama.attention.head_count_kv", 1);
    w.set<std::uint32_t>("llama.rope.dimension_count", 4).set("llama.attention.layer_norm_rms_epsilon", 1e-5f);
    std::vector<std::string> pieces{"<unk>", "<s>", "</s>"};
    std::vector<std::int32_t> kinds{2, 3, 3};
    while (pieces.size() < vocab) {
        pieces.emplace_back(1, static_cast<char>('a' + pieces.size()));
        kinds.push_back(1);
    }
    w.set("tokenizer.ggml.model", "llama").set_array("tokenizer.ggml.tokens", pieces);
    w.set_array("tokenizer.ggml.scores", std::vector<float>(vocab)).set_array("tokenizer.ggml.token_type", kinds);
    w.set<std::uint32_t>("tokenizer.ggml.bos_token_id", 1).set<std::uint32_t>("tokenizer.ggml.eos_token_id", 2);

    std::mt19937 random{5};
    const auto add = [&](const std::string& name, std::vector<std::uint64_t> dims) {
        std::size_t count = 1;
        for (const std::uint64_t dim : dims) count *= dim;
        std::vector<float> values(count);
        for (float& value : values) value = (static_cast<float>(random() % 129) - 64) / 64;
        add_matrix(w, name, dims, dims.size() == 1 ? DType::f32 : type, values);
    };
    add("token_embd.weight", {width, vocab});
    add("blk.0.attn_norm.weight", {width});
    add("blk.0.attn_q.weight", {width, width});
    add("blk.0.attn_k.weight", {width, 4});
    add("blk.0.attn_v.weight", {width, 4});
    add("blk.0.attn_output.weight", {width, width});
    add("blk.0.ffn_norm.weight", {width});
    add("blk.0.ffn_gate.weight", {width, hidden});
    add("blk.0.ffn_up.weight", {width, hidden});
    add("blk.0.ffn_down.weight", {hidden, width});
    add("output_norm.weight", {width});
    add("output.weight", {width, vocab});
    return w;
}

std::vector<float> logits_of(const GgufBytes& writer) {
    const std::string bytes = writer.bytes();
    Session session{load_model(view(bytes))};
    constexpr std::array<TokenId, 4> tokens{1, 5, 19, 7};
    const auto logits = session.evaluate(tokens);
    return {logits.begin(), logits.end()};
}

template <class Change>
void refuses(ErrorCode code, std::string_view part, const Change& change) {
    GgufBytes writer = tiny_llama();
    change(writer);
    const std::string bytes = writer.bytes();
    check_error(code, part, [&] { load_model(view(bytes)); });
}

template <class T>
void refuses_value(std::string_view key, T value, std::string_view part, ErrorCode code = ErrorCode::format) {
    refuses(code, part, [&](GgufBytes& w) { w.set(key, value); });
}

}  // namespace

TEST_CASE("a small model loads with all that the file says") {
    const std::string bytes = tiny_llama().bytes();
    const auto model = load_model(view(bytes));
    const TransformerConfig& c = model->config;
    CHECK(c.name == "tiny");
    CHECK(c.vocab == vocab);
    CHECK(c.window == 16);
    CHECK(c.layers == 1);
    CHECK(c.width == width);
    CHECK(c.heads == 2);
    CHECK(c.kv_heads == 1);
    CHECK(c.head_dim == 4);
    CHECK(c.rotary_dim == 4);
    CHECK(c.hidden == hidden);
    CHECK(c.rotary_base == 10000.0);
    CHECK(c.norm_epsilon == 1e-5f);
    CHECK(model->head.has_value());
    CHECK(model->text_head == std::vector<TokenId>{1});
    CHECK(model->is_end(2));
    CHECK_FALSE(model->is_end(1));
    CHECK(load_tokenizer(view(bytes)).size() == vocab);
    CHECK(model->fingerprint == fingerprint(view(bytes)));
}

TEST_CASE("keys that may be absent have defaults") {
    GgufBytes w = tiny_llama();
    w.erase("llama.rope.dimension_count").erase("general.name").erase("tokenizer.ggml.tokens");
    const std::string bytes = w.bytes();
    const auto model = load_model(view(bytes));
    CHECK(model->config.rotary_dim == 4);
    CHECK(model->config.name.empty());
    CHECK(model->text_head.empty());
}

TEST_CASE("F16 and F32 give the same logits to the bit if the weights are exact in F16") {
    const auto f32 = logits_of(tiny_llama(DType::f32));
    const auto f16 = logits_of(tiny_llama(DType::f16));
    REQUIRE(f32.size() == vocab);
    REQUIRE(f16.size() == vocab);
    CHECK(std::memcmp(f32.data(), f16.data(), vocab * sizeof(float)) == 0);
    for (const float logit : f32) CHECK(std::isfinite(logit));
    CHECK(f32[0] != f32[1]);
}

TEST_CASE("without attention and feed-forward the logits are head times normalised embedding") {
    GgufBytes w = tiny_llama();
    for (const char* name : {"blk.0.attn_output.weight", "blk.0.ffn_down.weight"}) {
        std::string& data = w.tensor(name).data;
        data.assign(data.size(), '\0');
    }
    const auto values = [&](std::string_view name) {
        const std::string& data = w.tensor(name).data;
        std::vector<float> out(data.size() / sizeof(float));
        std::memcpy(out.data(), data.data(), data.size());
        return out;
    };
    const auto embedding = values("token_embd.weight"), norm = values("output_norm.weight"), head = values("output.weight");
    constexpr std::size_t token = 7;
    double square = 0;
    for (std::size_t i = 0; i < width; ++i) square += std::pow(static_cast<double>(embedding[token * width + i]), 2);
    const double scale = 1 / std::sqrt(square / width + 1e-5);
    const auto logits = logits_of(w);
    for (std::size_t o = 0; o < vocab; ++o) {
        double expected = 0;
        for (std::size_t i = 0; i < width; ++i) {
            expected += static_cast<double>(head[o * width + i]) * embedding[token * width + i] * scale * norm[i];
        }
        CHECK(static_cast<double>(logits[o]) == doctest::Approx(expected).epsilon(1e-5));
    }
}

TEST_CASE("a model without a head of its own uses its embedding") {
    GgufBytes tied = tiny_llama();
    std::erase_if(tied.tensors, [](const auto& t) { return t.name == "output.weight"; });
    GgufBytes untied = tiny_llama();
    untied.tensor("output.weight").data = untied.tensor("token_embd.weight").data;
    CHECK(logits_of(tied) == logits_of(untied));
    CHECK(logits_of(tied) != logits_of(tiny_llama()));
}

TEST_CASE("each missing tensor is named") {
    for (const auto& tensor : tiny_llama().tensors) {
        if (tensor.name == "output.weight") continue;
        refuses(ErrorCode::format, "'test.gguf' lacks the tensor " + tensor.name,
                [&](GgufBytes& w) { std::erase_if(w.tensors, [&](const auto& t) { return t.name == tensor.name; }); });
    }
}

TEST_CASE("each tensor with another shape is named") {
    for (const auto& tensor : tiny_llama().tensors) {
        if (tensor.name == "token_embd.weight") continue;
        refuses(ErrorCode::format, "tensor " + tensor.name + " has", [&](GgufBytes& w) {
            GgufBytes::Tensor& t = w.tensor(tensor.name);
            t.dims[0] *= 2;
            t.data += t.data;
        });
        refuses(ErrorCode::format, "tensor " + tensor.name + " has",
                [&](GgufBytes& w) { w.tensor(tensor.name).dims.push_back(1); });
    }
    refuses(ErrorCode::format, "tensor token_embd.weight has 2 dimensions, the first two 4 x 40; expected 2: 8 x 40",
            [](GgufBytes& w) {
                w.tensor("token_embd.weight").dims = {4, 40};
            });
    refuses(ErrorCode::format, "tensor token_embd.weight has 3 dimensions",
            [](GgufBytes& w) { w.tensor("token_embd.weight").dims.push_back(1); });
}

TEST_CASE("a tensor that nobody knows is refused by name") {
    for (const char* name : {"blk.0.attn_q_norm.weight", "blk.1.attn_q.weight", "position_embd.weight"}) {
        refuses(ErrorCode::unsupported, std::string{"has the tensor "} + name + ", which is not known",
                [&](GgufBytes& w) { w.add_tensor<float>(name, {1}, DType::f32, {1}); });
    }
}

TEST_CASE("a tensor of a type that cannot be computed with is refused by name") {
    refuses(ErrorCode::unsupported, "tensor blk.0.attn_q.weight has type I16, expected F32, F16, BF16, Q8_0,",
            [](GgufBytes& w) {
                GgufBytes::Tensor& t = w.tensor("blk.0.attn_q.weight");
                t.type = static_cast<std::uint32_t>(DType::i16);
                t.data.resize(t.data.size() / 2);
            });
    refuses(ErrorCode::unsupported, "tensor output_norm.weight has type I32",
            [](GgufBytes& w) { w.tensor("output_norm.weight").type = static_cast<std::uint32_t>(DType::i32); });
}

TEST_CASE("each missing key is named") {
    for (const char* key : {"llama.context_length", "llama.embedding_length", "llama.block_count", "llama.feed_forward_length",
                            "llama.attention.head_count", "llama.attention.layer_norm_rms_epsilon"}) {
        refuses(ErrorCode::format, key, [&](GgufBytes& w) { w.erase(key); });
    }
}

TEST_CASE("counts of 0 or beyond 2^31 are refused by name") {
    for (const char* key : {"llama.context_length", "llama.embedding_length", "llama.block_count", "llama.feed_forward_length",
                            "llama.attention.head_count", "llama.attention.head_count_kv", "llama.rope.dimension_count",
                            "llama.attention.key_length", "llama.attention.value_length"}) {
        refuses_value<std::uint32_t>(key, 0, std::string{key} + " is 0, expected 1 to 2147483647");
        refuses_value<std::uint32_t>(key, 0x80000000u, std::string{key} + " is 2147483648, expected 1 to 2147483647");
        refuses_value<std::int32_t>(key, -1, std::string{key} + " is -1, expected an integer that is not negative");
        refuses_value(key, 2.0f, std::string{key} + " is the floating-point number 2.000000, expected an integer");
    }
}

TEST_CASE("impossible hyper-parameters are refused in words") {
    refuses_value<std::uint32_t>("llama.attention.head_count_kv", 3, "3 heads of keys and values do not divide 2 heads");
    refuses_value<std::uint32_t>("llama.attention.head_count_kv", 4, "4 heads of keys and values do not divide 2 heads");
    refuses_value<std::uint32_t>("llama.attention.head_count", 3, "a width of 8 is not a multiple of 3 heads");
    refuses_value<std::uint32_t>("llama.rope.dimension_count", 3,
                                 "llama.rope.dimension_count is 3, expected an even number up to 4");
    refuses_value<std::uint32_t>("llama.rope.dimension_count", 6,
                                 "llama.rope.dimension_count is 6, expected an even number up to 4");
    refuses_value<std::uint32_t>("llama.block_count", 1000000000, "has 1000000000 layers, but has 12 tensors");
    refuses_value<std::uint32_t>("llama.block_count", 2, "lacks the tensor blk.1.attn_norm.weight");
    refuses_value<std::uint32_t>("llama.attention.value_length", 2, "values of 2 elements a head, expected 4",
                                 ErrorCode::unsupported);
    for (const float base : {0.0f, -1.0f, NAN, INFINITY})
        refuses_value("llama.rope.freq_base", base, "llama.rope.freq_base is");
    for (const float epsilon : {-1.0f, NAN, INFINITY}) {
        refuses_value("llama.attention.layer_norm_rms_epsilon", epsilon, "llama.attention.layer_norm_rms_epsilon is");
    }
}

TEST_CASE("an architecture or a setting that is not implemented is refused by name") {
    refuses_value("general.architecture", "falcon",
                  "has the architecture 'falcon', expected 'llama', 'qwen2', 'gpt2' or 'bert'", ErrorCode::unsupported);
    refuses_value("general.architecture", "\x1b[2J", "has the architecture '?[2J'", ErrorCode::unsupported);
    refuses(ErrorCode::unsupported, "has the architecture ''", [](GgufBytes& w) { w.erase("general.architecture"); });
    refuses_value("llama.rope.scaling.type", "yarn", "rope scaling 'yarn', expected none or linear", ErrorCode::unsupported);
    refuses_value("llama.rope.scaling.attn_factor", 2.0f, "has the key llama.rope.scaling.attn_factor", ErrorCode::unsupported);
    refuses_value("llama.attention.causal", false, "llama.attention.causal is false", ErrorCode::unsupported);
    refuses_value<std::uint32_t>("llama.expert_count", 8, "has the key llama.expert_count", ErrorCode::unsupported);
    refuses_value<std::uint32_t>("llama.attention.sliding_window", 15,
                                 "llama.attention.sliding_window is 15, less than the window of 16", ErrorCode::unsupported);
    GgufBytes w = tiny_llama();
    CHECK(logits_of(w.set("llama.rope.scaling.type", "none")) == logits_of(tiny_llama()));
    CHECK(logits_of(w.set<std::uint32_t>("llama.attention.sliding_window", 16)) == logits_of(tiny_llama()));
}

TEST_CASE("a vocabulary larger than the embedding is refused, a smaller one is not") {
    refuses(ErrorCode::vocabulary, "has 20 tokens, but only 19 embedding rows", [](GgufBytes& w) {
        for (const char* name : {"token_embd.weight", "output.weight"}) {
            GgufBytes::Tensor& t = w.tensor(name);
            t.dims[1] = 19;
            t.data.resize(19 * width * sizeof(float));
        }
    });
    GgufBytes w = tiny_llama();
    w.set_array<std::string>("tokenizer.ggml.tokens", {"<unk>", "<s>", "</s>"})
        .set_array<std::int32_t>("tokenizer.ggml.token_type", {2, 3, 3});
    CHECK(logits_of(w).size() == vocab);
}

TEST_CASE("a vocabulary without a model and a missing file are named") {
    refuses(ErrorCode::format, "lacks the tensor token_embd.weight: it is a vocabulary without a model",
            [](GgufBytes& w) { w.tensors.clear(); });
    check_error(ErrorCode::io, "cannot open '/nowhere/model.gguf'", [] { load_model("/nowhere/model.gguf"); });
    check_error(ErrorCode::io, "cannot open '/nowhere/model.gguf'", [] { load_tokenizer("/nowhere/model.gguf"); });
}

TEST_CASE("a small model with a changed byte loads or gives an Error") {
    const std::string good = tiny_llama().bytes();
    const std::size_t records = good.size() - std::size_t{12} * 4 * width * 4;
    std::mt19937 random{6};
    int models = 0;
    int errors = 0;
    for (int round = 0; round < 4000; ++round) {
        std::string bytes = good;
        char& c = bytes[random() % records];
        c = static_cast<char>(static_cast<unsigned char>(c) ^ (1 + random() % 255));
        try {
            const GgufFile file = view(bytes);
            models += load_model(file) != nullptr;
            load_tokenizer(file).encode("defg hij");
        } catch (const Error&) {
            ++errors;
        }
    }
    CHECK(models > 100);
    CHECK(errors > 100);
}

}  // namespace test_files_load
