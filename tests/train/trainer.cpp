// What the trainer promises: the same bits whatever the threads and the cuts, frozen things untouched, refusals in words.
#include "flashback/train/trainer.hpp"

#include "flashback/core/thread_pool.hpp"
#include "flashback/model/session.hpp"
#include "flashback/train/initial_model.hpp"
#include "support/errors.hpp"
#include "train/helpers.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;
using namespace flashback_test;

namespace {

TrainingTargets lora_and_markers(float dropout = 0.2f) {
    TrainingTargets targets;
    targets.lora = {
        .modules = {LinearModule::q, LinearModule::v, LinearModule::down}, .rank = 3, .alpha = 6, .dropout = dropout};
    targets.markers = {5, 30};
    return targets;
}

std::vector<TrainingExample> some_examples(std::size_t count, std::uint64_t seed) {
    std::vector<TrainingExample> examples;
    for (std::size_t i = 0; i < count; ++i) {
        examples.push_back(random_example(10 + 7 * (i % 5), 37, seed + i, 4));
        examples.back().tokens[1] = 5;
        examples.back().tokens[2] = 30;
    }
    return examples;
}

/// Three steps of seven examples, each batch cut into calls of `cut` examples.
Trained run(const TrainingTargets& targets, std::size_t threads, std::size_t cut, std::uint64_t seed = 1) {
    ThreadPool pool{threads};
    Trainer trainer{odd_model(true), targets, {.learning_rate = {.peak = 0.01f}, .seed = seed, .executor = pool}};
    Trained out;
    for (std::uint64_t step = 0; step < 3; ++step) {
        const std::vector<TrainingExample> batch = some_examples(7, 100 * step);
        for (std::size_t first = 0; first < batch.size(); first += cut)
            trainer.accumulate(std::span{batch}.subspan(first, std::min(cut, batch.size() - first)));
        out.losses.push_back(trainer.apply().loss);
    }
    out.take(trainer.state());
    return out;
}

}  // namespace

TEST_CASE("neither threads nor the cuts of accumulation change a bit") {
    for (const TrainingTargets& targets : {TrainingTargets{.all = true}, lora_and_markers()}) {
        const Trained expected = run(targets, 1, 7);
        for (const std::size_t threads : {1u, 2u, 3u}) {
            for (const std::size_t cut : {1u, 2u, 3u, 7u}) {
                CAPTURE(threads);
                CAPTURE(cut);
                CHECK(run(targets, threads, cut) == expected);
            }
        }
    }
    CHECK_FALSE(run(lora_and_markers(), 1, 7, 2) == run(lora_and_markers(), 1, 7, 1));  // another seed
}

TEST_CASE("a large gradient, of which only as many examples as threads fit at a time, changes no bit either") {
    TransformerConfig c = odd_model(true)->config;
    c.vocab = 5000;
    c.width = 848;
    c.rotary_dim = 4;
    const auto model = initial_transformer(c);
    std::vector<float> expected;
    for (const std::size_t threads : {1u, 2u, 3u}) {
        ThreadPool pool{threads};
        Trainer trainer{model, {.all = true}, {.executor = pool}};
        REQUIRE(trainer.layout().size() > std::size_t{4} << 20);
        trainer.accumulate(some_examples(4, 1));
        const std::span<const float> gradient = trainer.gradient();
        if (threads == 1) expected.assign(gradient.begin(), gradient.end());
        CHECK(same_bits(gradient, expected));
    }
}

