// What fusions make of rows of logits, against the formulas, in another precision.
#include "flashback/policy/fusion.hpp"

#include "flashback/core/random.hpp"
#include "flashback/policy/any_fusion.hpp"
#include "flashback/policy/policies.hpp"
#include "support/errors.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <vector>

#include <doctest/doctest.h>

namespace test_policy_fusion {

using namespace flashback;
using namespace flashback_test;

namespace {

constexpr std::size_t vocab = 50;
constexpr float no_chance = -std::numeric_limits<float>::infinity();

std::vector<float> random_rows(std::size_t rows, std::uint64_t seed) {
    SplitMix64 random{seed};
    std::vector<float> all(rows * vocab);
    for (float& logit : all) logit = static_cast<float>(20 * random.uniform() - 10);
    return all;
}

/// ln p of each token of a row, in long double.
std::vector<long double> log_probabilities(std::span<const float> row) {
    long double total = 0;
    for (const float logit : row) total += std::exp(static_cast<long double>(logit));
    std::vector<long double> all;
    for (const float logit : row) all.push_back(static_cast<long double>(logit) - std::log(total));
    return all;
}

std::vector<long double> softmax_of(const std::vector<long double>& logs) {
    long double total = 0;
    for (const long double log : logs) total += std::exp(log);
    std::vector<long double> all;
    for (const long double log : logs) all.push_back(std::exp(log) / total);
    return all;
}

/// ln of the weighted sum of distributions.
std::vector<long double> mixture_of(const LogitRows& rows, const std::vector<long double>& weights) {
    std::vector<long double> sum(vocab, 0);
    for (std::size_t r = 0; r < rows.size(); ++r) {
        const std::vector<long double> logs = log_probabilities(rows[r]);
        for (std::size_t v = 0; v < vocab; ++v) sum[v] += weights[r] * std::exp(logs[v]);
    }
    for (long double& p : sum) p = std::log(p);
    return sum;
}

/// Two logits mean the same distribution if they differ by a constant.
void check_near(std::span<const float> found, const std::vector<long double>& expected) {
    for (std::size_t v = 0; v < vocab; ++v)
        CHECK(std::fabs(static_cast<long double>(found[v]) - expected[v]) < 1e-5L * (1 + std::fabs(expected[v])));
}

std::vector<PassageGroup> groups_of(const auto& fusion, std::size_t passages) {
    std::vector<PassageGroup> groups;
    fusion.groups(passages, groups);
    return groups;
}

}  // namespace

TEST_CASE("fusions read passages in the groups that they say") {
    using Groups = std::vector<PassageGroup>;
    CHECK(groups_of(FirstPassage{}, 3) == Groups{{0, 1}});
    CHECK(groups_of(FirstPassage{}, 0) == Groups{{0, 0}});
    CHECK(groups_of(Concatenate{}, 3) == Groups{{0, 3}});
    CHECK(groups_of(ConcatenateJoined{}, 3) == Groups{{0, 3, true}});
    CHECK(groups_of(MeanOfLogits{}, 3) == Groups{{0, 1}, {1, 1}, {2, 1}});
    CHECK(groups_of(MeanOfLogits{}, 0) == Groups{{0, 0}});
    CHECK(groups_of(WeightedMixture{}, 2) == Groups{{0, 1}, {1, 1}});
    CHECK(groups_of(RagSequence{}, 2) == Groups{{0, 1}, {1, 1}});
    CHECK(groups_of(ContrastWithout{0.5}, 2) == Groups{{0, 2}, {0, 0}});
    CHECK(groups_of(ContrastWithout{1, true}, 2) == Groups{{0, 2, true}, {0, 0}});
    CHECK(groups_of(ContrastWithout{}, 0) == Groups{{0, 0}});
}

TEST_CASE("the mean of logits is the normalised geometric mean") {
    const std::vector<float> logits = random_rows(4, 1);
    const LogitRows rows{logits, vocab};
    std::vector<float> out(vocab);
    MeanOfLogits{}(rows, out);
    std::vector<long double> product(vocab, 0);
    for (std::size_t r = 0; r < rows.size(); ++r) {
        const std::vector<long double> logs = log_probabilities(rows[r]);
        for (std::size_t v = 0; v < vocab; ++v) product[v] += logs[v] / 4;
    }
    const std::vector<long double> found = log_probabilities(out);
    const std::vector<long double> weights = softmax_of(product);
    for (std::size_t v = 0; v < vocab; ++v) CHECK(std::fabs(std::exp(found[v]) - weights[v]) < 1e-6L);
}

TEST_CASE("a mixture is the sum of distributions, weighted by the softmax of scores") {
    const std::vector<float> logits = random_rows(3, 2);
    const LogitRows rows{logits, vocab};
    const std::vector<float> scores{12, 9.5f, 2};
    std::vector<float> out(vocab);
    for (const double temperature : {1.0, 4.0, 100.0}) {
        WeightedMixture fusion{temperature};
        fusion.begin(scores);
        fusion(rows, out);
        std::vector<long double> tempered;
        for (const float score : scores) tempered.push_back(static_cast<long double>(score) / temperature);
        check_near(out, mixture_of(rows, softmax_of(tempered)));
        // The sum of what it gives is 1, so it can be mixed again.
        double sum = 0;
        for (const float log : out) sum += std::exp(static_cast<double>(log));
        CHECK(std::fabs(sum - 1) < 1e-5);
    }
    WeightedMixture fusion;
    fusion.begin(std::span{scores}.first(2));
    check_error(ErrorCode::contract, "a mixture of 2 passages was given the logits of 3 branches", [&] { fusion(rows, out); });
}

TEST_CASE("RAG-Sequence: the product over tokens is the weighted sum of the products of the passages") {
    const std::vector<float> scores{3, 2.5f, 0};
    const std::vector<long double> weights = softmax_of({3, 2.5L, 0});
    RagSequence sequence;
    WeightedMixture token;
    for (int twice = 0; twice < 2; ++twice) {  // begin forgets what was written
        sequence.begin(scores);
        token.begin(scores);
        SplitMix64 random{9};
        std::vector<long double> of_passage(3, 0);
        long double written = 0;
        std::vector<float> out(vocab);
        for (std::uint64_t i = 0; i < 12; ++i) {
            const std::vector<float> logits = random_rows(3, 100 + i);
            const LogitRows rows{logits, vocab};
            sequence(rows, out);
            const auto next = static_cast<std::size_t>(random.below(vocab));
            written += static_cast<long double>(out[next]);
            for (std::size_t r = 0; r < 3; ++r) of_passage[r] += log_probabilities(rows[r])[next];
            sequence.took(rows, static_cast<TokenId>(next));
            if (i == 0) continue;
            std::vector<float> other(vocab);
            token(rows, other);
            CHECK(out != other);  // the weights have moved
        }
        long double sum = 0;
        for (std::size_t r = 0; r < 3; ++r) sum += weights[r] * std::exp(of_passage[r]);
        CHECK(std::fabs(written - std::log(sum)) < 1e-4L);
    }
}

TEST_CASE("context-aware decoding: (1 + alpha) with - alpha without") {
    const std::vector<float> logits = random_rows(2, 5);
    std::vector<float> out(vocab);
    for (const double alpha : {0.0, 0.5, 1.0}) {
        ContrastWithout{alpha}(LogitRows{logits, vocab}, out);
        for (std::size_t v = 0; v < vocab; ++v) {
            const double expected =
                (1 + alpha) * static_cast<double>(logits[v]) - alpha * static_cast<double>(logits[vocab + v]);
            CHECK(static_cast<double>(out[v]) == doctest::Approx(expected).epsilon(1e-6));
        }
    }
}

TEST_CASE("what is masked in all rows is masked, and a bad logit is not hidden") {
    std::vector<float> logits = random_rows(2, 6);
    logits[7] = logits[vocab + 7] = no_chance;
    std::vector<float> out(vocab);
    const std::vector<float> scores{1, 1};
    const auto check = [&](auto fusion) {
        AnyFusion any{fusion};
        any.begin(scores);
        any(LogitRows{logits, vocab}, out);
        CHECK(out[7] == no_chance);
        for (std::size_t v = 0; v < vocab; ++v) CHECK((v == 7 || std::isfinite(out[v])));
        std::vector<float> bad = logits;
        bad[vocab + 3] = std::numeric_limits<float>::quiet_NaN();
        any.begin(scores);
        any(LogitRows{bad, vocab}, out);
        CHECK(std::isnan(out[3]));
    };
    check(MeanOfLogits{});
    check(WeightedMixture{});
    check(RagSequence{});
    check(ContrastWithout{1});
}

TEST_CASE("numbers that make no sense are refused") {
    const double nan = std::numeric_limits<double>::quiet_NaN();
    for (const double bad : {0.0, -1.0, nan, std::numeric_limits<double>::infinity()}) {
        check_error(ErrorCode::contract, "the temperature of scores is a finite number above 0, found",
                    [&] { WeightedMixture{bad}; });
        check_error(ErrorCode::contract, "the temperature of scores is a finite number above 0, found",
                    [&] { RagSequence{bad}; });
    }
    for (const double bad : {-0.1, nan, std::numeric_limits<double>::infinity()})
        check_error(ErrorCode::contract, "the alpha of context-aware decoding is a finite number from 0, found",
                    [&] { ContrastWithout{bad}; });
}

TEST_CASE("a copy of any fusion has a memory of its own, and a reference shares it") {
    const std::vector<float> logits = random_rows(2, 8);
    const LogitRows rows{logits, vocab};
    const std::vector<float> scores{2, 1};
    const auto fused = [&](AnyFusion& fusion) {
        std::vector<float> out(vocab);
        fusion(rows, out);
        return out;
    };
    AnyFusion first{RagSequence{}};
    first.begin(scores);
    AnyFusion second = first;
    const std::vector<float> before = fused(first);
    second.took(rows, 3);
    CHECK(fused(first) == before);
    CHECK(fused(second) != before);
    RagSequence shared;
    AnyFusion third{std::ref(shared)};
    third.begin(scores);
    AnyFusion fourth = third;
    fourth.took(rows, 3);
    CHECK(fused(third) != before);
}

}  // namespace test_policy_fusion
