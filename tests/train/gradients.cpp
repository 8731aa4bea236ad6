// Every gradient of a whole model against finite differences of a forward pass in double.
#include "flashback/data/shared_history.hpp"
#include "flashback/train/trainer.hpp"
#include "support/errors.hpp"
#include "support/passage_rows.hpp"
#include "train/helpers.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;
using namespace flashback_test;

namespace {

constexpr std::size_t samples = 5;  // elements of each tensor

/// Which rows see which, straight from what an example says; and where they stand.
std::function<bool(std::size_t, std::size_t)> sees(const TrainingExample& example, std::vector<std::size_t>& positions) {
    if (example.runs.empty()) {
        const PassageRows beside = example.beside;
        for (std::size_t t = 0; t < example.tokens.size(); ++t) positions.push_back(position_of(beside, t));
        return [beside](std::size_t row, std::size_t other) { return flashback_test::sees(beside, row, other); };
    }
    std::vector<std::size_t> run_of;
    for (std::size_t i = 0; i < example.runs.size(); ++i) {
        for (std::size_t t = example.runs[i].begin; t < example.runs[i].end; ++t) {
            run_of.push_back(i);
            positions.push_back(example.runs[i].position_of(t));
        }
    }
    return [runs = example.runs, run_of, positions](std::size_t row, std::size_t other) {
        const TokenRun& run = runs[run_of[row]];
        if (other < run.shared) return true;
        if (run_of[other] == run_of[row]) return other <= row;
        return run_of[other] == run.passage && positions[other] + run.gap <= positions[row];
    };
}

/// Some elements of every trained tensor, those with the greatest gradients among them.
void check_gradients(Trainer& trainer, DoubleTransformer& reference, const std::vector<TrainingExample>& batch) {
    trainer.accumulate(batch);
    const auto loss = [&] {
        double sum = 0;
        for (const TrainingExample& example : batch) {
            reference.positions.clear();
            reference.sees = sees(example, reference.positions);
            sum += reference.loss(example.tokens, example.targets);
        }
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

TEST_CASE(
    "gradients of examples with a passage beside the text are those of finite differences, and the loss is that of a session") {
    const std::vector<TokenId> markers{5, 30};
    for (const OddFamily& family : odd_families()) {
        CAPTURE(family.name);
        const auto model = random_model(family.shape);
        std::vector<TrainingExample> batch{random_example(90, 37, 1, 70, markers), random_example(40, 37, 2, 30, markers),
                                           random_example(20, 37, 3, 10, markers)};
        batch[0].beside = {2, 40, 66, 20};  // across blocks of queries
        batch[1].beside = {0, 3, 28, 0};    // without a head, and longer than the text in front of it
        batch[1].tokens[5] = 5;
        batch[1].tokens[20] = 30;
        for (const bool all : {true, false}) {
            TrainingTargets targets{.markers = markers};
            if (all) targets = {.all = true};
            Trainer trainer{model, targets, {.cut_columns = markers}};
            disturb(trainer);
            DoubleTransformer reference = in_double(*model, trainer);
            if (!all) reference.markers = markers;
            reference.cut = markers;
            check_gradients(trainer, reference, batch);
        }

        Trainer untrained{model, {.all = true}};

        for (const TrainingExample& example : batch) {
            const PassageRows beside = example.beside;
            const TokenSpan tokens = example.tokens;
            Session session{model, {.cache = DType::f32, .block_gap = beside.gap}};
            if (beside.begin > 0) session.evaluate(tokens.first(beside.begin));
            if (beside.size() > 0)
                session.see({session.block(tokens.subspan(beside.begin, beside.size()), beside.head, beside.head)});
            const std::span<const float> logits = session.evaluate_all(tokens.subspan(beside.end));
            double sum = 0;
            for (const std::uint32_t target : example.targets) {
                const auto row = logits.subspan((target - 1 - beside.end) * session.vocab_size(), session.vocab_size());
                double total = 0;
                for (const float logit : row) total += std::exp(static_cast<double>(logit));
                sum += std::log(total) - static_cast<double>(row[static_cast<std::size_t>(tokens[target])]);
            }
            CHECK(untrained.evaluate({&example, 1}).nats == doctest::Approx(sum).epsilon(1e-5));
        }
    }
}

TEST_CASE("gradients of examples that share a history are those of finite differences") {
    const std::vector<TokenId> markers{5, 30};
    SplitMix64 random{3};
    const TokenBuffer text = random_tokens(random, 60, 37);
    std::vector<TrainingExample> appended, beside;
    for (std::size_t i = 0; i < 3; ++i) {
        const std::size_t at = 30 + 4 * i;
        TokenBuffer tokens{text.begin(), text.begin() + static_cast<std::ptrdiff_t>(at)};
        tokens.push_back(5);
        append(tokens, random_tokens(random, 4 + 30 * (i % 2), 37));
        tokens.push_back(30);
        append(tokens, TokenSpan{text}.subspan(at, 4));
        appended.push_back(predict_last(tokens, 4));
        tokens.assign(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(at - 3));
        append(tokens, random_tokens(random, 15, 37));
        append(tokens, TokenSpan{text}.subspan(at - 3, 7));
        beside.push_back(predict_last(tokens, 4));
        beside.back().beside = {1, at - 3, at + 12, 18};  // the last ones of a passage stand too near
    }
    for (const OddFamily& family : odd_families()) {
        CAPTURE(family.name);
        const auto model = random_model(family.shape);
        Trainer trainer{model, {.all = true}};
        DoubleTransformer reference = in_double(*model, trainer);
        check_gradients(trainer, reference, {share_history(appended), share_history(beside)});
    }
}

TEST_CASE("passages beside the text that make no sense are refused") {
    Trainer trainer{odd_model(true), {.all = true}};
    TrainingExample example = random_example(30, 37, 3, 20);
    const auto refuse = [&](PassageRows beside, const char* sentence) {
        example.beside = beside;
        check_error(ErrorCode::contract, sentence, [&] { trainer.accumulate({&example, 1}); });
    };
    refuse({5, 3, 8}, "has a passage from 3 to 8 that sees the first 5, expected it behind these");
    refuse({1, 9, 8}, "has a passage from 9 to 8");
    refuse({1, 9, 30},
           "has a passage from 9 to 30 that sees the first 1, expected it behind these, and at least 1 token behind it");
    refuse({1, 9, 20}, "has a target at token 20, expected all behind token 20, the first after its passage");
    example = random_example(120, 37, 3, 115);
    example.beside = {1, 40, 60};
    check_error(ErrorCode::window, "takes 101 positions, but the window of the model has 100", [&] {
        TrainingExample longer = random_example(121, 37, 3, 115);
        longer.beside = {1, 40, 60};
        trainer.accumulate({&longer, 1});
    });
    trainer.accumulate({&example, 1});
}
