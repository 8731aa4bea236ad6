// Every gradient of a whole model against finite differences of a forward pass in double.
#include "flashback/train/trainer.hpp"
#include "train/helpers.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;
using namespace flashback_test;

namespace {

constexpr std::size_t samples = 5;  // elements of each tensor

/// Some elements of every trained tensor, those with the greatest gradients among them.
void check_gradients(Trainer& trainer, DoubleTransformer& reference, const std::vector<TrainingExample>& batch) {
    trainer.accumulate(batch);
    const auto loss = [&] {
        double sum = 0;
        for (const TrainingExample& example : batch) sum += reference.loss(example.tokens, example.targets);
        return sum;
    };
    REQUIRE(trainer.layout().elements() > 0);
    for (const Parameter& p : trainer.layout()) {
        CAPTURE(p.name);
        const std::vector<float> gradient = p.read(trainer.gradient().data());
        float most = 0;
        for (const float g : gradient) most = std::max(most, std::abs(g));
        CHECK(most > 0);
        // A bias of keys adds the same to all scores of a query, unless it is rotated: nothing comes of it.
        const bool idle = reference.rotary_dim == 0 && p.name.ends_with("attn_k.bias");
        if (idle) most = 0.01f;
        SplitMix64 random{p.offset + 1};
        std::vector<double>& values = reference.tensors.at(p.name);
        for (std::size_t i = 0; i < samples; ++i) {
            // The greatest one first, then any.
            const auto greatest = std::ranges::max_element(gradient, {}, [](float g) { return std::abs(g); });
            const std::size_t at =
                i == 0 ? static_cast<std::size_t>(greatest - gradient.begin()) : random.below(gradient.size());
            const double expected = difference(values[at], loss, reference.activation == relu64 ? 1e-7 : 1e-3);
            CAPTURE(at);
            CAPTURE(expected);
            CAPTURE(gradient[at]);
            const bool right = std::abs(static_cast<double>(gradient[at]) - expected) <= 1e-4 * static_cast<double>(most);
            CHECK_MESSAGE(right, "a gradient differs from finite differences");
        }
    }
}

}  // namespace

TEST_CASE("gradients of all parameters are those of finite differences") {
    for (const bool tied : {false, true}) {
        CAPTURE(tied);
        const auto model = odd_model(tied);
        Trainer trainer{model, {.all = true}};
        DoubleTransformer reference = in_double(*model, trainer);
        // More than a block of queries, and one token alone in the last panel.
        check_gradients(trainer, reference, {random_example(67, 37, 1), random_example(3, 37, 2)});
    }
}

TEST_CASE("gradients of a LoRA on all modules and of markers are those of finite differences, dropout included") {
    const std::vector<TokenId> markers{5, 30};
    for (const bool tied : {false, true}) {
        for (const float dropout : {0.0f, 0.4f}) {
            CAPTURE(tied);
            CAPTURE(dropout);
            const auto model = odd_model(tied);
            TrainingTargets targets;
            targets.lora = {
                .modules = {linear_modules.begin(), linear_modules.end()}, .rank = 3, .alpha = 5, .dropout = dropout};
            targets.markers = markers;
            Trainer trainer{model, targets, {.cut_columns = markers, .seed = 4}};
            disturb(trainer);
            DoubleTransformer reference = in_double(*model, trainer);
            reference.markers = markers;
            reference.cut = markers;
            reference.lora_scale = 5.0 / 3;
            TrainingExample example = random_example(70, 37, 3, 20, markers);
            example.tokens[2] = 5;
            example.tokens[11] = 30;
            example.tokens[15] = 5;
            reference.dropout = [&](std::size_t layer, std::size_t module, std::size_t row, std::size_t input) {
                detail::Dropout drop = detail::Dropout::of(dropout);
                drop.key = random_key(random_key(4, 2, 0, 0), layer, module);
                std::vector<float> ones(input + 1, 1.0f);
                drop.apply(row, ones.data(), ones.size(), ones.data());
                return static_cast<double>(ones[input]);
            };
            if (dropout == 0) reference.dropout = {};
            check_gradients(trainer, reference, {example});
        }
    }
}

TEST_CASE("gradients are right for every set of things that train, wherever backward ends") {
    const auto model = odd_model(true);
    std::vector<TrainingTargets> sets;
    for (const LinearModule m : linear_modules) sets.push_back({.lora = {.modules = {m}, .rank = 2, .alpha = 2, .dropout = 0}});
    sets.push_back({.lora = {.modules = {LinearModule::q, LinearModule::v}, .rank = 4, .alpha = 4, .dropout = 0}});
    sets.push_back({.markers = {7}});
    for (const TrainingTargets& targets : sets) {
        CAPTURE(targets.lora.modules.empty() ? "markers" : to_string(targets.lora.modules[0]));
        Trainer trainer{model, targets};
        disturb(trainer);
        DoubleTransformer reference = in_double(*model, trainer);
        reference.lora_scale = 1;
        reference.markers = targets.markers;
        TrainingExample example = random_example(20, 37, 6, 10);
        example.tokens[3] = 7;
        check_gradients(trainer, reference, {example});
    }
}

TEST_CASE("gradients of all parameters of every family are those of finite differences") {
    for (const OddFamily& family : odd_families()) {
        CAPTURE(family.name);
        const auto model = random_model(family.shape);
        Trainer trainer{model, {.all = true}};
        DoubleTransformer reference = in_double(*model, trainer);
        check_gradients(trainer, reference, {random_example(67, 37, 1), random_example(3, 37, 2)});
    }
}

TEST_CASE("gradients of a LoRA and of markers of every family are those of finite differences, wherever backward ends") {
    const std::vector<TokenId> markers{5, 30};
    for (const OddFamily& family : odd_families()) {
        CAPTURE(family.name);
        const auto model = random_model(family.shape);
        std::vector<LinearModule> modules{linear_modules.begin(), linear_modules.end()};
        std::erase_if(modules, [&](LinearModule m) { return !model->config.has(m); });
        std::vector<TrainingTargets> sets{
            {.lora = {.modules = modules, .rank = 3, .alpha = 5, .dropout = 0}, .markers = markers}, {.markers = markers}};
        for (const LinearModule m : modules) sets.push_back({.lora = {.modules = {m}, .rank = 3, .alpha = 5, .dropout = 0}});
        for (const TrainingTargets& targets : sets) {
            CAPTURE(targets.lora.modules.empty() ? "markers" : to_string(targets.lora.modules[0]));
            Trainer trainer{model, targets, {.cut_columns = markers}};
            disturb(trainer);
            DoubleTransformer reference = in_double(*model, trainer);
            reference.markers = targets.markers;
            reference.cut = markers;
            reference.lora_scale = 5.0 / 3;
            TrainingExample example = random_example(30, 37, 3, 20, markers);
            example.tokens[2] = 5;
            example.tokens[11] = 30;
            check_gradients(trainer, reference, {example});
        }
    }
}
