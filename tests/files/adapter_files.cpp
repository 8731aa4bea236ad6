// Adapters from and to the folders of PEFT.
#include "flashback/files/load_adapter.hpp"
#include "flashback/files/save_adapter.hpp"
#include "flashback/format/peft.hpp"
#include "flashback/format/safetensors.hpp"
#include "flashback/format/safetensors_writer.hpp"
#include "flashback/simd/elementwise.hpp"
#include "support/errors.hpp"
#include "support/random_adapter.hpp"
#include "support/random_model.hpp"
#include "support/temporary_folder.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <span>
#include <string>
#include <vector>

#include <doctest/doctest.h>

namespace test_files_adapter_files {

using namespace flashback;
using namespace flashback_test;

namespace {

// Six heads of six, of which four elements are rotated; sides that are no multiples of 16.
const RandomModel shape{.layers = 2, .width = 20, .heads = 6, .kv_heads = 2, .head_dim = 6, .hidden = 27, .vocab = 37};

std::shared_ptr<const Transformer> small_model() {
    auto model = std::const_pointer_cast<Transformer>(random_model(shape));
    model->config.rotary_dim = 4;
    return model;
}

bool same(const std::vector<float>& a, const std::vector<float>& b) {
    return std::ranges::equal(std::as_bytes(std::span{a}), std::as_bytes(std::span{b}));
}

void check_same(const Adapter& a, const Adapter& b) {
    CHECK(fingerprint(a) == fingerprint(b));
    CHECK(a.embedding_ids == b.embedding_ids);
    CHECK(same(a.embedding_rows, b.embedding_rows));
    REQUIRE(a.layers.size() == b.layers.size());
    for (std::size_t l = 0; l < a.layers.size(); ++l) {
        for (const LinearModule m : linear_modules) {
            CHECK(a.layers[l][m].rank == b.layers[l][m].rank);
            CHECK(a.layers[l][m].scale == b.layers[l][m].scale);
            CHECK(same(a.layers[l][m].a, b.layers[l][m].a));
            CHECK(same(a.layers[l][m].b, b.layers[l][m].b));
        }
    }
}

std::string text_of(const std::filesystem::path& path) {
    std::ifstream file{path, std::ios::binary};
    return {std::istreambuf_iterator<char>{file}, {}};
}

using Tensors = std::map<std::string, std::pair<std::vector<std::uint64_t>, std::vector<float>>>;

Tensors read_tensors(const std::filesystem::path& folder) {
    Tensors tensors;
    const SafetensorsFile file = SafetensorsFile::open(folder / "adapter_model.safetensors");
    for (const SafeTensor& t : file.tensors()) {
        std::vector<float> values(t.data.size() / 4);
        std::memcpy(values.data(), t.data.data(), t.data.size());
        tensors[t.name] = {t.shape, values};
    }
    return tensors;
}

void write_tensors(const std::filesystem::path& folder, const Tensors& tensors, DType type = DType::f32) {
    SafetensorsWriter writer{folder / "adapter_model.safetensors"};
    for (const auto& [name, tensor] : tensors) writer.add_tensor(name, tensor.first, type);
    for (const auto& [name, tensor] : tensors) {
        std::vector<std::byte> bytes(tensor.second.size() * layout_of(type).block_bytes);
        quantize(type, tensor.second.data(), tensor.second.size(), bytes.data());
        writer.write(bytes);
    }
    writer.finish();
}

const std::string q0 = "base_model.model.model.layers.0.self_attn.q_proj.";
const std::string rows_name = "base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta";

/// Saves an adapter, changes the tensors, and checks that the result is refused in words.
void refuses(const std::function<void(Tensors&)>& change, std::string_view part, ErrorCode code = ErrorCode::format) {
    const TemporaryFolder folder;
    const auto model = small_model();
    save_adapter(random_adapter(model->config, {.modules = {LinearModule::q, LinearModule::v}, .ids = {5, 30}}), model->config,
                 folder.path());
    Tensors tensors = read_tensors(folder.path());
    change(tensors);
    write_tensors(folder.path(), tensors);
    check_error(code, part, [&] { load_adapter(folder.path(), *model); });
}

}  // namespace

TEST_CASE("an adapter that is saved and loaded has the same bits") {
    const auto model = small_model();
    const TemporaryFolder folder;
    const std::filesystem::path made = folder.path() / "a" / "b";  // folders are made
    for (const std::vector<TokenId>& ids : {std::vector<TokenId>{}, {30, 5}}) {
        for (const float scale : {2.0f, 10.0f / 3, 1e-3f, -0.7f}) {
            const Adapter adapter = random_adapter(model->config, {.scale = scale, .ids = ids});
            save_adapter(adapter, model->config, made);
            check_same(load_adapter(made, *model), adapter);
        }
    }
    const Adapter rows = random_adapter(model->config, {.modules = {}, .ids = {0}});
    save_adapter(rows, model->config, made);
    check_same(load_adapter(made, *model), rows);

    // Other ranks and scales here and there, and modules that are not in all layers.
    Adapter mixed = random_adapter(model->config, {.modules = {LinearModule::q, LinearModule::down}, .ids = {3}});
    const Adapter other = random_adapter(model->config, {.rank = 5, .scale = 0.3f, .seed = 8});
    mixed.layers[1][LinearModule::q] = other.layers[1][LinearModule::q];
    mixed.layers[0][LinearModule::gate] = other.layers[0][LinearModule::gate];
    mixed.layers[1][LinearModule::down].scale = 3;
    save_adapter(mixed, model->config, made);
    check_same(load_adapter(made, *model), mixed);
    CHECK(std::distance(std::filesystem::directory_iterator{made}, {}) == 2);
}

TEST_CASE("the files are those that PEFT writes") {
    const auto model = small_model();
    const TemporaryFolder folder;
    const Adapter adapter =
        random_adapter(model->config, {.modules = {LinearModule::q, LinearModule::output, LinearModule::down}, .ids = {30, 5}});
    save_adapter(adapter, model->config, folder.path(), {.base_model = "some/base", .dropout = 0.05f});
    const PeftConfig config = read_peft_config(folder.path());
    CHECK(config.base_model == "some/base");
    CHECK(config.dropout == 0.05);
    CHECK(config.rank == 3);
    CHECK(config.alpha == 6);
    CHECK(config.target_modules == std::vector<std::string>{"q_proj", "o_proj", "down_proj"});
    CHECK(config.token_indices == std::vector<TokenId>{30, 5});
    CHECK(text_of(folder.path() / "adapter_config.json").find("\"task_type\": \"CAUSAL_LM\"") != std::string::npos);

    const Tensors tensors = read_tensors(folder.path());
    CHECK(tensors.size() == 13);
    const auto shape_of = [&](const std::string& name) { return tensors.at(name).first; };
    CHECK(shape_of(q0 + "lora_A.weight") == std::vector<std::uint64_t>{3, 20});
    CHECK(shape_of(q0 + "lora_B.weight") == std::vector<std::uint64_t>{36, 3});
    CHECK(shape_of("base_model.model.model.layers.1.self_attn.o_proj.lora_A.weight") == std::vector<std::uint64_t>{3, 36});
    CHECK(shape_of("base_model.model.model.layers.1.mlp.down_proj.lora_A.weight") == std::vector<std::uint64_t>{3, 27});
    CHECK(tensors.at(rows_name).second == adapter.embedding_rows);
    CHECK(tensors.at(q0 + "lora_A.weight").second == adapter.layers[0][LinearModule::q].a);
}

TEST_CASE("rows of queries and keys in the order of Hugging Face give the same scores") {
    // q = B z and k = C z with rows in our order and adjacent pairs rotated, or with the rows of the file and halves rotated.
    const auto model = small_model();
    const TransformerConfig& c = model->config;
    const TemporaryFolder folder;
    const Adapter adapter = random_adapter(c, {});
    save_adapter(adapter, c, folder.path());
    const Tensors tensors = read_tensors(folder.path());
    const auto times = [&](const std::vector<float>& b, std::size_t position) {
        std::vector<float> y;
        for (std::size_t row = 0; row < b.size() / 3; ++row) {
            double sum = 0;
            for (std::size_t r = 0; r < 3; ++r)
                sum += static_cast<double>(b[row * 3 + r]) * std::sin(1.0 + double(position * 3 + r));
            y.push_back(static_cast<float>(sum));
        }
        return y;
    };
    const auto rotate = [&](std::vector<float> y, std::size_t position, const auto& how) {
        const float angles[2]{static_cast<float>(position), static_cast<float>(position) * 0.01f};
        const float cosine[2]{std::cos(angles[0]), std::cos(angles[1])};
        const float sine[2]{std::sin(angles[0]), std::sin(angles[1])};
        for (std::size_t at = 0; at < y.size(); at += c.head_dim) how(y.data() + at, cosine, sine, std::size_t{2});
        return y;
    };
    const auto& q_ours = adapter.layers[0][LinearModule::q].b;
    const auto& k_ours = adapter.layers[0][LinearModule::k].b;
    const auto& q_theirs = tensors.at(q0 + "lora_B.weight").second;
    const auto& k_theirs = tensors.at("base_model.model.model.layers.0.self_attn.k_proj.lora_B.weight").second;
    CHECK_FALSE(same(q_ours, q_theirs));
    for (const std::size_t position : {0u, 1u, 17u}) {
        const auto q1 = rotate(times(q_ours, position), position, simd::rotate_pairs);
        const auto q2 = rotate(times(q_theirs, position), position, simd::rotate_halves);
        const auto k1 = rotate(times(k_ours, 5), 5, simd::rotate_pairs);
        const auto k2 = rotate(times(k_theirs, 5), 5, simd::rotate_halves);
        for (std::size_t h = 0; h < c.heads; ++h) {
            double ours = 0;
            double theirs = 0;
            for (std::size_t i = 0; i < c.head_dim; ++i) {
                const std::size_t k = h / 3 * c.head_dim + i;
                ours += double(q1[h * c.head_dim + i]) * double(k1[k]);
                theirs += double(q2[h * c.head_dim + i]) * double(k2[k]);
            }
            CHECK(std::fabs(ours - theirs) <= 1e-5 * (1 + std::fabs(ours)));
        }
    }
    // Values are not rotated, and what is no matrix of queries or keys stays as it is.
    CHECK(same(tensors.at("base_model.model.model.layers.0.self_attn.v_proj.lora_B.weight").second,
               adapter.layers[0][LinearModule::v].b));
}

TEST_CASE("numbers of 16 bits are taken as they are") {
    const auto model = small_model();
    const TemporaryFolder folder;
    const Adapter adapter = random_adapter(model->config, {});
    save_adapter(adapter, model->config, folder.path());
    const Tensors tensors = read_tensors(folder.path());
    for (const DType type : {DType::f16, DType::bf16}) {
        write_tensors(folder.path(), tensors, type);
        const float expected = type == DType::f16 ? half_to_float(float_to_half(adapter.layers[0][LinearModule::q].a[1]))
                                                  : bf16_to_float(float_to_bf16(adapter.layers[0][LinearModule::q].a[1]));
        CHECK(load_adapter(folder.path(), *model).layers[0][LinearModule::q].a[1] == expected);
    }
}

TEST_CASE("configurations say targets, ranks and scales in their own ways") {
    const auto model = small_model();
    const TemporaryFolder folder;
    const Adapter adapter = random_adapter(model->config, {});
    save_adapter(adapter, model->config, folder.path());
    const auto configure = [&](const std::string& fields) {
        folder.write("adapter_config.json", R"({"peft_type":"LORA","r":3,"lora_alpha":6,)" + fields + "}");
        return load_adapter(folder.path(), *model);
    };
    check_same(configure(R"("target_modules":"all-linear","fan_in_fan_out":true)"), adapter);
    check_same(configure(R"("target_modules":".*_proj")"), adapter);
    check_same(configure(R"("target_modules":null)"), adapter);
    check_error(ErrorCode::format, "has tensors for model.layers.1.self_attn.q_proj, which is no target module",
                [&] { configure(R"("target_modules":".*_proj","exclude_modules":".*1.*q_proj")"); });
    CHECK(configure(R"("target_modules":".*","use_rslora":true)").layers[0][LinearModule::up].scale ==
          static_cast<float>(6 / std::sqrt(3.0)));
    const Adapter patterns = configure(R"("target_modules":".*","alpha_pattern":{"layers\\.1\\..*":3,"(q|k)_proj":9})");
    CHECK(patterns.layers[1][LinearModule::q].scale == 1);
    CHECK(patterns.layers[0][LinearModule::q].scale == 3);
    CHECK(patterns.layers[0][LinearModule::v].scale == 2);

    // Names with what PEFT strips when it saves.
    Tensors raw;
    for (const auto& [name, tensor] : read_tensors(folder.path()))
        raw[name.substr(0, name.size() - 6) + "default.weight"] = tensor;
    write_tensors(folder.path(), raw);
    check_same(configure(R"("target_modules":".*")"), adapter);
}

TEST_CASE("what does not fit is refused, and the tensor is named") {
    refuses([](Tensors& t) { t.erase(q0 + "lora_B.weight"); }, "lacks the tensor " + q0 + "lora_B.weight");
    refuses([](Tensors& t) { t.erase(q0 + "lora_A.weight"); }, "lacks the tensor " + q0 + "lora_A.weight");
    refuses([](Tensors& t) { t.erase(rows_name); }, "lacks the tensor " + rows_name);
    refuses(
        [](Tensors& t) {
            t[q0 + "lora_A.weight"] = {{3, 19}, std::vector<float>(57)};
        },
        q0 + "lora_A.weight has the shape 3 x 19, expected 3 x 20");
    refuses(
        [](Tensors& t) {
            t[q0 + "lora_B.weight"] = {{35, 3}, std::vector<float>(105)};
        },
        q0 + "lora_B.weight has the shape 35 x 3, expected 36 x 3");
    refuses(
        [](Tensors& t) {
            t[q0 + "lora_B.weight"] = {{36, 4}, std::vector<float>(144)};
        },
        q0 + "lora_B.weight has the shape 36 x 4, expected 36 x 3");
    refuses(
        [](Tensors& t) {
            t[q0 + "lora_A.weight"] = {{4, 20}, std::vector<float>(80)};
        },
        q0 + "lora_A.weight has the rank 4, but the configuration says 3");
    refuses(
        [](Tensors& t) {
            t[q0 + "lora_A.weight"] = {{3, 20, 1}, std::vector<float>(60)};
        },
        q0 + "lora_A.weight has 3 dimensions, expected 2");
    refuses(
        [](Tensors& t) {
            t[rows_name] = {{3, 20}, std::vector<float>(60)};
        },
        rows_name + " has the shape 3 x 20, expected 2 x 20");
    refuses([](Tensors& t) { t[q0 + "lora_A.weight"].second[4] = std::nanf(""); },
            q0 + "lora_A.weight has a value that is not a finite number");
    refuses(
        [](Tensors& t) {
            t["base_model.model.lm_head.weight"] = {{37, 20}, std::vector<float>(740)};
        },
        "has the tensor base_model.model.lm_head.weight, whose row 0 is not the model's", ErrorCode::unsupported);
    refuses(
        [](Tensors& t) {
            t["base_model.model.model.embed_positions.weight"] = {{37, 20}, std::vector<float>(740)};
        },
        "has the tensor base_model.model.model.embed_positions.weight, for which this model has no place",
        ErrorCode::unsupported);
    refuses([](Tensors& t) { t[q0 + "lora_A.default.weight"] = t[q0 + "lora_A.weight"]; },
            "has the tensors " + q0 + "lora_A.default.weight and " + q0 + "lora_A.weight, which are the same");
    const auto layer2 = [](Tensors& t) {
        for (const char* part : {"lora_A.weight", "lora_B.weight"})
            t["base_model.model.model.layers.2.self_attn.q_proj." + std::string{part}] = t[q0 + part];
    };
    refuses(layer2, "has the tensor base_model.model.model.layers.2.self_attn.q_proj.lora_A.weight, for which this model has",
            ErrorCode::unsupported);
    const auto k = [](Tensors& t) {
        for (const char* part : {"lora_A.weight", "lora_B.weight"})
            t["base_model.model.model.layers.0.self_attn.k_proj." + std::string{part}] = t[q0 + part];
    };
    refuses(k, "has tensors for model.layers.0.self_attn.k_proj, which is no target module");
    refuses([](Tensors& t) { std::erase_if(t, [](const auto& e) { return e.first.find("v_proj") != std::string::npos; }); },
            "has no tensors for model.layers.0.self_attn.v_proj, which is a target module");
    // PEFT ignores keys that match nothing; here they are refused.
    refuses(
        [](Tensors& t) {
            Tensors other;
            for (const auto& [name, tensor] : t) other["wrong." + name] = tensor;
            t = other;
        },
        "has no tensors for model.layers.0.self_attn.q_proj, which is a target module");
}

TEST_CASE("folders that are none, and adapters of nothing") {
    const auto model = small_model();
    const TemporaryFolder folder;
    const auto load = [&] { load_adapter(folder.path(), *model); };
    check_error(ErrorCode::io, "cannot open '", [&] { load_adapter(folder.path() / "absent", *model); });
    check_error(ErrorCode::io, "adapter_config.json", load);
    folder.write("adapter_config.json", R"({"peft_type":"LORA","target_modules":"all-linear"})");
    check_error(ErrorCode::io, "adapter_model.safetensors", load);
    write_tensors(folder.path(), {});
    check_error(ErrorCode::format, "has no tensors for model.layers.0.self_attn.q_proj, which is a target module", load);
    folder.write("adapter_config.json", R"({"peft_type":"LORA"})");
    check_error(ErrorCode::format, "is an adapter that changes nothing of this model", load);
}

TEST_CASE("saving is refused before a file changes, and a failure leaves the old adapter") {
    const auto model = small_model();
    const TemporaryFolder folder;
    const Adapter adapter = random_adapter(model->config, {.ids = {1}});
    save_adapter(adapter, model->config, folder.path());
    Adapter wrong = adapter;
    wrong.layers[1][LinearModule::k].b.pop_back();
    const auto save = [&] { save_adapter(wrong, model->config, folder.path()); };
    check_error(
        ErrorCode::contract,
        "the tensor model.layers.1.self_attn.k_proj.lora_B.weight of an adapter has 35 elements, but the model asks for "
        "12 x 3",
        save);
    wrong = adapter;
    wrong.embedding_ids = {38};
    check_error(ErrorCode::contract, "replaces the embedding row 38, but the model has 37 rows, and new ones follow on", save);
    wrong.embedding_ids = {-1};
    check_error(ErrorCode::contract, "replaces the embedding row -1, but the model has 37 rows", save);
    wrong.embedding_ids = {4, 4};
    check_error(ErrorCode::contract, "replaces 2 embedding rows by 20 numbers, but the model asks for rows of 20", save);
    wrong.embedding_rows.resize(40);
    check_error(ErrorCode::contract, "replaces the embedding row 4 twice", save);
    wrong = adapter;
    wrong.layers.pop_back();
    check_error(ErrorCode::contract, "an adapter of 1 layers does not fit a model of 2 layers", save);
    wrong = {};
    check_error(ErrorCode::contract, "an adapter that changes nothing is saved", save);
    check_same(load_adapter(folder.path(), *model), adapter);

    // The numbers cannot be written: a folder stands in their place.
    const TemporaryFolder blocked;
    std::filesystem::create_directory(blocked.path() / "adapter_model.safetensors");
    check_error(ErrorCode::io, "it exists and is a folder", [&] { save_adapter(adapter, model->config, blocked.path()); });
    CHECK(std::distance(std::filesystem::directory_iterator{blocked.path()}, {}) == 1);
    check_error(ErrorCode::io, "cannot make the folder",
                [&] { save_adapter(adapter, model->config, folder.path() / "adapter_config.json" / "x"); });
}

}  // namespace test_files_adapter_files