TEST_CASE("a run that is resumed from its state goes on bit for bit") {
    for (const TrainingTargets& targets : {TrainingTargets{.all = true}, lora_and_markers()}) {
        const TrainerOptions options{.learning_rate = {.peak = 0.01f, .steps = 6}, .seed = 3};
        Trainer whole{odd_model(false), targets, options};
        for (std::uint64_t step = 0; step < 3; ++step) whole.step(some_examples(4, step));
        Trainer resumed{odd_model(false), targets, options};
        std::ranges::copy(whole.state().parameters, resumed.state().parameters.begin());
        std::ranges::copy(whole.state().first_moments, resumed.state().first_moments.begin());
        std::ranges::copy(whole.state().second_moments, resumed.state().second_moments.begin());
        resumed.state().steps = whole.state().steps;
        for (std::uint64_t step = 3; step < 6; ++step) {
            const StepResult a = whole.step(some_examples(4, step));
            const StepResult b = resumed.step(some_examples(4, step));
            CHECK(a.loss == b.loss);
            CHECK(a.number == b.number);
            CHECK(a.learning_rate == b.learning_rate);
        }
        CHECK(same_bits(whole.state().parameters, resumed.state().parameters));
    }
}

TEST_CASE("what is frozen stays as it is, and what trains moves") {
    const auto model = odd_model(true);
    const auto untouched = odd_model(true);
    Trainer trainer{model, lora_and_markers(), {.learning_rate = {.peak = 0.05f, .warmup_ratio = 0}, .cut_columns = {5, 30}}};
    const Adapter before = trainer.adapter();
    CHECK(before.embedding_ids == std::vector<TokenId>{5, 30});
    for (const float b : before.layers[0][LinearModule::q].b) CHECK(b == 0);
    std::vector<TrainingExample> batch{random_example(20, 37, 1, 4, {5, 30})};
    batch[0].tokens[1] = 5;  // the other marker does not occur
    for (TokenId& token : batch[0].tokens) token = token == 30 ? 3 : token;
    for (int i = 0; i < 3; ++i) trainer.step(batch);
    const Adapter after = trainer.adapter();
    REQUIRE(after.layers.size() == 2);
    for (std::size_t l = 0; l < 2; ++l) {
        for (const LinearModule m : {LinearModule::q, LinearModule::v, LinearModule::down}) {
            CHECK(after.layers[l][m].scale == 2.0f);
            CHECK(after.layers[l][m].a != before.layers[l][m].a);
            CHECK(after.layers[l][m].b != before.layers[l][m].b);
        }
        CHECK(after.layers[l][LinearModule::k].rank == 0);
    }
    const auto row = [](const Adapter& adapter, std::size_t i) {
        return std::vector<float>{adapter.embedding_rows.begin() + static_cast<std::ptrdiff_t>(i * 20),
                                  adapter.embedding_rows.begin() + static_cast<std::ptrdiff_t>(i * 20 + 20)};
    };
    CHECK(row(after, 0) != row(before, 0));
    CHECK(row(after, 1) == row(before, 1));
    CHECK(trainer.model() == model);
    for (std::size_t l = 0; l < 2; ++l) {
        for (const LinearModule m : linear_modules) {
            const auto& a = model->layers[l][m];
            const auto& b = untouched->layers[l][m];
            CHECK(std::memcmp(a.panel(0), b.panel(0), a.bytes()) == 0);
        }
    }
    CHECK(std::memcmp(model->embedding.panel(0), untouched->embedding.panel(0), model->embedding.bytes()) == 0);
}

TEST_CASE("markers that were only moved change the input side of a tied head and not the output side") {
    const auto model = odd_model(true);
    Trainer trainer{model, {.markers = {5}}};
    const TrainingExample without = predict_all({1, 2, 3, 5});  // the marker is only predicted
    const TrainingExample with = predict_all({1, 5, 3, 2});
    const double before_without = trainer.evaluate({&without, 1}).nats;
    const double before_with = trainer.evaluate({&with, 1}).nats;
    disturb(trainer);
    CHECK(trainer.evaluate({&without, 1}).nats == before_without);
    CHECK(trainer.evaluate({&with, 1}).nats != before_with);
}

