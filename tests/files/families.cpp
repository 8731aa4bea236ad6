// GGUF files of every family that has an architecture there: what others wrote, and what we write.
#include "flashback/core/thread_pool.hpp"
#include "flashback/files/load.hpp"
#include "flashback/files/write_model.hpp"
#include "flashback/format/gguf_fingerprint.hpp"
#include "support/errors.hpp"
#include "support/exact_logits.hpp"
#include "support/family_models.hpp"
#include "support/gguf_bytes.hpp"
#include "support/in_double.hpp"
#include "support/temporary_folder.hpp"

#include <cstdint>
#include <fstream>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;
using namespace flashback_test;

namespace {

using Tensors = std::map<std::string, std::vector<double>>;

/// The rows of a tensor (or the elements of a bias) as files of another order have them: of each head of 16, those of even number
/// first, then the others.
std::vector<double> even_rows_first(const std::vector<double>& values, std::size_t row, std::size_t head_dim) {
    std::vector<double> out;
    for (std::size_t head = 0; head < values.size(); head += head_dim * row) {
        for (const std::size_t odd : {0u, 1u}) {
            for (std::size_t i = odd; i < head_dim; i += 2) {
                const auto first = values.begin() + static_cast<std::ptrdiff_t>(head + i * row);
                out.insert(out.end(), first, first + static_cast<std::ptrdiff_t>(row));
            }
        }
    }
    return out;
}

/// A file as llama.cpp's converter writes it, put together by hand.
GgufBytes file_of(const Transformer& model) {
    const TransformerConfig& c = model.config;
    const std::string a = c.family == Family::gpt2 ? "gpt2" : c.family == Family::qwen2 ? "qwen2" : "llama";
    GgufBytes w;
    w.set("general.architecture", a.c_str());
    const auto set = [&](const char* key, std::size_t value) { w.set(a + '.' + key, static_cast<std::uint32_t>(value)); };
    set("context_length", c.window);
    set("embedding_length", c.width);
    set("block_count", c.layers);
    set("feed_forward_length", c.hidden);
    set("attention.head_count", c.heads);
    set("attention.head_count_kv", c.kv_heads);
    if (c.width != c.heads * c.head_dim) {
        set("attention.key_length", c.head_dim);
        set("attention.value_length", c.head_dim);
    }
    w.set(a + (c.family == Family::gpt2 ? ".attention.layer_norm_epsilon" : ".attention.layer_norm_rms_epsilon"),
          c.norm_epsilon);
    if (c.rotary_linear != 1) {
        w.set(a + ".rope.scaling.type", "linear").set(a + ".rope.scaling.factor", static_cast<float>(c.rotary_linear));
    }
    if (!c.rotary_factors.empty())
        w.add_tensor<float>("rope_freqs.weight", {c.rotary_factors.size()}, DType::f32, c.rotary_factors);

    Tensors tensors = in_double(model).tensors;
    for (std::size_t l = 0; l < c.layers; ++l) {
        const std::string block = "blk." + std::to_string(l) + '.';
        for (const std::string kind : {".weight", ".bias"}) {
            std::vector<double> qkv;
            for (const char* part : {"attn_q", "attn_k", "attn_v"}) {
                const auto found = tensors.find(block + part + kind);
                if (found == tensors.end()) continue;
                const bool rotated = part[5] != 'v';
                if (c.family == Family::qwen2 && rotated)
                    found->second = even_rows_first(found->second, kind == ".bias" ? 1 : c.width, c.head_dim);
                qkv.insert(qkv.end(), found->second.begin(), found->second.end());
                if (c.family == Family::gpt2) tensors.erase(found);
            }
            if (c.family == Family::gpt2) tensors[block + "attn_qkv" + kind] = qkv;
        }
    }
    for (const auto& [name, values] : tensors) {
        const bool is_vector = name.ends_with(".bias") || name.find("norm") != name.npos;
        const std::size_t inputs = name.find("ffn_down") != name.npos      ? c.hidden
                                   : name.find("attn_output") != name.npos ? c.heads * c.head_dim
                                                                           : c.width;
        std::vector<std::uint64_t> dims{is_vector ? values.size() : inputs};
        if (!is_vector) dims.push_back(values.size() / inputs);
        w.add_tensor<float>(name, dims, DType::f32, std::vector<float>(values.begin(), values.end()));
    }
    return w;
}

std::vector<FamilyModel> models_with_a_file() {
    std::vector<FamilyModel> models = family_models();
    std::erase_if(models, [](const FamilyModel& m) { return m.shape.family == Family::opt; });
    return models;
}

std::vector<float> all_logits(const std::shared_ptr<const Transformer>& model) {
    SplitMix64 random{3};
    const std::vector<TokenId> tokens = random_tokens(random, 40, 50);
    return copy_of(Session{model, {.cache = DType::f32}}.evaluate_all(tokens));
}

}  // namespace

