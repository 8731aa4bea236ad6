// Adapters as GGUF files, there and back, and what llama.cpp finds with them.
#include "flashback/files/load.hpp"
#include "flashback/files/load_adapter.hpp"
#include "flashback/files/save_adapter.hpp"
#include "flashback/files/save_gguf_adapter.hpp"
#include "flashback/format/gguf_writer.hpp"
#include "flashback/model/session.hpp"
#include "support/errors.hpp"
#include "support/random_adapter.hpp"
#include "support/random_model.hpp"
#include "support/temporary_folder.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

namespace test_files_gguf_adapter {

using namespace flashback;
using namespace flashback_test;

namespace {

const RandomModel small{.layers = 2, .width = 24, .heads = 4, .kv_heads = 2, .head_dim = 6, .hidden = 28, .vocab = 37};

void check_same_pairs(const Adapter& a, const Adapter& b) {
    REQUIRE(a.layers.size() == b.layers.size());
    for (std::size_t l = 0; l < a.layers.size(); ++l) {
        for (const LinearModule m : linear_modules) {
            CAPTURE(to_string(m));
            CHECK(a.layers[l][m].rank == b.layers[l][m].rank);
            CHECK(a.layers[l][m].scale == b.layers[l][m].scale);
            CHECK(a.layers[l][m].a == b.layers[l][m].a);
            CHECK(a.layers[l][m].b == b.layers[l][m].b);
        }
    }
}

/// The rows are the same but for the rounding of what was added to the model's: an ulp of that, and one of the row.
void check_near_rows(const Adapter& found, const Adapter& expected, const Transformer& model) {
    const std::size_t width = model.config.row_width();
    REQUIRE(found.embedding_ids.size() == expected.embedding_ids.size());
    std::vector<float> own(width);
    for (std::size_t i = 0; i < found.embedding_ids.size(); ++i) {
        const auto at = std::ranges::find(expected.embedding_ids, found.embedding_ids[i]) - expected.embedding_ids.begin();
        REQUIRE(static_cast<std::size_t>(at) < expected.embedding_ids.size());
        model.embedding.row(static_cast<std::size_t>(found.embedding_ids[i]), own.data());
        for (std::size_t k = 0; k < width; ++k) {
            const auto row = static_cast<double>(expected.embedding_rows[static_cast<std::size_t>(at) * width + k]);
            const double added = std::fabs(row - static_cast<double>(own[k]));
            CHECK(std::fabs(static_cast<double>(found.embedding_rows[i * width + k]) - row) <=
                  0x1p-23 * (added + std::fabs(row)));
        }
    }
}

struct Part {
    std::string name;
    std::vector<std::uint64_t> dims;
    std::vector<float> values;
};

/// A file with these texts and tensors.
void write_file(const std::filesystem::path& path, const std::vector<std::pair<std::string, std::string>>& texts, float alpha,
                const std::vector<Part>& parts) {
    GgufWriter writer{path};
    for (const auto& [key, text] : texts) writer.set(key, text);
    writer.set("adapter.lora.alpha", alpha);
    for (const Part& part : parts) writer.add_tensor(part.name, part.dims, DType::f32);
    for (const Part& part : parts) writer.write(std::as_bytes(std::span{part.values}));
    writer.finish();
}

const std::vector<std::pair<std::string, std::string>> header{
    {"general.architecture", "llama"}, {"general.type", "adapter"}, {"adapter.type", "lora"}};

std::vector<Part> query_pair() {
    return {{"blk.0.attn_q.weight.lora_a", {24, 2}, std::vector<float>(48, 0.5f)},
            {"blk.0.attn_q.weight.lora_b", {2, 24}, std::vector<float>(48, 0.25f)}};
}

}  // namespace

TEST_CASE("pairs go to a GGUF file and back with the same bits, and so from PEFT to PEFT") {
    const auto model = random_model(small);
    const TemporaryFolder folder;
    const auto file = folder.path() / "adapter.gguf";
    for (const float scale : {2.0f, 0.25f, -1.0f, 10.0f / 3}) {
        const Adapter adapter = random_adapter(model->config, {.scale = scale, .ids = {30, 5, 36}});
        save_gguf_adapter(adapter, *model, file);
        const Adapter back = load_adapter(file, *model);
        check_same_pairs(back, adapter);
        check_near_rows(back, adapter, *model);

        save_adapter(adapter, model->config, folder.path() / "peft");
        save_gguf_adapter(load_adapter(folder.path() / "peft", *model), *model, file);
        save_adapter(load_adapter(file, *model), model->config, folder.path() / "again");
        check_same_pairs(load_adapter(folder.path() / "again", *model), adapter);
    }
    const Adapter rows = random_adapter(model->config, {.modules = {}, .ids = {3}});
    save_gguf_adapter(rows, *model, file);
    const Adapter back = load_adapter(file, *model);
    CHECK(back.layers.empty());
    check_near_rows(back, rows, *model);
}

TEST_CASE("pairs of other ranks and scales keep what they do") {
    const auto model = random_model(small);
    const TemporaryFolder folder;
    Adapter mixed = random_adapter(model->config, {.scale = 2});
    const Adapter other = random_adapter(model->config, {.rank = 5, .scale = 0.3f, .seed = 8});
    mixed.layers[1][LinearModule::q] = other.layers[1][LinearModule::q];
    mixed.layers[0][LinearModule::down] = {};
    mixed.layers[0][LinearModule::up].scale = 0;
    save_gguf_adapter(mixed, *model, folder.path() / "a.gguf");
    const Adapter back = load_adapter(folder.path() / "a.gguf", *model);
    for (std::size_t l = 0; l < 2; ++l) {
        for (const LinearModule m : linear_modules) {
            const LoraPair& found = back.layers[l][m];
            const LoraPair& expected = mixed.layers[l][m];
            CHECK(found.rank == expected.rank);
            CHECK(found.a == expected.a);
            for (std::size_t i = 0; i < expected.b.size(); ++i) {
                const double product = static_cast<double>(expected.scale) * static_cast<double>(expected.b[i]);
                CHECK(std::fabs(static_cast<double>(found.scale) * static_cast<double>(found.b[i]) - product) <=
                      0x1p-22 * std::fabs(product));
            }
        }
    }
}

TEST_CASE("more rows than the embedding is wide are a pair of that width") {
    const auto model = random_model(small);
    const TemporaryFolder folder;
    std::vector<TokenId> ids(30);
    std::iota(ids.begin(), ids.end(), 4);
    const Adapter adapter = random_adapter(model->config, {.scale = 2, .ids = ids});
    save_gguf_adapter(adapter, *model, folder.path() / "a.gguf");
    const GgufFile file = GgufFile::open(folder.path() / "a.gguf");
    CHECK(file.tensor("token_embd.weight.lora_a")->dims == std::array<std::uint64_t, 4>{24, 37, 1, 1});
    CHECK(file.tensor("token_embd.weight.lora_b")->dims == std::array<std::uint64_t, 4>{24, 24, 1, 1});
    check_near_rows(load_adapter(folder.path() / "a.gguf", *model), adapter, *model);
}

TEST_CASE("the file is what llama.cpp reads") {
    const auto model = random_model(small);
    const TemporaryFolder folder;
    const Adapter adapter =
        random_adapter(model->config, {.modules = {LinearModule::q, LinearModule::down}, .scale = 2, .ids = {30, 5}});
    save_gguf_adapter(adapter, *model, folder.path() / "a.gguf");
    const GgufFile file = GgufFile::open(folder.path() / "a.gguf");
    CHECK(file.text("general.architecture") == "llama");
    CHECK(file.text("general.type") == "adapter");
    CHECK(file.text("adapter.type") == "lora");
    CHECK(file.real("adapter.lora.alpha") == 6);
    CHECK(file.tensors().size() == 10);
    using Dims = std::array<std::uint64_t, 4>;
    CHECK(file.tensor("blk.1.ffn_down.weight.lora_a")->dims == Dims{28, 3, 1, 1});
    CHECK(file.tensor("blk.1.ffn_down.weight.lora_b")->dims == Dims{3, 24, 1, 1});
    CHECK(file.tensor("token_embd.weight.lora_a")->dims == Dims{2, 37, 1, 1});
    CHECK(file.tensor("token_embd.weight.lora_b")->dims == Dims{2, 24, 1, 1});
}

TEST_CASE("without an alpha the scale is 1, and what adds nothing to the embedding is no row") {
    const auto model = random_model(small);
    const TemporaryFolder folder;
    auto parts = query_pair();
    std::vector<float> names(74);
    names[std::size_t{5} * 2] = 1;
    names[std::size_t{6} * 2 + 1] = 1;
    std::vector<float> added(48);
    for (std::size_t i = 0; i < 24; ++i) added[i * 2] = 1;
    parts.push_back({"token_embd.weight.lora_a", {2, 37}, names});
    parts.push_back({"token_embd.weight.lora_b", {2, 24}, added});
    write_file(folder.path() / "a.gguf", header, 0, parts);
    const Adapter adapter = load_adapter(folder.path() / "a.gguf", *model);
    CHECK(adapter.layers[0][LinearModule::q].scale == 1);
    CHECK(adapter.embedding_ids == std::vector<TokenId>{5});
    std::vector<float> own(24);
    model->embedding.row(5, own.data());
    for (std::size_t i = 0; i < 24; ++i) CHECK(adapter.embedding_rows[i] == own[i] + 1);
}

TEST_CASE("what a GGUF file cannot hold is refused before it is there") {
    RandomModel how = small;
    how.tied = true;
    const auto tied = random_model(how);
    const auto untied = random_model(small);
    const TemporaryFolder folder;
    const auto file = folder.path() / "a.gguf";
    const auto refuse = [&](ErrorCode code, const char* sentence, const Adapter& adapter, const Transformer& model) {
        check_error(code, sentence, [&] { save_gguf_adapter(adapter, model, file); });
        CHECK(std::filesystem::is_empty(folder.path()));
    };
    refuse(ErrorCode::unsupported,
           "an adapter with 2 embedding rows cannot be a GGUF file for a model whose output head is tied",
           random_adapter(tied->config, {.ids = {1, 2}}), *tied);
    refuse(ErrorCode::unsupported, "an adapter that adds 1 tokens to the 37 of the model cannot be a GGUF file",
           random_adapter(untied->config, {.ids = {1, 37}}), *untied);
    refuse(ErrorCode::contract, "an adapter that changes nothing is saved", {}, *untied);
    Adapter wrong = random_adapter(untied->config, {});
    wrong.layers.pop_back();
    refuse(ErrorCode::contract, "an adapter of 1 layers does not fit a model of 2 layers", wrong, *untied);
    // The LoRA alone is fine, and a file with rows can be read for either.
    const Adapter rows = random_adapter(untied->config, {.ids = {1, 2}});
    save_gguf_adapter(random_adapter(tied->config, {}), *tied, file);
    save_gguf_adapter(rows, *untied, file);
    CHECK(load_adapter(file, *tied).embedding_ids.size() == 2);
}

TEST_CASE("a GGUF adapter that does not fit is refused, and the tensor or the key is named") {
    const auto model = random_model(small);
    const TemporaryFolder folder;
    const auto file = folder.path() / "a.gguf";
    const auto refuse =
        [&](ErrorCode code, const std::string& sentence,
            const std::function<void(std::vector<std::pair<std::string, std::string>>&, std::vector<Part>&)>& change,
            float alpha = 4) {
            auto texts = header;
            auto parts = query_pair();
            change(texts, parts);
            write_file(file, texts, alpha, parts);
            check_error(code, sentence, [&] { load_adapter(file, *model); });
        };
    const auto text = [](std::size_t index, const char* value) {
        return [=](auto& texts, auto&) { texts[index].second = value; };
    };
    refuse(ErrorCode::unsupported, "has 'model' for general.type, expected 'adapter'", text(1, "model"));
    refuse(ErrorCode::unsupported, "has 'gpt2' for general.architecture, expected 'llama'", text(0, "gpt2"));
    refuse(ErrorCode::unsupported, "has 'aloha' for adapter.type, expected 'lora'", text(2, "aloha"));
    refuse(ErrorCode::unsupported, "has nothing for adapter.type, expected 'lora'",
           [](auto& texts, auto&) { texts.pop_back(); });
    refuse(ErrorCode::unsupported, "has the key adapter.alora.invocation_tokens, which may change the arithmetic",
           [](auto& texts, auto&) { texts.emplace_back("adapter.alora.invocation_tokens", "x"); });
    refuse(
        ErrorCode::format, "has inf for adapter.lora.alpha, expected a number", [](auto&, auto&) {}, INFINITY);
    refuse(ErrorCode::format, "lacks the tensor blk.0.attn_q.weight.lora_b, but has the other of the pair",
           [](auto&, auto& parts) { parts.pop_back(); });
    refuse(ErrorCode::format, "lacks the tensor blk.0.attn_q.weight.lora_a, but has the other",
           [](auto&, auto& parts) { parts.erase(parts.begin()); });
    refuse(ErrorCode::format, "tensor blk.0.attn_q.weight.lora_b has the shape 3 x 16, expected 2 x 24",
           [](auto&, auto& parts) {
               parts[1].dims = {3, 16};
           });
    refuse(ErrorCode::format, "tensor blk.0.attn_q.weight.lora_a has 3 dimensions, expected 2", [](auto&, auto& parts) {
        parts[0].dims = {12, 2, 2};
    });
    refuse(ErrorCode::format, "tensor blk.0.attn_q.weight.lora_a has the shape 12 x 4, expected 24 x 4",
           [](auto&, auto& parts) {
               parts[0].dims = {12, 4};
           });
    refuse(ErrorCode::format, "tensor blk.0.attn_q.weight.lora_b has a value that is not a finite number",
           [](auto&, auto& parts) { parts[1].values[7] = NAN; });
    refuse(ErrorCode::unsupported, "has the tensor blk.2.attn_q.weight.lora_a, for which this model has no place",
           [](auto&, auto& parts) {
               parts.push_back({"blk.2.attn_q.weight.lora_a", {24, 2}, parts[0].values});
           });
    refuse(ErrorCode::unsupported, "has the tensor output.weight.lora_b, for which this model has no place",
           [](auto&, auto& parts) {
               parts.push_back({"output.weight.lora_b", {2, 24}, parts[0].values});
           });
    refuse(ErrorCode::unsupported, "has the tensor blk.0.attn_norm.weight, for which this model has no place",
           [](auto&, auto& parts) {
               parts.push_back({"blk.0.attn_norm.weight", {48}, parts[0].values});
           });
    refuse(ErrorCode::format, "tensor token_embd.weight.lora_a has the shape 2 x 24, expected 2 x 37", [](auto&, auto& parts) {
        parts.push_back({"token_embd.weight.lora_a", {2, 24}, parts[0].values});
        parts.push_back({"token_embd.weight.lora_b", {2, 24}, parts[0].values});
    });
    refuse(ErrorCode::format, "adds to the embedding of token 0 a value that is not a finite number", [](auto&, auto& parts) {
        parts.push_back({"token_embd.weight.lora_a", {2, 37}, std::vector<float>(74, 1e30f)});
        parts.push_back({"token_embd.weight.lora_b", {2, 24}, std::vector<float>(48, 1e30f)});
    });
    refuse(ErrorCode::format, "is an adapter that changes nothing of this model", [](auto&, auto& parts) { parts.clear(); });
}

TEST_CASE("the adapter of the default model gives what llama.cpp finds with it as a GGUF file, with its rows and without") {
    const auto expected = nlohmann::json::parse(std::ifstream{FLASHBACK_TEST_DATA "/flashback-adapter-5m_expected.json"});
    const std::filesystem::path base = FLASHBACK_TEST_MODEL;
    const auto model = load_model(base);
    Adapter adapter = load_adapter(base.parent_path() / "flashback-adapter-5m", *model);
    REQUIRE(adapter.embedding_ids == std::vector<TokenId>{4096, 4097});
    for (const char* kind : {"lora_and_rows", "lora"}) {
        CAPTURE(kind);
        Session session{model, {.adapter = std::make_shared<const PackedAdapter>(adapter, model->config)}};
        Session plain{model};
        double farthest = 0;
        for (const auto& one : expected.at(kind)) {
            const auto tokens = one.at("tokens").get<std::vector<TokenId>>();
            CHECK(std::ranges::count(tokens, 4096) == 1);
            session.truncate(0);
            plain.truncate(0);
            const std::span<const float> with = session.evaluate_all(tokens);
            const std::span<const float> without = plain.evaluate_all(tokens);
            const auto probability = [](std::span<const float> logits, std::size_t position, std::size_t token) {
                const auto row = logits.subspan(position * 4098, 4098);
                const double most = static_cast<double>(*std::ranges::max_element(row));
                double total = 0;
                for (const float logit : row) total += std::exp(static_cast<double>(logit) - most);
                return std::exp(static_cast<double>(row[token]) - most) / total;
            };
            for (std::size_t t = 0; t < tokens.size(); ++t) {
                for (const auto& [token, found] : one.at("next_top5")[t].get<std::vector<std::pair<std::size_t, double>>>()) {
                    CHECK(std::fabs(probability(with, t, token) - found) <= 2e-3);
                    farthest = std::max(farthest, std::fabs(probability(without, t, token) - found));
                }
            }
        }
        CHECK(farthest > 0.1);
        adapter.embedding_ids.clear();
        adapter.embedding_rows.clear();
    }
}

}  // namespace test_files_gguf_adapter
