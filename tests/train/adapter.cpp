// From a trainer to an adapter, and back; and what the adapter gives in a session.
#include "flashback/files/load_adapter.hpp"
#include "flashback/files/save_adapter.hpp"
#include "flashback/model/session.hpp"
#include "flashback/train/trainer.hpp"
#include "support/errors.hpp"
#include "support/temporary_folder.hpp"
#include "train/helpers.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <memory>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;
using namespace flashback_test;

namespace {

TrainingTargets targets() {
    return {.lora = {.modules = {LinearModule::q, LinearModule::k, LinearModule::down}, .rank = 3, .alpha = 6, .dropout = 0.1f},
            .markers = {5, 30}};
}

TrainingExample example(std::uint64_t seed) {
    TrainingExample e = random_example(40, 37, seed, 4);
    e.tokens[1] = 5;
    e.tokens[2] = 30;
    return e;
}

/// A trainer after some steps.
std::unique_ptr<Trainer> trained(const std::shared_ptr<const Transformer>& model) {
    auto trainer =
        std::make_unique<Trainer>(model, targets(), TrainerOptions{.learning_rate = {.peak = 0.01f, .warmup_ratio = 0}});
    for (std::uint64_t step = 0; step < 5; ++step) {
        const TrainingExample e = example(step);
        trainer->step({&e, 1});
    }
    return trainer;
}

}  // namespace

TEST_CASE("a trainer that goes on from an adapter has the same loss, to the bit, also by way of the files") {
    for (const bool tied : {true, false}) {
        const auto model = odd_model(tied);
        const auto first = trained(model);
        const TrainingExample e = example(100);
        const double loss = first->evaluate({&e, 1}).nats;
        Trainer second{model, targets(), {.learning_rate = {.peak = 0.01f, .warmup_ratio = 0}}};
        CHECK(second.evaluate({&e, 1}).nats != loss);
        second.step({&e, 1});
        second.load(first->adapter());
        CHECK(second.evaluate({&e, 1}).nats == loss);
        CHECK(same_bits(second.state().parameters, first->state().parameters));
        CHECK(std::ranges::all_of(second.state().first_moments, [](float m) { return m == 0; }));
        CHECK(std::ranges::all_of(second.state().second_moments, [](float v) { return v == 0; }));
        CHECK(second.state().steps == 0);

        const TemporaryFolder folder;
        save_adapter(first->adapter(), model->config, folder.path());
        Adapter loaded = load_adapter(folder.path(), *model);
        std::swap(loaded.embedding_ids[0], loaded.embedding_ids[1]);  // the order of rows is no matter
        std::swap_ranges(loaded.embedding_rows.begin(), loaded.embedding_rows.begin() + 20, loaded.embedding_rows.begin() + 20);
        Trainer third{model, targets()};
        third.load(loaded);
        CHECK(third.evaluate({&e, 1}).nats == loss);
        // It trains on: the first step is that of a new optimiser.
        CHECK(third.step({&e, 1}).number == 1);
    }
}

TEST_CASE("a session with the adapter gives the logits of the trainer's own forward pass") {
    for (const bool tied : {true, false}) {
        const auto model = odd_model(tied);
        const auto trainer = trained(model);
        disturb(*trainer);
        DoubleTransformer exact = in_double(*model, *trainer);
        exact.markers = {5, 30};
        exact.lora_scale = 2;
        Session session{model, {.adapter = std::make_shared<const PackedAdapter>(trainer->adapter(), model->config)}};
        Session plain{model};
        for (std::uint64_t seed = 100; seed < 104; ++seed) {
            const TrainingExample e = example(seed);
            const double own = trainer->evaluate({&e, 1}).nats;
            const double expected = exact.loss(e.tokens, e.targets);
            // A target's loss has an error of about that of a logit, about 2^-24 for each of some 20 products and sums on its way,
            // amplified a few times by what is not linear: 36 targets that err all to one side.
            const double tolerance = 36 * 20 * 4 * 0x1p-24;
            CHECK(std::fabs(own - expected) < tolerance);
            CHECK(std::fabs(loss_of(session, e) - expected) < tolerance);
            CHECK(std::fabs(loss_of(plain, e) - expected) > 100 * tolerance);
        }
    }
}

TEST_CASE("an adapter that is not exactly what trains is refused, and nothing changes") {
    const auto model = odd_model(true);
    Trainer trainer{model, targets()};
    const Adapter good = trained(model)->adapter();
    const std::vector<float> before(trainer.state().parameters.begin(), trainer.state().parameters.end());
    const auto refuse = [&](const char* sentence, const Adapter& adapter) {
        check_error(ErrorCode::contract, sentence, [&] { trainer.load(adapter); });
        CHECK(same_bits(before, trainer.state().parameters));
    };
    Adapter wrong = good;
    wrong.layers[1][LinearModule::k] = {};
    refuse("the adapter has a LoRA of rank 0 for model.layers.1.self_attn.k_proj, but one of rank 3 trains", wrong);
    wrong = good;
    wrong.layers[0][LinearModule::v] = {1, 2, std::vector<float>(20), std::vector<float>(12)};
    refuse("the adapter has a LoRA of rank 1 for model.layers.0.self_attn.v_proj, but one of rank 0 trains", wrong);
    wrong = good;
    wrong.layers[1][LinearModule::down].scale = 1;
    refuse("the adapter has the scale 1.000000 for model.layers.1.mlp.down_proj, but the one that trains has 2.000000", wrong);
    wrong = good;
    wrong.embedding_ids[0] = 6;
    refuse("the adapter replaces 2 embedding rows, which are not the 2 that train", wrong);
    refuse("the adapter has a LoRA of rank 0 for model.layers.0.self_attn.q_proj", {});
    check_error(ErrorCode::contract, "but one of rank 0 trains", [&] { Trainer{model, {.all = true}}.load(good); });
}