TEST_CASE("the loss is that of a session, for float and for quantised models") {
    for (const DType type : {DType::f32, DType::f16, DType::q8_0}) {
        CAPTURE(layout_of(type).name);
        const auto model = random_model({.width = 64, .hidden = 96, .type = type});
        Trainer trainer{model, {.markers = {5}}};
        const TrainingExample example = random_example(90, 100, 1);
        Session session{model, {.cache = DType::f32}};
        const std::span<const float> logits = session.evaluate_all(example.tokens);
        double expected = 0;
        for (const std::uint32_t target : example.targets) {
            const auto row = logits.subspan((target - 1) * 100, 100);
            expected += cross_entropy64(Eigen::Map<const Eigen::RowVectorXf>{row.data(), std::ssize(row)}.cast<double>(),
                                        static_cast<std::size_t>(example.tokens[target]), {});
        }
        // A session rounds activations for quantised weights; the trainer does not.
        const double found = trainer.evaluate({&example, 1}).nats;
        CHECK(found == doctest::Approx(expected).epsilon(type == DType::q8_0 ? 5e-3 : 1e-6));
    }
}

TEST_CASE("bytes() counts the copies in f32 of frozen matrices of other types, and nothing else of the frozen model") {
    const auto bytes_of = [](DType type, const TrainingTargets& targets) {
        return Trainer{random_model({.width = 64, .hidden = 96, .type = type}), targets}.bytes();
    };
    const auto weights_of =
        [](const Transformer& m) {  // of what a product is made with; sides are whole panels but for the head
            std::size_t sum = 0;
            const auto count = [&](const simd::PackedMatrix& w) { sum += (w.outputs() + 15) / 16 * 16 * w.inputs(); };
            for (const auto& layer : m.layers) {
                for (const LinearModule module : linear_modules) count(layer[module]);
            }
            count(m.output_matrix());
            return sum;
        };
    const std::size_t shared = bytes_of(DType::f32, {.markers = {5}});
    const std::size_t weights = weights_of(*random_model({.width = 64, .hidden = 96}));
    for (const DType type : {DType::f16, DType::q8_0}) {
        const std::size_t copied = bytes_of(type, {.markers = {5}});
        CHECK(copied >= shared + 4 * weights);
        CHECK(copied < shared + 4 * weights + 4 * weights / 100);  // padding
    }
    CHECK(bytes_of(DType::f16, {.all = true}) == bytes_of(DType::f32, {.all = true}));
}

TEST_CASE("a small model learns a text by heart from nothing, and can be run") {
    TransformerConfig c = odd_model(true)->config;
    c.rotary_dim = 6;
    Trainer trainer{initial_transformer(c), {.all = true}, {.learning_rate = {.peak = 0.01f, .steps = 150}}};
    const TrainingExample example = random_example(40, 37, 8);
    const double before = trainer.evaluate({&example, 1}).mean();
    CHECK(before == doctest::Approx(std::log(37.0)).epsilon(0.02));
    for (int i = 0; i < 150; ++i) trainer.step({&example, 1});
    CHECK(trainer.evaluate({&example, 1}).mean() < 0.1);
    Session session{trainer.model()};
    const std::span<const float> logits = session.evaluate({example.tokens.data(), 30});
    CHECK(std::ranges::max_element(logits) - logits.begin() == example.tokens[30]);
}

TEST_CASE("dropout drops as many as it says, by place alone, and keeps the mean") {
    detail::Dropout dropout = detail::Dropout::of(0.05f);
    dropout.key = 77;
    CHECK(dropout.active());
    CHECK_FALSE(detail::Dropout::of(0).active());
    const std::vector<float> ones(1000, 1.0f);
    std::vector<float> y(1000);
    std::size_t dropped = 0;
    std::size_t others = 0;
    double sum = 0;
    std::vector<std::vector<float>> rows;
    for (std::size_t r = 0; r < 200; ++r) {
        dropout.apply(r, ones.data(), ones.size(), y.data());
        for (const float value : y) {
            dropped += value == 0;
            sum += static_cast<double>(value);
            others += value != 0 && value != dropout.factor();
        }
        rows.push_back(y);
    }
    CHECK(others == 0);
    // 200,000 draws: a standard deviation is 97.
    CHECK(std::abs(static_cast<double>(dropped) - 10000) < 500);
    CHECK(sum / 200000 == doctest::Approx(1).epsilon(0.003));
    CHECK(rows[3] != rows[4]);
    dropout.apply(3, ones.data(), 500, y.data());
    CHECK(std::equal(rows[3].begin(), rows[3].begin() + 500, y.begin()));
    dropout.key = 78;
    dropout.apply(3, ones.data(), ones.size(), y.data());
    CHECK(rows[3] != y);
}