TEST_CASE("a file of each family is the model that it was made of, to the bit") {
    for (const FamilyModel& family : models_with_a_file()) {
        CAPTURE(family.name);
        const ModelPtr model = random_model(family.shape);
        const std::string bytes = file_of(*model).bytes();
        const auto loaded = load_model(view(bytes));
        CHECK(fingerprint(*loaded) == fingerprint(*model));
        CHECK(loaded->config.rotary_factors == model->config.rotary_factors);
        CHECK(same_bits(all_logits(loaded), all_logits(model)));
        CHECK(loaded->fingerprint == fingerprint(view(bytes)));
    }
}

TEST_CASE("a Llama with biases on all its layers is one too") {
    auto model = std::const_pointer_cast<Transformer>(random_model(models_with_a_file()[1].shape));
    model->config.qkv_bias = model->config.output_bias = model->config.ffn_bias = true;
    for (TransformerLayer& layer : model->layers) {
        for (const LinearModule m : linear_modules) layer.bias(m).assign(model->config.outputs(m), 0.25f);
    }
    const std::string bytes = file_of(*model).bytes();
    CHECK(fingerprint(*load_model(view(bytes))) == fingerprint(*model));
    GgufBytes partly = file_of(*model);
    std::erase_if(partly.tensors, [](const auto& t) { return t.name == "blk.1.attn_k.bias"; });
    check_error(ErrorCode::format, "lacks the tensor blk.1.attn_k.bias", [&] {
        const std::string lacking = partly.bytes();
        load_model(view(lacking));
    });
}

TEST_CASE("each missing tensor, each with another shape and each that is too many is named, for every family") {
    for (const FamilyModel& family : models_with_a_file()) {
        CAPTURE(family.name);
        const GgufBytes good = file_of(*random_model(family.shape));
        const bool may_have_biases = family.shape.family == Family::llama || family.shape.family == Family::mistral;
        for (const auto& tensor : good.tensors) {
            if (tensor.name == "output.weight" || tensor.name == "rope_freqs.weight" || tensor.name == "token_embd.weight")
                continue;
            GgufBytes lacking = good;
            std::erase_if(lacking.tensors, [&](const auto& t) { return t.name == tensor.name; });
            const std::string bytes = lacking.bytes();
            check_error(ErrorCode::format, "'test.gguf' lacks the tensor " + tensor.name, [&] { load_model(view(bytes)); });
            GgufBytes longer = good;
            GgufBytes::Tensor& t = longer.tensor(tensor.name);
            t.dims.back() *= 2;
            t.data += t.data;
            const std::string more = longer.bytes();
            check_error(ErrorCode::format, "tensor " + tensor.name + " has", [&] { load_model(view(more)); });
        }
        GgufBytes other = good;
        const std::string name = may_have_biases ? "blk.0.attn_norm.bias" : "blk.0.attn_sinks.weight";
        other.add_tensor<float>(name, {1}, DType::f32, {1});
        const std::string bytes = other.bytes();
        check_error(ErrorCode::unsupported, "has the tensor " + name + ", which is not known",
                    [&] { load_model(view(bytes)); });
    }
}

TEST_CASE("scaling of rotary frequencies is read as llama.cpp reads it, or refused by name") {
    const auto model = random_model(models_with_a_file()[0].shape);
    const auto config_of = [&](const std::function<void(GgufBytes&)>& change) {
        GgufBytes w = file_of(*model);
        change(w);
        const std::string bytes = w.bytes();
        return read_config(view(bytes));
    };
    CHECK(config_of([](GgufBytes&) {}).rotary_linear == 1);
    CHECK(config_of([](GgufBytes& w) { w.set("llama.rope.scaling.factor", 2.0f); }).rotary_linear == 2);
    CHECK(config_of([](GgufBytes& w) { w.set("llama.rope.scale_linear", 4.0f); }).rotary_linear == 4);
    CHECK(config_of([](GgufBytes& w) {
              w.set("llama.rope.scaling.type", "none").set("llama.rope.scaling.factor", 2.0f);
          }).rotary_linear == 1);
    for (const float factor : {0.0f, -1.0f, NAN}) {
        check_error(ErrorCode::format, "llama.rope.scaling.factor is",
                    [&] { config_of([&](GgufBytes& w) { w.set("llama.rope.scaling.factor", factor); }); });
    }
    for (const float divisor : {0.0f, -1.0f, NAN, INFINITY}) {
        check_error(ErrorCode::format, "tensor rope_freqs.weight has the value", [&] {
            config_of([&](GgufBytes& w) {
                w.add_tensor<float>("rope_freqs.weight", {8}, DType::f32, std::vector<float>(8, divisor));
            });
        });
    }
    check_error(ErrorCode::format, "tensor rope_freqs.weight has 1 dimensions, the first two 7 x 1; expected 1: 8 x 1", [&] {
        config_of(
            [&](GgufBytes& w) { w.add_tensor<float>("rope_freqs.weight", {7}, DType::f32, std::vector<float>(7, 1.0f)); });
    });
}

