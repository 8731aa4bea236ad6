// Adapters of each family: names, GPT-2's fused layer, the rows of queries and keys, and what the official FlashBack code saves.
#include "flashback/files/load_adapter.hpp"
#include "flashback/files/save_adapter.hpp"
#include "flashback/files/save_gguf_adapter.hpp"
#include "flashback/format/peft.hpp"
#include "flashback/format/safetensors.hpp"
#include "flashback/format/safetensors_writer.hpp"
#include "flashback/model/fingerprint.hpp"
#include "flashback/model/merge_adapter.hpp"
#include "flashback/model/session.hpp"
#include "support/errors.hpp"
#include "support/exact_logits.hpp"
#include "support/family_models.hpp"
#include "support/random_adapter.hpp"
#include "support/temporary_folder.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

namespace test_files_adapter_families {

using namespace flashback;
using namespace flashback_test;

namespace {

/// What an adapter asks of a model: its shape and its input embedding.
Transformer shell(Family family) {
    Transformer model;
    TransformerConfig& c = model.config;
    const bool rotary = family != Family::gpt2 && family != Family::opt;
    c.family = family;
    c.vocab = 30;
    c.window = 64;
    c.layers = 2;
    c.width = 24;
    c.heads = 4;
    c.kv_heads = rotary ? 2 : 4;
    c.head_dim = 6;
    c.rotary_dim = rotary ? 6 : 0;
    c.positions = rotary ? Positions::rotary : Positions::learned;
    c.hidden = 40;
    c.gated = rotary;
    SplitMix64 random{9};
    const auto matrix = [&](std::size_t outputs, std::size_t inputs) {
        return simd::PackedMatrix::of(DType::f32, outputs, inputs,
                                      [&](std::size_t, std::size_t) { return static_cast<float>(random.uniform() - 0.5); });
    };
    model.embedding = matrix(c.vocab, c.row_width());
    model.head = matrix(c.vocab, c.row_width());
    return model;
}

using Shaped = std::pair<std::vector<std::uint64_t>, std::vector<float>>;
using Named = std::map<std::string, Shaped>;

Named tensors_in(const std::filesystem::path& folder) {
    Named tensors;
    const SafetensorsFile file = SafetensorsFile::open(folder / "adapter_model.safetensors");
    for (const SafeTensor& t : file.tensors()) {
        std::vector<float> values(t.data.size() / 4);
        std::memcpy(values.data(), t.data.data(), t.data.size());
        tensors[t.name] = {t.shape, values};
    }
    return tensors;
}

Named tensors_of(const GgufFile& file) {
    Named tensors;
    for (const GgufTensor& t : file.tensors()) {
        std::vector<float> values(t.data.size() / 4);
        std::memcpy(values.data(), t.data.data(), t.data.size());
        tensors[std::string{t.name}] = {{t.dims[1], t.dims[0]}, values};
    }
    return tensors;
}

void put_tensors(const std::filesystem::path& folder, const Named& tensors) {
    SafetensorsWriter writer{folder / "adapter_model.safetensors"};
    for (const auto& [name, tensor] : tensors) writer.add_tensor(name, tensor.first, DType::f32);
    for (const auto& [name, tensor] : tensors) writer.write(std::as_bytes(std::span{tensor.second}));
    writer.finish();
}

void check_equal(const Adapter& a, const Adapter& b) {
    CHECK(fingerprint(a) == fingerprint(b));
    CHECK(a.embedding_ids == b.embedding_ids);
    CHECK(a.embedding_rows == b.embedding_rows);
}

/// scale B A, in double.
std::vector<double> added(const std::vector<float>& a, const std::vector<float>& b, std::size_t rank, float scale) {
    const std::size_t inputs = a.size() / rank;
    std::vector<double> sum(b.size() / rank * inputs);
    for (std::size_t o = 0; o < b.size() / rank; ++o) {
        for (std::size_t r = 0; r < rank; ++r) {
            for (std::size_t i = 0; i < inputs; ++i) {
                sum[o * inputs + i] +=
                    static_cast<double>(scale) * static_cast<double>(b[o * rank + r]) * static_cast<double>(a[r * inputs + i]);
            }
        }
    }
    return sum;
}

constexpr Family all_families[]{Family::llama, Family::mistral, Family::qwen2, Family::gpt2, Family::opt};

}  // namespace

TEST_CASE("adapters of every family are saved and loaded with the same bits, from PEFT and from GGUF") {
    for (const Family family : all_families) {
        CAPTURE(static_cast<int>(family));
        const Transformer model = shell(family);
        const TemporaryFolder folder;
        Adapter adapter = random_adapter(model.config, {.scale = 2, .ids = {7, 3}});
        save_adapter(adapter, model.config, folder.path() / "peft");
        check_equal(load_adapter(folder.path() / "peft", model), adapter);
        const PeftConfig config = read_peft_config(folder.path() / "peft");
        CHECK(config.fan_in_fan_out == (family == Family::gpt2));
        const std::size_t layers = family == Family::gpt2 ? 4 : family == Family::opt ? 6 : 7;
        CHECK(config.target_modules.size() == layers);
        CHECK(config.rank_pattern.size() == (family == Family::gpt2 ? 2 : 0));  // c_attn has the ranks of three

        const auto file = folder.path() / "adapter.gguf";
        if (family == Family::opt) {
            check_error(ErrorCode::unsupported, "GGUF has no architecture of its family",
                        [&] { save_gguf_adapter(adapter, model, file); });
            continue;
        }
        adapter = random_adapter(model.config, {.scale = 2});
        if (family == Family::gpt2) {  // the fused layer gets nine ranks, and its B another factor
            for (AdapterLayer& layer : adapter.layers) layer[LinearModule::k] = layer[LinearModule::v] = {};
        }
        save_gguf_adapter(adapter, model, file);
        check_equal(load_adapter(file, model), adapter);
    }
}

TEST_CASE("the layers have the names of their family") {
    const auto names = [](Family family) {
        const Transformer model = shell(family);
        const TemporaryFolder folder;
        save_adapter(random_adapter(model.config, {.ids = {3}}), model.config, folder.path());
        std::set<std::string> found;
        for (const auto& [name, tensor] : tensors_in(folder.path())) {
            CHECK(name.starts_with("base_model.model."));
            if (name.find(".0.") != name.npos && name.find("lora_A") != name.npos) found.insert(name.substr(17));
            if (name.find("token") != name.npos) found.insert(name.substr(17));
        }
        return found;
    };
    const auto with = [](const std::string& front, std::vector<std::string> list, const std::string& rows) {
        std::set<std::string> all{rows + ".token_adapter.trainable_tokens_delta"};
        for (const std::string& name : list) all.insert(front + name + ".lora_A.weight");
        return all;
    };
    const std::vector<std::string> llama{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
                                         "mlp.gate_proj",    "mlp.up_proj",      "mlp.down_proj"};
    for (const Family family : {Family::llama, Family::mistral, Family::qwen2})
        CHECK(names(family) == with("model.layers.0.", llama, "model.embed_tokens"));
    CHECK(names(Family::gpt2) ==
          with("transformer.h.0.", {"attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"}, "transformer.wte"));
    CHECK(names(Family::opt) ==
          with("model.decoder.layers.0.",
               {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj", "fc1", "fc2"},
               "model.decoder.embed_tokens"));
}

TEST_CASE("GPT-2's fused layer comes apart by rows of B, and shares A") {
    const Transformer model = shell(Family::gpt2);
    const TemporaryFolder folder;
    Named tensors;
    SplitMix64 random{3};
    const auto numbers = [&](std::size_t count) {
        std::vector<float> values(count);
        for (float& value : values) value = static_cast<float>(random.uniform() - 0.5);
        return values;
    };
    // As the official code of FlashBack saves it: targets that GPT-2 lacks, a name that two layers end in, and the whole embedding.
    for (std::size_t l = 0; l < 2; ++l) {
        const std::string block = "base_model.model.transformer.h." + std::to_string(l) + '.';
        for (const auto& [name, outputs, inputs] :
             {std::tuple{"attn.c_attn", 72u, 24u}, {"attn.c_proj", 24u, 24u}, {"mlp.c_proj", 24u, 40u}}) {
            tensors[block + name + ".lora_A.weight"] = {{4, inputs}, numbers(std::size_t{4} * inputs)};
            tensors[block + name + ".lora_B.weight"] = {{outputs, 4}, numbers(std::size_t{4} * outputs)};
        }
    }
    std::vector<float> embedding(std::size_t{32} * 24);
    for (std::size_t id = 0; id < 30; ++id) model.embedding.row(id, embedding.data() + id * 24);
    std::ranges::copy(numbers(48), embedding.begin() + 30 * 24);
    tensors["base_model.model.transformer.wte.weight"] = {{32, 24}, embedding};
    put_tensors(folder.path(), tensors);
    folder.write("adapter_config.json", R"({"peft_type":"LORA","task_type":"CAUSAL_LM","r":4,"lora_alpha":8,"lora_dropout":0.05,
        "bias":"none","fan_in_fan_out":true,"target_modules":["q_attn","c_attn","c_proj"],"modules_to_save":["wte"]})");

    const Adapter adapter = load_adapter(folder.path(), model, {.tokens = 32});
    CHECK(adapter.embedding_ids == std::vector<TokenId>{30, 31});
    CHECK(std::ranges::equal(adapter.embedding_rows, std::span{embedding}.subspan(30 * 24)));
    for (std::size_t l = 0; l < 2; ++l) {
        const std::string block = "base_model.model.transformer.h." + std::to_string(l) + '.';
        const auto& a = tensors.at(block + "attn.c_attn.lora_A.weight").second;
        const auto& b = tensors.at(block + "attn.c_attn.lora_B.weight").second;
        std::vector<float> rows;
        for (const LinearModule m : {LinearModule::q, LinearModule::k, LinearModule::v}) {
            const LoraPair& pair = adapter.layers[l][m];
            CHECK(pair.a == a);
            CHECK(pair.scale == 2);
            rows.insert(rows.end(), pair.b.begin(), pair.b.end());
        }
        CHECK(rows == b);
        CHECK(adapter.layers[l][LinearModule::output].a == tensors.at(block + "attn.c_proj.lora_A.weight").second);
        CHECK(adapter.layers[l][LinearModule::down].b == tensors.at(block + "mlp.c_proj.lora_B.weight").second);
        CHECK(adapter.layers[l][LinearModule::up].rank == 0);
    }
    // Saved again it is the same file.
    const TemporaryFolder again;
    save_adapter(adapter, model.config, again.path());
    for (const auto& [name, tensor] : tensors_in(again.path())) {
        if (name.find("wte") == name.npos) CHECK(tensor == tensors.at(name));
    }
    CHECK(read_peft_config(again.path()).target_modules ==
          std::vector<std::string>{"attn.c_attn", "attn.c_proj", "mlp.c_proj"});
    check_equal(load_adapter(again.path(), model, {.tokens = 32}), adapter);
    // And so is a GGUF file, whose names are llama.cpp's.
    Adapter lora = adapter;
    lora.embedding_ids.clear();
    lora.embedding_rows.clear();
    save_gguf_adapter(lora, model, folder.path() / "a.gguf");
    const GgufFile file = GgufFile::open(folder.path() / "a.gguf");
    CHECK(file.text("general.architecture") == "gpt2");
    CHECK(tensors_of(file).at("blk.1.attn_qkv.weight.lora_b") ==
          tensors.at("base_model.model.transformer.h.1.attn.c_attn.lora_B.weight"));
    CHECK(tensors_of(file).at("blk.1.ffn_down.weight.lora_a") ==
          tensors.at("base_model.model.transformer.h.1.mlp.c_proj.lora_A.weight"));
    check_equal(load_adapter(folder.path() / "a.gguf", model), lora);
}

TEST_CASE("pairs of GPT-2's queries and values alone, of other ranks and scales, go through the fused layer and come back") {
    const Transformer model = shell(Family::gpt2);
    const TemporaryFolder folder;
    Adapter adapter = random_adapter(model.config, {.modules = {LinearModule::q}, .scale = 2});
    const Adapter other = random_adapter(model.config, {.modules = {LinearModule::v}, .rank = 5, .scale = 0.5f, .seed = 6});
    for (std::size_t l = 0; l < 2; ++l) adapter.layers[l][LinearModule::v] = other.layers[l][LinearModule::v];
    save_adapter(adapter, model.config, folder.path());
    const Named tensors = tensors_in(folder.path());
    CHECK(tensors.at("base_model.model.transformer.h.0.attn.c_attn.lora_A.weight").first == std::vector<std::uint64_t>{8, 24});
    CHECK(tensors.at("base_model.model.transformer.h.0.attn.c_attn.lora_B.weight").first == std::vector<std::uint64_t>{72, 8});
    const Adapter back = load_adapter(folder.path(), model);
    for (std::size_t l = 0; l < 2; ++l) {
        CHECK(back.layers[l][LinearModule::k].rank == 0);
        for (const LinearModule m : {LinearModule::q, LinearModule::v}) {
            const LoraPair& found = back.layers[l][m];
            const LoraPair& expected = adapter.layers[l][m];
            CHECK(found.rank == expected.rank);
            const auto sum = added(found.a, found.b, found.rank, found.scale);
            const auto wanted = added(expected.a, expected.b, expected.rank, expected.scale);
            REQUIRE(sum.size() == wanted.size());
            for (std::size_t i = 0; i < sum.size(); ++i) CHECK(std::fabs(sum[i] - wanted[i]) <= 1e-6);
        }
    }
    // Pairs that only add zeros are pairs still.
    for (std::size_t l = 0; l < 2; ++l) {
        for (const LinearModule m : linear_modules) std::ranges::fill(adapter.layers[l][m].b, 0.0f);
    }
    save_adapter(adapter, model.config, folder.path());
    CHECK(load_adapter(folder.path(), model).layers.size() == 2);
}

TEST_CASE("rows of queries and keys: GGUF's llama has them as they are here, its qwen2 as PEFT has them") {
    for (const Family family : {Family::llama, Family::mistral, Family::qwen2}) {
        CAPTURE(static_cast<int>(family));
        const Transformer model = shell(family);
        const TemporaryFolder folder;
        const Adapter adapter = random_adapter(model.config, {.scale = 2});
        save_adapter(adapter, model.config, folder.path());
        save_gguf_adapter(adapter, model, folder.path() / "a.gguf");
        const Named peft = tensors_in(folder.path());
        const GgufFile file = GgufFile::open(folder.path() / "a.gguf");
        CHECK(file.text("general.architecture") == (family == Family::qwen2 ? "qwen2" : "llama"));
        const Named gguf = tensors_of(file);
        const auto& q_peft = peft.at("base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight").second;
        const auto& q_gguf = gguf.at("blk.1.attn_q.weight.lora_b").second;
        const auto& q_here = adapter.layers[1][LinearModule::q].b;
        CHECK(q_peft != q_here);
        CHECK(q_gguf == (family == Family::qwen2 ? q_peft : q_here));
        CHECK(gguf.at("blk.1.attn_v.weight.lora_b").second == adapter.layers[1][LinearModule::v].b);
        // Row 1 of a head of six in halves is row 2 here, and row 3 is row 1.
        for (std::size_t r = 0; r < 3; ++r) {
            CHECK(q_peft[3 + r] == q_here[2 * 3 + r]);
            CHECK(q_peft[3 * 3 + r] == q_here[3 + r]);
        }
    }
}

TEST_CASE("in every family an adapter runs beside its model, from either kind of file, and as a part of the weights") {
    for (const FamilyModel& family : family_models()) {
        CAPTURE(family.name);
        const auto model = random_model(family.shape);
        const std::vector<TokenId> text{1, 5, 30, 7, 5, 49, 12, 44, 3, 30, 8, 2, 41};
        const auto logits = [&](const std::shared_ptr<const Transformer>& of, const Adapter& adapter) {
            Session session{of, {.adapter = std::make_shared<const PackedAdapter>(adapter, of->config)}};
            return copy_of(session.evaluate(text));
        };
        const auto distance = [](const std::vector<float>& a, const std::vector<float>& b) {
            double error = 0;
            double square = 0;
            for (std::size_t i = 0; i < a.size(); ++i) {
                error += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
                square += std::pow(static_cast<double>(b[i]), 2);
            }
            return std::sqrt(error / square);
        };
        const Adapter adapter = random_adapter(model->config, {.scale = 0.5f, .ids = {30, 7}});
        const std::vector<float> beside = logits(model, adapter);
        // As in adapter.cpp: seven matrices a layer and the head, sums of up to 160 products, and a factor of 4 for what amplifies.
        const double tolerance = 4 * std::sqrt(2 * 7 + 1.0) * 0x1p-24 * (1 + std::sqrt(160.0));
        CHECK(distance(logits(merged(*model, adapter), {}), beside) <= tolerance);
        CHECK(distance(logits(model, {}), beside) > 100 * tolerance);

        const TemporaryFolder folder;
        save_adapter(adapter, model->config, folder.path());
        CHECK(same_bits(logits(model, load_adapter(folder.path(), *model)), beside));
        if (model->config.family == Family::opt) continue;
        const Adapter lora = random_adapter(model->config, {.scale = 0.5f});
        save_gguf_adapter(lora, *model, folder.path() / "a.gguf");
        CHECK(distance(logits(model, load_adapter(folder.path() / "a.gguf", *model)), logits(model, lora)) <= tolerance);
    }
}

TEST_CASE("OPT as the official code of FlashBack saves it: the markers are rows that the model has") {
    const Transformer model = shell(Family::opt);
    const TemporaryFolder folder;
    Named tensors;
    for (const char* module : {"q_proj", "v_proj"}) {
        for (const char* layer : {"0", "1"}) {
            const std::string name = std::string{"base_model.model.model.decoder.layers."} + layer + ".self_attn." + module;
            tensors[name + ".lora_A.weight"] = {{16, 24}, std::vector<float>(std::size_t{16} * 24, 0.5f)};
            tensors[name + ".lora_B.weight"] = {{24, 16}, std::vector<float>(std::size_t{16} * 24, 0.25f)};
        }
    }
    std::vector<float> embedding(std::size_t{30} * 24);
    for (std::size_t id = 0; id < 30; ++id) model.embedding.row(id, embedding.data() + id * 24);
    for (std::size_t i = 28 * 24; i < embedding.size(); ++i) embedding[i] += 0.5f;
    tensors["base_model.model.model.decoder.embed_tokens.weight"] = {{30, 24}, embedding};
    put_tensors(folder.path(), tensors);
    folder.write("adapter_config.json",
                 R"({"peft_type":"LORA","task_type":"CAUSAL_LM","r":16,"lora_alpha":32,"lora_dropout":0.05,
        "bias":"none","fan_in_fan_out":false,"target_modules":["q_proj","v_proj"],"modules_to_save":["embed_tokens"]})");
    const Adapter adapter = load_adapter(folder.path(), model);
    CHECK(adapter.embedding_ids == std::vector<TokenId>{28, 29});
    CHECK(adapter.layers[1][LinearModule::v].scale == 2);
    CHECK(adapter.layers[1][LinearModule::k].rank == 0);
    // One tensor of another family is one too many.
    tensors["base_model.model.model.embed_tokens.weight"] = {{30, 24}, embedding};
    put_tensors(folder.path(), tensors);
    check_error(ErrorCode::unsupported,
                "has the tensor base_model.model.model.embed_tokens.weight, for which this model has no place",
                [&] { load_adapter(folder.path(), model); });
}

}  // namespace test_files_adapter_families
