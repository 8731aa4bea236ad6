// Ranks that divide the examples of batches have the bits of one process, whatever trains and however many they are.
#include "flashback/core/thread_pool.hpp"
#include "flashback/data/shared_history.hpp"
#include "flashback/train/initial_model.hpp"
#include "flashback/train/trainer.hpp"
#include "support/errors.hpp"
#include "support/thread_ranks.hpp"
#include "train/helpers.hpp"

#include <cstddef>
#include <limits>
#include <span>
#include <vector>

#include <doctest/doctest.h>

namespace test_train_ranks {

using namespace flashback;
using namespace flashback_test;

namespace {

TrainingTargets lora_and_markers() {
    TrainingTargets targets;
    targets.lora = {.modules = {LinearModule::q, LinearModule::v, LinearModule::down}, .rank = 3, .alpha = 6, .dropout = 0.2f};
    targets.markers = {5, 30};
    return targets;
}

/// Examples of several lengths; each third has a history that is shared.
std::vector<TrainingExample> some_examples(std::size_t count, std::uint64_t seed) {
    std::vector<TrainingExample> examples;
    for (std::size_t i = 0; i < count; ++i) {
        TrainingExample one = random_example(10 + 7 * (i % 5), 37, seed + i, 4);
        if (i % 3 == 2) {
            TrainingExample longer = one;
            for (int more = 0; more < 4; ++more) longer.tokens.push_back(7);
            longer.targets = predict_last(longer.tokens, 4).targets;
            one = share_history(std::vector<TrainingExample>{one, longer});
        }
        examples.push_back(std::move(one));
    }
    return examples;
}

/// Three steps of seven examples, each batch cut into calls of `cut` examples.
Trained run(RanksRef ranks, const TrainingTargets& targets, std::size_t threads, std::size_t cut) {
    ThreadPool pool{threads};
    Trainer trainer{odd_model(true), targets, {.learning_rate = {.peak = 0.01f}, .seed = 1, .executor = pool, .ranks = ranks}};
    Trained out;
    for (std::uint64_t step = 0; step < 3; ++step) {
        const std::vector<TrainingExample> batch = some_examples(7, 100 * step);
        for (std::size_t first = 0; first < batch.size(); first += cut)
            trainer.accumulate(std::span{batch}.subspan(first, std::min(cut, batch.size() - first)));
        out.losses.push_back(trainer.apply().loss);
    }
    out.losses.push_back(trainer.evaluate(some_examples(5, 9)).mean());
    out.take(trainer.state());
    return out;
}

}  // namespace

TEST_CASE("any number of ranks trains to the bits of one process, and all of them have all of it") {
    for (const TrainingTargets& targets : {TrainingTargets{.all = true}, lora_and_markers()}) {
        const Trained expected = run({}, targets, 2, 7);
        for (const std::size_t count : {1u, 2u, 3u, 9u}) {
            for (const std::size_t cut : {2u, 7u}) {
                CAPTURE(count);
                CAPTURE(cut);
                for (const Trained& found :
                     on_ranks(count, [&](RanksRef ranks) { return run(ranks, targets, 1 + count % 2, cut); }))
                    CHECK(found == expected);
            }
        }
    }
}

TEST_CASE("a gradient of several messages, summed in several waves by ranks with other threads, has the bits of one process") {
    TransformerConfig c = odd_model(true)->config;
    c.vocab = 5000;
    c.width = 848;
    c.rotary_dim = 4;
    const auto model = initial_transformer(c);
    const auto gradient = [&](RanksRef ranks) {
        ThreadPool pool{12 + ranks.rank()};  // more than the 11 gradients that fit, so a wave of rank 0 has one for each thread
        Trainer trainer{model, {.all = true}, {.executor = pool, .ranks = ranks}};
        REQUIRE(trainer.layout().size() > std::size_t{4} << 20);
        trainer.accumulate(some_examples(25, 1));
        return std::vector<float>(trainer.gradient().begin(), trainer.gradient().end());
    };
    const std::vector<float> expected = gradient({});
    for (const std::size_t count : {2u, 3u}) {
        CAPTURE(count);
        for (const auto& found : on_ranks(count, gradient)) CHECK(same_bits(found, expected));
    }
}

TEST_CASE("what one rank refuses all refuse, and what only one cannot ends the wait of the others") {
    const auto steps = [](RanksRef ranks, std::size_t which) {
        Trainer trainer{odd_model(true), {.all = true}, {.ranks = ranks}};
        std::vector<TrainingExample> batch = some_examples(4, 1);
        if (ranks.rank() >= which) batch[3].targets.clear();
        trainer.step(batch);
        return 0;
    };
    check_error(ErrorCode::contract, "has no targets", [&] { on_ranks(3, [&](RanksRef r) { return steps(r, 0); }); });
    check_error(ErrorCode::contract, "has no targets", [&] { on_ranks(3, [&](RanksRef r) { return steps(r, 2); }); });
}

}  // namespace test_train_ranks