TEST_CASE("models of every family come back from a file that we wrote, to the bit, and with the order of its architecture") {
    const TemporaryFolder folder;
    const auto path = folder.path() / "model.gguf";
    for (FamilyModel& family : models_with_a_file()) {
        CAPTURE(family.name);
        family.shape.vocab = 4100;
        const ModelPtr model = random_model(family.shape);
        const auto vocabulary = GgufFile::open(FLASHBACK_TEST_MODEL);
        write_model(path, *model, vocabulary, DType::f32);
        const auto loaded = load_model(path);
        CHECK(fingerprint(*loaded) == fingerprint(*model));
        CHECK(same_bits(all_logits(loaded), all_logits(model)));
        CHECK(loaded->text_ends == std::vector<TokenId>{2});
        // Tensor by tensor what was put together by hand.
        const GgufBytes expected = file_of(*model);
        const auto file = GgufFile::open(path);
        CHECK(file.tensors().size() == expected.tensors.size());
        for (const auto& tensor : expected.tensors) {
            CAPTURE(tensor.name);
            const GgufTensor* found = file.tensor(tensor.name);
            REQUIRE(found != nullptr);
            CHECK(std::string_view{reinterpret_cast<const char*>(found->data.data()), found->data.size()} == tensor.data);
        }
        // Quantised, positions and biases stay floats.
        write_model(path, *model, vocabulary, DType::q8_0);
        const auto quantised = load_model(path);
        CHECK(quantised->layers[1].bias(LinearModule::up) == model->layers[1].bias(LinearModule::up));
        if (family.shape.family == Family::gpt2) CHECK(fingerprint(quantised->positions) == fingerprint(model->positions));
        CHECK(quantised->layers[0].q.type() == DType::q8_0);
    }
}

TEST_CASE("models are the same to the bit, however many threads read how many rows of the file") {
    const TemporaryFolder folder;
    const auto path = folder.path() / "model.gguf";
    ThreadPool pool{3};
    for (FamilyModel& family : models_with_a_file()) {
        CAPTURE(family.name);
        family.shape.heads *= 4;  // so many rows that pages are given back on the way
        family.shape.width *= 4;
        family.shape.hidden = 320;
        const ModelPtr model = random_model(family.shape);
        const std::string bytes = file_of(*model).bytes();
        std::ofstream{path, std::ios::binary} << bytes;
        for (const FileAccess access : {FileAccess::map, FileAccess::copy}) {
            for (const ExecutorRef executor : {ExecutorRef{}, ExecutorRef{pool}}) {
                const auto loaded = load_model(path, executor, access);
                CHECK(fingerprint(*loaded) == fingerprint(*model));
                CHECK(loaded->fingerprint == fingerprint(view(bytes)));
            }
        }
    }
}

TEST_CASE("a tensor is hashed as a whole, also if it is read up to a byte in the middle of a word") {
    const TemporaryFolder folder;
    const auto path = folder.path() / "model.gguf";
    // A panel has rows of 34 bytes from both halves of a head: the first one needs the rows before 24.
    const ModelPtr model = random_model({.width = 32,
                                         .heads = 2,
                                         .kv_heads = 1,
                                         .head_dim = 32,
                                         .hidden = 32,
                                         .vocab = 40,
                                         .window = 16,
                                         .family = Family::qwen2});
    write_model(path, *model, nullptr, DType::q8_0);
    CHECK(load_model(path)->fingerprint == fingerprint(GgufFile::open(path)));
}

TEST_CASE("what GGUF has no place for is not written") {
    const TemporaryFolder folder;
    const auto path = folder.path() / "model.gguf";
    const auto vocabulary = GgufFile::open(FLASHBACK_TEST_MODEL);
    const auto refuse = [&](const char* words, const RandomModel& shape, const std::function<void(Transformer&)>& change) {
        const auto model = std::const_pointer_cast<Transformer>(random_model(shape));
        change(*model);
        check_error(ErrorCode::unsupported, words, [&] { write_model(path, *model, vocabulary, DType::f32); });
        CHECK(std::filesystem::is_empty(folder.path()));
    };
    refuse("the model 'random' cannot be written as GGUF: the format has no architecture for OPT", {.family = Family::opt},
           [](Transformer&) {});
    refuse("the architecture 'gpt2' has other norms, positions, biases or activations", {.family = Family::gpt2},
           [](Transformer& m) { m.config.position_offset = 1; });
    refuse("the architecture 'qwen2' has other norms, positions, biases or activations", {.family = Family::qwen2},
           [](Transformer& m) { m.config.qkv_bias = false; });
    refuse("the architecture 'qwen2' has no factors of rotary frequencies", {.family = Family::qwen2},
           [](Transformer& m) { m.config.rotary_factors.assign(4, 2.0f); });
}
