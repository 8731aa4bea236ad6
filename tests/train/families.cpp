// What a trainer makes of every family is what a session reads.
#include "flashback/model/session.hpp"
#include "flashback/train/initial_model.hpp"
#include "flashback/train/trainer.hpp"
#include "support/errors.hpp"
#include "train/helpers.hpp"

#include <cmath>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;
using namespace flashback_test;

namespace {

TrainingExample text() {
    TrainingExample e = random_example(40, 37, 100, 4);
    e.tokens[1] = 5;
    e.tokens[2] = 30;
    return e;
}

}  // namespace

TEST_CASE("for every family a session with the adapter, or with the trained model, gives the trainer's own loss") {
    for (const OddFamily& family : odd_families()) {
        CAPTURE(family.name);
        const auto model = random_model(family.shape);
        Trainer trainer{model,
                        {.lora = {.modules = {LinearModule::q, LinearModule::k, LinearModule::down}, .rank = 3, .alpha = 6},
                         .markers = {5, 30}}};
        disturb(trainer);
        Session session{model, {.adapter = std::make_shared<const PackedAdapter>(trainer.adapter(), model->config)}};
        Session plain{model};
        const TrainingExample e = text();
        const double tolerance = 36 * 20 * 4 * 0x1p-24;  // see adapter.cpp
        CHECK(std::fabs(loss_of(session, e) - trainer.evaluate({&e, 1}).nats) < tolerance);
        CHECK(std::fabs(loss_of(plain, e) - trainer.evaluate({&e, 1}).nats) > 20 * tolerance);

        Trainer whole{model, {.all = true}, {.learning_rate = {.peak = 0.01f, .warmup_ratio = 0}}};
        const double before = whole.evaluate({&e, 1}).nats;
        for (int step = 0; step < 5; ++step) whole.step({&e, 1});
        const double after = whole.evaluate({&e, 1}).nats;
        CHECK(after < before);
        Session changed{whole.model()};
        CHECK(std::fabs(loss_of(changed, e) - after) < tolerance);
        CHECK(whole.model()->fingerprint != model->fingerprint);
    }
}

TEST_CASE("a LoRA on a layer that a family does not have is refused by name") {
    const auto model = random_model({.family = Family::gpt2});
    check_error(ErrorCode::contract, "a LoRA on gate, a layer that the blocks of this model do not have", [&] {
        Trainer{model, {.lora = {.modules = {LinearModule::gate}}}};
    });
}

TEST_CASE("a model of every family begins as it should, and learns") {
    for (const OddFamily& family : odd_families()) {
        CAPTURE(family.name);
        const TransformerConfig c = random_model(family.shape)->config;
        const auto model = initial_transformer(c, {.tied = family.shape.tied});
        CHECK(model->head.has_value() == !family.shape.tied);
        CHECK(initial_transformer(c, {.tied = family.shape.tied})->fingerprint == model->fingerprint);
        for (const LinearModule m : linear_modules) {
            CHECK(model->layers[1][m].outputs() == c.outputs(m));
            CHECK(model->layers[1].bias(m) == std::vector<float>(c.has_bias(m) ? c.outputs(m) : 0));
        }
        CHECK(model->layers[0].attention_norm == std::vector<float>(c.width, 1.0f));
        CHECK(model->positions.outputs() == c.position_rows());
        Trainer trainer{model, {.all = true}, {.learning_rate = {.peak = 0.01f, .warmup_ratio = 0}}};
        const TrainingExample e = text();
        // Weights are small: at first every token is about as likely as any other.
        CHECK(trainer.evaluate({&e, 1}).mean() == doctest::Approx(std::log(37.0)).epsilon(0.1));
        for (int step = 0; step < 60; ++step) trainer.step({&e, 1});
        CHECK(trainer.evaluate({&e, 1}).mean() < 1);
    }
}
