// An adapter of PEFT against PyTorch; tests/reference/peft_golden.py made the files and the figures.
#include "flashback/core/random.hpp"
#include "flashback/files/load_adapter.hpp"
#include "flashback/model/merge_adapter.hpp"
#include "flashback/model/session.hpp"

#include <cmath>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <memory>
#include <span>
#include <vector>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

using namespace flashback;

namespace {

std::vector<float> drawn(SplitMix64& random, std::size_t count, double low, double high) {
    std::vector<float> values(count);
    for (float& value : values) value = static_cast<float>(low + (high - low) * random.uniform());
    return values;
}

/// The model of the script, as llama.cpp's converter would put it into a GGUF file: rows of q and k go from (heads, 2, half) to
/// (heads, half, 2).
std::shared_ptr<const Transformer> golden_model() {
    SplitMix64 random{21};
    auto model = std::make_shared<Transformer>();
    TransformerConfig& c = model->config;
    c = {.name = "golden",
         .vocab = 29,
         .window = 64,
         .layers = 2,
         .width = 16,
         .heads = 4,
         .kv_heads = 2,
         .head_dim = 8,
         .hidden = 24,
         .norm_epsilon = 1e-5f,
         .rotary_dim = 8};
    const auto matrix = [&](std::size_t outputs, std::size_t inputs, double most, bool rotated = false) {
        const std::vector<float> values = drawn(random, outputs * inputs, -most, most);
        return simd::PackedMatrix::of(DType::f32, outputs, inputs, [&](std::size_t o, std::size_t i) {
            const std::size_t row = rotated ? o / 8 * 8 + o % 2 * 4 + o % 8 / 2 : o;
            return values[row * inputs + i];
        });
    };
    model->embedding = matrix(29, 16, 0.5);
    for (std::size_t l = 0; l < 2; ++l) {
        TransformerLayer& layer = model->layers.emplace_back();
        layer.attention_norm = drawn(random, 16, 0.5, 1.5);
        layer.ffn_norm = drawn(random, 16, 0.5, 1.5);
        layer.q = matrix(32, 16, 0.4, true);
        layer.k = matrix(16, 16, 0.4, true);
        layer.v = matrix(16, 16, 0.4);
        layer.output = matrix(16, 32, 0.4);
        layer.gate = matrix(24, 16, 0.4);
        layer.up = matrix(24, 16, 0.4);
        layer.down = matrix(16, 24, 0.4);
    }
    model->output_norm = drawn(random, 16, 0.5, 1.5);
    model->rotary_frequencies = rotary_frequencies_of(c);
    return model;
}

}  // namespace

TEST_CASE("an adapter gives the logits that PyTorch finds for Hugging Face's form of the model, at run time and merged") {
    const std::filesystem::path folder = std::filesystem::path{FLASHBACK_TEST_DATA} / "peft_golden";
    const auto golden = nlohmann::json::parse(std::ifstream{folder / "logits.json"});
    const auto tokens = golden.at("tokens").get<std::vector<TokenId>>();
    const auto model = golden_model();
    const Adapter adapter = load_adapter(folder, *model);
    CHECK(adapter.layers[1][LinearModule::q].rank == 5);
    CHECK(adapter.layers[0][LinearModule::k].scale == 4.0f / 3);
    const auto worst = [&](const std::shared_ptr<const Transformer>& m, const SessionOptions& options, const char* expected) {
        Session session{m, options};
        const std::span<const float> logits = session.evaluate_all(tokens);
        double most = 0;
        for (std::size_t t = 0; t < tokens.size(); ++t) {
            for (std::size_t i = 0; i < 29; ++i)
                most = std::max(most,
                                std::fabs(static_cast<double>(logits[t * 29 + i]) - golden.at(expected)[t][i].get<double>()));
        }
        return most;
    };
    const SessionOptions with{.adapter = std::make_shared<const PackedAdapter>(adapter, model->config)};
    // Sums of floats against sums of doubles: some 20 roundings of numbers up to 4 on the way, amplified a few times.
    const double tolerance = 4 * 20 * 4 * 0x1p-24;
    CHECK(worst(model, {}, "base") < tolerance);
    CHECK(worst(model, with, "adapted") < tolerance);
    CHECK(worst(merged(*model, adapter), {}, "adapted") < tolerance);
    CHECK(worst(model, {}, "adapted") > 0.1);
}
