// Examples that share their history have the loss and the gradients of the single ones.
#include "flashback/data/shared_history.hpp"

#include "flashback/core/thread_pool.hpp"
#include "flashback/train/trainer.hpp"
#include "support/errors.hpp"
#include "train/helpers.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

namespace test_train_shared_history {

using namespace flashback;
using namespace flashback_test;

namespace {

const std::vector<TokenId> markers{5, 30};

/// Strides of 4 tokens of a text, each with the whole text in front of it and a passage behind that; one has none.
std::vector<TrainingExample> appended(std::size_t context, std::uint64_t seed) {
    SplitMix64 random{seed};
    TokenBuffer text = random_tokens(random, 90, 37);
    for (TokenId& token : text) token = token == 5 || token == 30 ? 1 : token;
    std::vector<TrainingExample> examples;
    for (std::size_t i = 0; i < 4; ++i) {
        const std::size_t at = context + 4 * i;
        TokenBuffer tokens{text.begin(), text.begin() + static_cast<std::ptrdiff_t>(at)};
        if (i != 2) {
            tokens.push_back(5);
            append(tokens, random_tokens(random, 3 + 11 * i, 37));
            tokens.push_back(30);
        }
        append(tokens, TokenSpan{text}.subspan(at, 4));
        examples.push_back(predict_last(tokens, 4));
    }
    return examples;
}

/// Strides of 4 tokens of a text, each with the whole text in front of it, and no passages.
std::vector<TrainingExample> plain(std::size_t context, std::uint64_t seed) {
    const TokenBuffer text = predict_all(random_example(90, 37, seed, 1, markers).tokens).tokens;
    std::vector<TrainingExample> examples;
    for (std::size_t at = context; at < context + 16; at += 4)
        examples.push_back(predict_last({text.begin(), text.begin() + static_cast<std::ptrdiff_t>(at + 4)}, 4));
    return examples;
}

/// The same beside the text, where the newest tokens see it if it stands far enough in front of them.
std::vector<TrainingExample> aside(std::size_t context, std::uint64_t seed, std::size_t gap) {
    SplitMix64 random{seed};
    const TokenBuffer text = predict_all(random_example(90, 37, seed, 1, markers).tokens).tokens;
    std::vector<TrainingExample> examples;
    for (std::size_t i = 0; i < 3; ++i) {
        const std::size_t at = context + 4 * i;
        const std::size_t plain = at - 6;
        TokenBuffer tokens{text.begin(), text.begin() + static_cast<std::ptrdiff_t>(plain)};
        append(tokens, random_tokens(random, 5 + 9 * i, 37));
        const std::size_t end = tokens.size();
        append(tokens, TokenSpan{text}.subspan(plain, 10));
        examples.push_back(predict_last(tokens, 4));
        examples.back().beside = {2, plain, end, gap};
    }
    return examples;
}

std::size_t tokens_of(const std::vector<TrainingExample>& examples) {
    std::size_t sum = 0;
    for (const TrainingExample& e : examples) sum += e.tokens.size();
    return sum;
}

}  // namespace

TEST_CASE("loss and gradients of a shared history are those of the single examples") {
    for (const OddFamily& family : odd_families()) {
        CAPTURE(family.name);
        const auto model = random_model(family.shape);
        for (const std::vector<TrainingExample>& single : {appended(20, 1),
                                                           appended(44, 2),
                                                           aside(30, 3, 0),
                                                           aside(40, 4, 20),
                                                           plain(30, 6),
                                                           std::vector(2, plain(30, 6)[1]),
                                                           {random_example(9, 37, 5, 3)}}) {
            const std::vector<TrainingExample> shared{share_history(single)};
            if (single.size() > 1) CHECK(shared[0].tokens.size() < tokens_of(single) * 3 / 4);
            for (const bool all : {true, false}) {
                TrainingTargets targets{.markers = markers};
                targets.lora = {.modules = {LinearModule::q, LinearModule::v}, .rank = 3, .alpha = 5, .dropout = 0};
                if (all) targets = {.all = true};
                Trainer one{model, targets};
                Trainer other{model, targets};
                disturb(one);
                disturb(other);
                // Each sum over rows is in another order; so are the maxima of softmax, by which its weights are scaled.
                const double off = 4 * static_cast<double>(tokens_of(single)) * std::numeric_limits<float>::epsilon();
                CHECK(other.evaluate(shared).nats == doctest::Approx(one.evaluate(single).nats).epsilon(off));
                one.accumulate(single);
                other.accumulate(shared);
                for (const Parameter& p : one.layout()) {
                    CAPTURE(p.name);
                    const std::vector<float> expected = p.read(one.gradient().data());
                    const std::vector<float> found = p.read(other.gradient().data());
                    double most = 0;
                    double worst = 0;
                    for (std::size_t i = 0; i < expected.size(); ++i) {
                        most = std::max(most, std::abs(static_cast<double>(expected[i])));
                        worst = std::max(worst, std::abs(static_cast<double>(expected[i]) - static_cast<double>(found[i])));
                    }
                    // A bias of keys adds the same to all scores of a query, unless it is rotated: nothing but roundings comes of it.
                    if (p.name.ends_with("attn_k.bias")) most = std::max(most, 1.0);
                    CHECK(worst <= off * most);
                }
            }
        }
    }
}

TEST_CASE("a step on shared histories has the same bits with any number of threads, dropout included") {
    const auto model = odd_model(true);
    std::vector<TrainingExample> batch;
    for (std::uint64_t seed = 1; seed < 6; ++seed) batch.push_back(share_history(appended(20 + seed, seed)));
    const auto trained = [&](std::size_t threads) {
        ThreadPool pool{threads};
        TrainingTargets targets{.markers = markers};
        targets.lora = {.modules = {LinearModule::k, LinearModule::down}, .rank = 2, .alpha = 4, .dropout = 0.3f};
        Trainer trainer{model, targets, {.cut_columns = {}, .seed = 3, .executor = pool}};
        for (int step = 0; step < 3; ++step) trainer.step(batch);
        const std::span<const float> p = trainer.state().parameters;
        return std::vector<float>{p.begin(), p.end()};
    };
    const std::vector<float> alone = trained(1);
    CHECK(same_bits(alone, trained(2)));
    CHECK(same_bits(alone, trained(3)));
}

TEST_CASE("runs that make no sense are refused") {
    Trainer trainer{odd_model(true), {.all = true}};
    const TrainingExample whole = share_history(appended(20, 1));
    const auto refuse = [&](const char* sentence, const auto& change, ErrorCode code = ErrorCode::contract) {
        TrainingExample example = whole;
        change(example);
        check_error(code, sentence, [&] { trainer.accumulate({&example, 1}); });
    };
    REQUIRE(whole.runs.size() == 7);  // the text, with the targets of the stride without a passage; three passages, three rests
    refuse("has runs and 2 tokens beside the text", [](TrainingExample& e) { e.beside = {0, 3, 5}; });
    refuse("run 1 of a training example has the tokens from 33 to", [](TrainingExample& e) { ++e.runs[1].begin; });
    refuse("run 1 of a training example has the tokens from 32 to 32", [](TrainingExample& e) { e.runs[1].end = 32; });
    refuse("and sees the first 33 tokens, expected it at no position", [](TrainingExample& e) { e.runs[1].shared = 33; });
    refuse("position 33 and sees the first", [](TrainingExample& e) { e.runs[1].position = 33; });
    refuse("and run 4, expected a run between these and itself", [](TrainingExample& e) { e.runs[4].passage = 4; });
    refuse("and run 0, expected a run between these and itself", [](TrainingExample& e) { e.runs[4].passage = 0; });
    refuse("the first of run 4", [](TrainingExample& e) { e.targets[4] = static_cast<std::uint32_t>(e.runs[4].begin); });
    refuse("the runs of a training example have 103 tokens, expected all 104",
           [](TrainingExample& e) { e.tokens.resize(e.tokens.size() + 1); });
    refuse(
        "takes 101 positions", [](TrainingExample& e) { e.runs[6].position = 101 - e.runs[6].size(); }, ErrorCode::window);
    trainer.accumulate({&whole, 1});
}

TEST_CASE("histories that cannot be shared are refused, and what has nothing in common stays apart") {
    check_error(ErrorCode::contract, "no training examples to share a history", [] { static_cast<void>(share_history({})); });
    std::vector<TrainingExample> two = aside(30, 3, 0);
    two[0].tokens[3] = two[1].tokens[3] == 7 ? 8 : 7;
    check_error(ErrorCode::contract, "of which 3 are the history of all", [&] { static_cast<void>(share_history(two)); });
    const std::vector<TrainingExample> shared{share_history(two = appended(20, 1))};
    check_error(ErrorCode::contract, "training example 0 has 7 runs", [&] { static_cast<void>(share_history(shared)); });
    two[1].targets.clear();
    check_error(ErrorCode::contract, "training example 1 has 0 runs and 0 targets",
                [&] { static_cast<void>(share_history(two)); });
    // Each begins with the one before: the last alone has a branch, of the token that predicts first and its targets.
    const TrainingExample text = share_history(plain(20, 1));
    CHECK(text.tokens.size() == 32 + 1 + 4);
    CHECK(text.runs.size() == 2);
    CHECK(text.targets == std::vector<std::uint32_t>{20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 33, 34, 35, 36});
    // Nothing in common: as many tokens as before.
    const std::vector<TrainingExample> apart{predict_last({1, 2, 3, 4}, 2), predict_last({4, 3, 2, 1}, 2)};
    CHECK(share_history(apart).tokens == TokenBuffer{1, 4, 2, 3, 4, 3, 2, 1});
}

}  // namespace test_train_shared_history
