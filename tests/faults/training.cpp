// Training, while memory or a file fails: a clean error, nothing left behind, and the run goes on as if nothing had been.
#include "flashback/train/checkpoint.hpp"
#include "support/faults.hpp"
#include "support/temporary_folder.hpp"
#include "train/helpers.hpp"

#include <array>
#include <memory>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;
using namespace flashback_test;

namespace {

const RunDescription the_run{{"lr", "0.01"}};

std::unique_ptr<Trainer> small_trainer(const std::shared_ptr<const Transformer>& model) {
    TrainingTargets targets;
    targets.lora = {.modules = {LinearModule::k}, .rank = 2, .alpha = 4, .dropout = 0.1f};
    targets.markers = {5, 30};
    return std::make_unique<Trainer>(model, targets, TrainerOptions{.learning_rate = {.peak = 0.01f, .steps = 8}, .seed = 7});
}

std::vector<TrainingExample> a_batch() { return {random_example(6, 37, 1, 2), random_example(9, 37, 2, 2)}; }

std::vector<float> numbers_of(Trainer& trainer) {
    const TrainerState state = trainer.state();
    std::vector<float> numbers{static_cast<float>(state.steps)};
    for (const auto array : {state.parameters, state.first_moments, state.second_moments})
        numbers.insert(numbers.end(), array.begin(), array.end());
    return numbers;
}

}  // namespace

TEST_CASE("faults: a trainer is made, or nothing is left; a step that fails leaves the parameters as they were") {
    const auto model = odd_model(true);
    const auto batch = a_batch();
    with_each_fault(Fault::allocation, [&] { static_cast<void>(small_trainer(model)); });
    const auto undisturbed = small_trainer(model);
    const std::vector<float> at_first = numbers_of(*undisturbed);
    undisturbed->step(batch);
    const std::vector<float> after_one = numbers_of(*undisturbed);
    with_each_fault(
        Fault::allocation, [&] { return small_trainer(model); }, [&](auto& trainer) { trainer->step(batch); },
        [&](auto& trainer) {
            CHECK(same_bits(numbers_of(*trainer), at_first));
            trainer->step(batch);
            CHECK(same_bits(numbers_of(*trainer), after_one));
        });
    with_each_fault(
        Fault::allocation, [&] { return small_trainer(model); },
        [&](auto& trainer) {
            static_cast<void>(trainer->evaluate(batch));
            static_cast<void>(trainer->adapter());
        },
        [&](auto& trainer) { CHECK(same_bits(numbers_of(*trainer), at_first)); });
}

TEST_CASE("faults: a checkpoint is written whole and read whole, or everything is as it was") {
    const auto model = odd_model(true);
    const TemporaryFolder folder;
    const auto path = folder.path() / "run.ckpt";
    const auto trained = small_trainer(model);
    trained->step(a_batch());
    const std::vector<float> one_step = numbers_of(*trained);
    CheckpointFile{path, the_run}.write(*trained, "one");
    trained->step(a_batch());
    const auto fresh = small_trainer(model);
    const std::vector<float> at_first = numbers_of(*fresh);
    for (const Fault fault : {Fault::allocation, Fault::file, Fault::less, Fault::interrupted}) {
        with_each_fault(
            fault, [&] { return small_trainer(model); },
            [&](auto& trainer) {
                const CheckpointFile file{path, the_run};
                if (file.read(*trainer) != "one") FAIL_CHECK("read wrongly");
            },
            [&](auto& trainer) { CHECK(same_bits(numbers_of(*trainer), at_first)); });
    }
    const std::vector<float> two_steps = numbers_of(*trained);
    for (const Fault fault : {Fault::allocation, Fault::file, Fault::less, Fault::interrupted}) {
        with_each_fault(
            fault, [] { return 0; },
            [&](int) {
                CheckpointFile{path, the_run}.write(*trained, "two");
            },
            [&](int) {
                const auto reader = small_trainer(model);
                const auto note = CheckpointFile{path, the_run}.read(*reader);
                REQUIRE(note.has_value());
                CHECK(same_bits(numbers_of(*reader), note == "one" ? one_step : two_steps));
            });
    }
}