TEST_CASE("dropout differs from step to step and from example to example, and evaluation has none") {
    const auto model = odd_model(true);
    TrainingTargets targets = lora_and_markers(0.5f);
    Trainer trainer{model, targets, {.learning_rate = {.peak = 0, .warmup_ratio = 0}}};
    disturb(trainer);
    const TrainingExample example = random_example(30, 37, 1);
    const std::vector<TrainingExample> twice{example, example};
    const double first = trainer.step({&example, 1}).loss;
    const double second = trainer.step({&example, 1}).loss;
    CHECK(first != second);
    CHECK(trainer.evaluate({&example, 1}).nats == trainer.evaluate({&example, 1}).nats);
    CHECK(trainer.evaluate(twice).nats == 2 * trainer.evaluate({&example, 1}).nats);
    targets.lora.dropout = 0;
    Trainer plain{model, targets, {.learning_rate = {.peak = 0, .warmup_ratio = 0}}};
    disturb(plain);
    CHECK(plain.step(twice).loss == plain.evaluate({&example, 1}).mean());
}

TEST_CASE("refusals name what was found and what was expected") {
    const auto model = odd_model(true);
    const auto refuse = [&](const char* sentence, const TrainingTargets& targets) {
        check_error(ErrorCode::contract, sentence, [&] { Trainer{model, targets}; });
    };
    refuse("nothing trains: expected modules of a LoRA, markers, or all parameters", {});
    refuse("all parameters train, and a LoRA or markers besides: expected one or the other", {.markers = {3}, .all = true});
    refuse("the marker 37 is no row of an embedding of 37 rows", {.markers = {37}});
    refuse("the marker -1 is no row of an embedding of 37 rows", {.markers = {-1}});
    refuse("the marker 3 is named twice", {.markers = {3, 4, 3}});
    refuse("a LoRA of rank 0, expected at least 1", {.lora = {.modules = {LinearModule::q}, .rank = 0}});
    refuse("expected a number from 0 to below 1", {.lora = {.modules = {LinearModule::q}, .dropout = 1}});
    check_error(ErrorCode::contract, "training needs a model, found null", [] { Trainer{nullptr, {.all = true}}; });
    check_error(ErrorCode::contract, "the cut column 40 is not in the vocabulary of 37 tokens", [&] {
        Trainer{model, {.all = true}, {.cut_columns = {40}}};
    });

    Trainer trainer{model, {.markers = {3}}, {.cut_columns = {3}}};
    const auto refuse_example = [&](ErrorCode code, const char* sentence, const TrainingExample& example) {
        check_error(code, sentence, [&] { trainer.accumulate({&example, 1}); });
        check_error(code, sentence, [&] { trainer.evaluate({&example, 1}); });
    };
    refuse_example(ErrorCode::contract, "a training example of 2 tokens has no targets, expected at least one", {{1, 2}, {}});
    refuse_example(ErrorCode::contract, "of 2 tokens has a target at position 2, expected ascending positions from 1 on",
                   {{1, 2}, {2}});
    refuse_example(ErrorCode::contract, "of 2 tokens has a target at position 0, expected", {{1, 2}, {0}});
    refuse_example(ErrorCode::contract, "of 3 tokens has a target at position 1, expected", {{1, 2, 4}, {2, 1}});
    refuse_example(ErrorCode::contract, "the target at position 1 of a training example is the token 3, whose column is cut",
                   {{1, 3}, {1}});
    refuse_example(ErrorCode::contract, "the token 37 is not in the vocabulary of 37 tokens", {{1, 37}, {1}});
    refuse_example(ErrorCode::window, "a training example takes 101 positions, but the window of the model has 100",
                   {TokenBuffer(101, 1), {1}});
    check_error(ErrorCode::contract, "a step of the optimiser without examples, expected at least one",
                [&] { trainer.apply(); });
}

