// Training whose products round their factors to bf16: how far from f32 it is, and that it keeps the promises of the trainer.
#include "flashback/core/thread_pool.hpp"
#include "flashback/train/trainer.hpp"
#include "support/errors.hpp"
#include "support/random_numbers.hpp"
#include "train/helpers.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

#include <doctest/doctest.h>

namespace test_train_precision {

using namespace flashback;
using namespace flashback_test;

namespace {

detail::Rows to_rows(const std::vector<float>& x, std::size_t width) {
    const std::size_t count = x.size() / width;
    detail::Rows rows{count, width};
    for (std::size_t r = 0; r < count; ++r) std::copy_n(x.data() + r * width, width, rows.row(r));
    return rows;
}

std::vector<TrainingExample> some_examples(std::size_t count, std::uint64_t seed) {
    std::vector<TrainingExample> examples;
    for (std::size_t i = 0; i < count; ++i) examples.push_back(random_example(10 + 7 * (i % 5), 37, seed + i, 4));
    return examples;
}

TrainingTargets lora() {
    TrainingTargets targets;
    targets.lora = {.modules = {LinearModule::q, LinearModule::v, LinearModule::down}, .rank = 3, .alpha = 6, .dropout = 0.2f};
    return targets;
}

/// Two steps; gives the parameters.
std::vector<float> trained(const TrainingTargets& targets, std::size_t threads, std::size_t cut, DType precision) {
    ThreadPool pool{threads};
    Trainer trainer{
        odd_model(true), targets, {.learning_rate = {.peak = 0.01f}, .seed = 1, .executor = pool, .precision = precision}};
    disturb(trainer);
    for (std::uint64_t step = 0; step < 2; ++step) {
        const std::vector<TrainingExample> batch = some_examples(7, 100 * step);
        for (std::size_t first = 0; first < batch.size(); first += cut)
            trainer.accumulate(std::span{batch}.subspan(first, std::min(cut, batch.size() - first)));
        trainer.apply();
    }
    const std::span<const float> parameters = trainer.state().parameters;
    return {parameters.begin(), parameters.end()};
}

}  // namespace

// Each factor is off by 2^-9 of itself, and a sum by a rounding of its magnitudes for each term.
TEST_CASE("products in bf16 are those of doubles, to within the rounding of their factors: forward, back and of the weights") {
    constexpr std::size_t rows = 70, inputs = 530, outputs = 45;
    const std::vector<float> w = flashback_test::random_numbers(outputs * inputs, 1),
                             x = flashback_test::random_numbers(rows * inputs, 2),
                             dy = flashback_test::random_numbers(rows * outputs, 3);
    ParameterLayout layout;
    layout.add("w", outputs, inputs, Parameter::Order::panels, true);
    std::vector<float> values(layout.size()), gradients(layout.size());
    layout["w"].write(w, values.data());
    const detail::Linear linear{{values.data(), outputs, inputs, 0}, {}, {}, 0, {}};
    detail::LinearScratch scratch{rows, inputs, std::max(inputs, outputs), 0};
    scratch.bf16.emplace();
    const detail::Dropout dropout = detail::Dropout::of(0);
    const detail::Rows lx = to_rows(x, inputs), ldy = to_rows(dy, outputs);
    detail::Rows y{rows, outputs}, dx{rows, inputs};
    const detail::LinearRun run{rows, simd::GemmStart::zero, dropout, scratch};
    detail::linear_forward(linear, lx, y, run);
    detail::linear_backward(linear, lx, ldy, dx, gradients.data(), run);
    const std::vector<float> dw = layout["w"].read(gradients.data());

    std::size_t wrong = 0, exact = 0;
    const auto compare = [&](float found, std::size_t depth, const auto& term) {
        double sum = 0, magnitude = 0;
        for (std::size_t k = 0; k < depth; ++k) {
            sum += term(k);
            magnitude += std::abs(term(k));
        }
        const double error = std::abs(static_cast<double>(found) - sum);
        wrong += error > magnitude * (0x1p-8 + 0x1p-18 + static_cast<double>(depth) * 0x1p-23);
        exact += error < magnitude * 0x1p-16;  // as f32 would be, nearly always
    };
    const auto of = [](const std::vector<float>& a, std::size_t i) { return static_cast<double>(a[i]); };
    for (std::size_t r = 0; r < rows; ++r) {
        for (std::size_t o = 0; o < outputs; ++o)
            compare(y.row(r)[o], inputs, [&](std::size_t k) { return of(w, o * inputs + k) * of(x, r * inputs + k); });
        for (std::size_t i = 0; i < inputs; ++i)
            compare(dx.row(r)[i], outputs, [&](std::size_t k) { return of(w, k * inputs + i) * of(dy, r * outputs + k); });
    }
    for (std::size_t o = 0; o < outputs; ++o) {
        for (std::size_t i = 0; i < inputs; ++i)
            compare(dw[o * inputs + i], rows, [&](std::size_t k) { return of(x, k * inputs + i) * of(dy, k * outputs + o); });
    }
    CHECK(wrong == 0);
    CHECK(exact < (rows * (outputs + inputs) + outputs * inputs) / 4);  // else nothing was rounded
}

TEST_CASE("the gradient in bf16 points where that in f32 does, for every family") {
    for (const OddFamily& family : odd_families()) {
        CAPTURE(family.name);
        std::vector<float> expected;
        double loss = 0;
        for (const DType precision : {DType::f32, DType::bf16}) {
            Trainer trainer{random_model(family.shape), {.all = true}, {.precision = precision}};
            const std::vector<TrainingExample> batch = some_examples(5, 3);
            trainer.accumulate(batch);
            const std::span<const float> gradient = trainer.gradient();
            const double its = trainer.evaluate(batch).mean();
            if (precision == DType::f32) {
                expected.assign(gradient.begin(), gradient.end());
                loss = its;
                continue;
            }
            double error = 0, square = 0;
            for (std::size_t i = 0; i < expected.size(); ++i) {
                error += std::pow(static_cast<double>(gradient[i]) - static_cast<double>(expected[i]), 2);
                square += std::pow(static_cast<double>(expected[i]), 2);
            }
            CHECK(std::sqrt(error / square) < 0.03);  // twice what it is: products in a row, each off by 2^-9 in both factors
            CHECK(error > 0);
            CHECK(its == doctest::Approx(loss).epsilon(0.002));
        }
    }
}

TEST_CASE("neither threads nor the cuts of accumulation change a bit of training in bf16") {
    for (const TrainingTargets& targets : {TrainingTargets{.all = true}, lora()}) {
        const std::vector<float> expected = trained(targets, 1, 7, DType::bf16);
        CHECK_FALSE(same_bits(trained(targets, 1, 7, DType::f32), expected));
        for (const std::size_t threads : {2u, 3u}) {
            for (const std::size_t cut : {1u, 3u, 7u}) {
                CAPTURE(threads);
                CAPTURE(cut);
                CHECK(same_bits(trained(targets, threads, cut, DType::bf16), expected));
            }
        }
    }
}

TEST_CASE("training in another precision is refused in a sentence") {
    check_error(ErrorCode::contract, "products of training in F16, expected F32 or BF16", [] {
        Trainer{odd_model(true), {.all = true}, {.precision = DType::f16}};
    });
}

}  // namespace test_train_precision
