// Losses, every gradient and ten steps of AdamW against PyTorch; tests/reference/train_golden.py made the figures.
#include "flashback/train/trainer.hpp"
#include "support/random_model.hpp"

#include <cmath>
#include <cstddef>
#include <fstream>
#include <memory>
#include <string>
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

std::shared_ptr<const Transformer> golden_model(SplitMix64& random) {
    auto model = std::make_shared<Transformer>();
    TransformerConfig& c = model->config;
    c = {.name = "golden",
         .vocab = 29,
         .window = 64,
         .layers = 2,
         .width = 16,
         .heads = 4,
         .kv_heads = 2,
         .head_dim = 4,
         .hidden = 24,
         .norm_epsilon = 1e-5f,
         .rotary_dim = 4};
    const auto matrix = [&](std::size_t outputs, std::size_t inputs, double most) {
        const std::vector<float> values = drawn(random, outputs * inputs, -most, most);
        return simd::PackedMatrix::of(DType::f32, outputs, inputs,
                                      [&](std::size_t o, std::size_t i) { return values[o * inputs + i]; });
    };
    model->embedding = matrix(29, 16, 0.5);
    for (std::size_t l = 0; l < 2; ++l) {
        TransformerLayer& layer = model->layers.emplace_back();
        layer.attention_norm = drawn(random, 16, 0.5, 1.5);
        layer.ffn_norm = drawn(random, 16, 0.5, 1.5);
        layer.q = matrix(16, 16, 0.4);
        layer.k = matrix(8, 16, 0.4);
        layer.v = matrix(8, 16, 0.4);
        layer.output = matrix(16, 16, 0.4);
        layer.gate = matrix(24, 16, 0.4);
        layer.up = matrix(24, 16, 0.4);
        layer.down = matrix(16, 24, 0.4);
    }
    model->output_norm = drawn(random, 16, 0.5, 1.5);
    model->rotary_frequencies = {1.0, 0.01};
    return model;
}

std::vector<TrainingExample> examples_of(const nlohmann::json& batch) {
    std::vector<TrainingExample> examples;
    for (const auto& one : batch)
        examples.push_back({one.at("tokens").get<TokenBuffer>(), one.at("targets").get<std::vector<std::uint32_t>>()});
    return examples;
}

void check_case(const nlohmann::json& golden, bool lora) {
    SplitMix64 random{golden.at("seed").get<std::uint64_t>()};
    const auto model = golden_model(random);
    TrainingTargets targets;
    TrainerOptions options;
    options.learning_rate = {.peak = 0.02f, .decay = Decay::cosine, .warmup_ratio = 0.2, .steps = 10};
    options.adamw.weight_decay = 0.1f;
    options.clip = 0.5f;
    if (lora) {
        targets.lora = {.modules = {LinearModule::down, LinearModule::q, LinearModule::v}, .rank = 4, .alpha = 8, .dropout = 0};
        targets.markers = {27, 5};
        options.cut_columns = {27, 5};
    } else {
        targets.all = true;
    }
    Trainer trainer{model, targets, options};
    if (lora) {
        for (std::size_t l = 0; l < 2; ++l) {
            for (const char* module : {"attn_q", "attn_v", "ffn_down"}) {
                for (const char* part : {".lora_a", ".lora_b"}) {
                    const Parameter& p = trainer.layout()["blk." + std::to_string(l) + '.' + module + part];
                    p.write(drawn(random, p.outputs * p.inputs, -0.3, 0.3), trainer.state().parameters.data());
                }
            }
        }
    }
    const auto& batches = golden.at("batches");
    const std::vector<TrainingExample> first = examples_of(batches[0]);
    REQUIRE(golden.at("losses").size() == first.size());
    for (std::size_t i = 0; i < first.size(); ++i) {
        const LossSum sum = trainer.evaluate({&first[i], 1});
        CHECK(sum.targets == first[i].targets.size());
        CHECK(sum.nats == doctest::Approx(golden.at("losses")[i].get<double>()).epsilon(2e-6));
    }
    trainer.accumulate(first);
    const auto& gradients = golden.at("gradients");
    CHECK(gradients.size() == trainer.layout().parameters().size());
    for (const Parameter& p : trainer.layout()) {
        CAPTURE(p.name);
        const auto expected = gradients.at(p.name).get<std::vector<double>>();
        const std::vector<float> found = p.read(trainer.gradient().data());
        REQUIRE(found.size() == expected.size());
        double most = 0;
        double worst = 0;
        for (std::size_t i = 0; i < found.size(); ++i) {
            most = std::max(most, std::abs(expected[i]));
            worst = std::max(worst, std::abs(static_cast<double>(found[i]) - expected[i]));
        }
        CHECK(most > 0);
        CHECK(worst <= 5e-6 * most);
    }
    for (std::size_t step = 0; step < batches.size(); ++step) {
        CAPTURE(step);
        if (step > 0) trainer.accumulate(examples_of(batches[step]));
        const StepResult result = trainer.apply();
        CHECK(result.number == step + 1);
        CHECK(result.loss == doctest::Approx(golden.at("curve")[step].get<double>()).epsilon(1e-4));
        CHECK(result.gradient_norm == doctest::Approx(golden.at("norms")[step].get<double>()).epsilon(1e-3));
    }
}

nlohmann::json golden_cases() {
    std::ifstream in{FLASHBACK_TEST_DATA "/train_golden.json"};
    REQUIRE(in.good());
    return nlohmann::json::parse(in).at("cases");
}

}  // namespace

TEST_CASE("all parameters train as PyTorch trains them") { check_case(golden_cases().at(0), false); }

TEST_CASE("a LoRA and markers train as PyTorch trains them") { check_case(golden_cases().at(1), true); }