TEST_CASE("a model that overflows has no loss, whatever the norms make of it") {
    for (const float huge : {1e12f, 1e15f, 1e18f}) {  // the squares of a row are infinite; at last the row is
        CAPTURE(huge);
        Trainer trainer{odd_model(true), lora_and_markers(0)};
        for (const Parameter& p : trainer.layout()) {
            if (p.name != "markers") p.write(std::vector<float>(p.outputs * p.inputs, huge), trainer.state().parameters.data());
        }
        const TrainingExample example = random_example(12, 37, 3, 4);
        CHECK(std::isnan(trainer.evaluate({&example, 1}).mean()));
        check_error(ErrorCode::logits, "has a loss of nan", [&] { trainer.step({&example, 1}); });
        CHECK(trainer.state().steps == 0);
    }
}

TEST_CASE("a loss that is no number is an error, and the parameters stay") {
    Trainer trainer{odd_model(true), {.markers = {3}}};
    trainer.state().parameters[0] = std::numeric_limits<float>::quiet_NaN();
    const std::vector<float> before(trainer.state().parameters.begin(), trainer.state().parameters.end());
    const TrainingExample example = predict_all({3, 2, 1});
    trainer.accumulate({&example, 1});
    check_error(ErrorCode::logits, "step 1 of the training has a loss of ", [&] { trainer.apply(); });
    CHECK(same_bits(before, trainer.state().parameters));
    CHECK(trainer.state().steps == 0);
    // The next batch has nothing of it.
    trainer.state().parameters[0] = 0;
    CHECK(std::isfinite(trainer.step({&example, 1}).loss));
}

TEST_CASE("Models that training makes have fingerprints that tell them apart") {
    TransformerConfig c = odd_model(true)->config;
    const auto initial = initial_transformer(c, {.seed = 1});
    CHECK(initial->fingerprint == initial_transformer(c, {.seed = 1})->fingerprint);
    std::set<std::uint64_t> seen{0, initial->fingerprint, initial_transformer(c, {.seed = 2})->fingerprint,
                                 initial_transformer(c, {.tied = false, .seed = 1})->fingerprint};
    c.norm_epsilon *= 2;
    seen.insert(initial_transformer(c, {.seed = 1})->fingerprint);
    c.rotary_base *= 2;
    seen.insert(initial_transformer(c, {.seed = 1})->fingerprint);
    CHECK(seen.size() == 6);

    Trainer trainer{initial, {.all = true}, {.learning_rate = {.peak = 0.01f, .warmup_ratio = 0}}};
    CHECK(trainer.model()->fingerprint == initial->fingerprint);  // the same weights
    const TrainingExample example = predict_all({3, 2, 1});
    trainer.step({&example, 1});
    const std::uint64_t one_step = trainer.model()->fingerprint;
    CHECK(seen.insert(one_step).second);
    CHECK(trainer.model()->fingerprint == one_step);
    // The least change of any parameter is another model.
    for (const Parameter& p : trainer.layout()) {
        CAPTURE(p.name);
        float& last = trainer.state().parameters[p.at(p.outputs - 1, p.inputs - 1)];
        const float before = std::exchange(last, std::nextafter(last, 9.0f));
        CHECK(seen.insert(trainer.model()->fingerprint).second);
        last = before;
    }
    CHECK(Session{trainer.model()}.fingerprint() != Session{initial}.fingerprint());
}
