#include "flashback/policy/truncated_sampling.hpp"

#include "support/allocations.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
#include <vector>

#include <doctest/doctest.h>

namespace test_policy_truncated_sampling {

using namespace flashback;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();

std::vector<float> logits_of(const std::vector<double>& probabilities) {
    std::vector<float> logits;
    for (const double p : probabilities) logits.push_back(static_cast<float>(std::log(p)) + 3);
    return logits;
}

constexpr std::size_t draws = 100000;

/// Draws many tokens and checks each frequency to 5 standard deviations of its binomial distribution, 0 exactly.
void check_frequencies(SamplingOptions options, const std::vector<float>& logits, const std::vector<double>& expected) {
    TruncatedSampling sampler{options};
    std::vector<std::size_t> counts(logits.size());
    for (std::size_t i = 0; i < draws; ++i) ++counts[static_cast<std::size_t>(sampler.at(logits, i))];
    for (std::size_t token = 0; token < counts.size(); ++token) {
        const double p = expected[token];
        const double deviation = std::sqrt(p * (1 - p) * static_cast<double>(draws));
        CAPTURE(token);
        CHECK(std::abs(static_cast<double>(counts[token]) - p * static_cast<double>(draws)) <= 5 * deviation);
    }
}

/// 50 tokens, those from a position on.
std::vector<TokenId> tokens_of(TruncatedSampling& sampler, const std::vector<float>& logits, std::uint64_t from = 0) {
    std::vector<TokenId> tokens;
    for (std::uint64_t i = 0; i < 50; ++i) tokens.push_back(sampler.at(logits, from + i));
    return tokens;
}

/// The distribution that the options leave, from their definitions and in their order.
std::vector<double> brute_force(const SamplingOptions& options, const std::vector<float>& logits) {
    std::vector<std::size_t> order(logits.size());
    std::iota(order.begin(), order.end(), 0u);
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return logits[a] > logits[b]; });
    std::vector<long double> weight(logits.size());
    for (std::size_t i = 0; i < logits.size(); ++i)
        weight[i] = std::exp((static_cast<long double>(logits[i]) - logits[order[0]]) / options.temperature);
    if (options.top_k > 0) order.resize(std::min(options.top_k, order.size()));
    long double total = 0;
    for (const std::size_t i : order) total += weight[i];
    long double before = 0;  // of the likelier ones
    std::vector<double> expected(logits.size());
    long double left = 0;
    for (const std::size_t i : order) {
        const bool reached = before >= options.top_p * total && before > 0;
        before += weight[i];
        if (reached || weight[i] < options.min_p) continue;
        expected[i] = static_cast<double>(weight[i]);
        left += weight[i];
    }
    for (double& p : expected) p = static_cast<double>(p / left);
    return expected;
}

}  // namespace

TEST_CASE("tokens come as often as they are likely") {
    const std::vector<double> p{0.4, 0.05, 0.3, 0.15, 0.1};
    check_frequencies({}, logits_of(p), p);
}

TEST_CASE("the temperature divides the logits") {
    const std::vector<double> p{0.5, 0.3, 0.2};
    for (const float temperature : {0.5f, 2.0f}) {
        std::vector<double> expected;
        double total = 0;
        for (const double q : p) total += std::pow(q, 1 / static_cast<double>(temperature));
        for (const double q : p) expected.push_back(std::pow(q, 1 / static_cast<double>(temperature)) / total);
        check_frequencies({.temperature = temperature, .top_p = 1.0f, .seed = 3}, logits_of(p), expected);
    }
}

TEST_CASE("top-p keeps the likeliest tokens that reach it and no other") {
    const std::vector<float> logits = logits_of({0.1, 0.5, 0.15, 0.25});
    check_frequencies({.temperature = 1.0f, .top_p = 0.3f, .seed = 4}, logits, {0, 1, 0, 0});
    check_frequencies({.temperature = 1.0f, .top_p = 0.7f, .seed = 4}, logits, {0, 0.5 / 0.75, 0, 0.25 / 0.75});
    check_frequencies({.temperature = 1.0f, .top_p = 0.8f, .seed = 4}, logits, {0, 0.5 / 0.9, 0.15 / 0.9, 0.25 / 0.9});
    check_frequencies({.temperature = 1.0f, .top_p = 0.95f, .seed = 4}, logits, {0.1, 0.5, 0.15, 0.25});
    check_frequencies({.temperature = 0.5f, .top_p = 0.7f, .seed = 4}, logits, {0, 1, 0, 0});
}

TEST_CASE("of equals top-p keeps the lowest ids") {
    check_frequencies({.temperature = 1.0f, .top_p = 0.5f, .seed = 5}, {1, 1, 1}, {0.5, 0.5, 0});
}

TEST_CASE("a masked token never comes") { check_frequencies({}, {0, -infinity, 0, -infinity}, {0.5, 0, 0.5, 0}); }

TEST_CASE("logits far apart neither overflow nor lose the likeliest") {
    check_frequencies({}, {3e38f, -3e38f, 0}, {1, 0, 0});
    check_frequencies({.temperature = 1e-30f, .top_p = 1.0f, .seed = 0}, {1.0f, 1.001f}, {0, 1});
}

TEST_CASE("the same seed gives the same tokens, whatever was drawn before at other positions") {
    const std::vector<float> logits(100, 0.5f);
    TruncatedSampling a{{.temperature = 1.0f, .top_p = 0.9f, .seed = 42}};
    TruncatedSampling b{{.temperature = 1.0f, .top_p = 0.9f, .seed = 42}};
    TruncatedSampling c{{.temperature = 1.0f, .top_p = 0.9f, .seed = 43}};
    const std::vector<TokenId> tokens = tokens_of(a, logits);
    CHECK(tokens_of(b, logits) == tokens);
    CHECK(tokens_of(c, logits) != tokens);
    CHECK(tokens_of(a, logits, 50) != tokens);
    CHECK(tokens_of(a, logits) == tokens);
}

TEST_CASE("options out of their range are refused") {
    for (const float temperature : {-1.0f, infinity, not_a_number}) {
        CHECK_THROWS_WITH_AS((TruncatedSampling{{.temperature = temperature, .top_p = 1.0f, .seed = 0}}),
                             doctest::Contains("the temperature of sampling must be a number from 0"), Error);
    }
    for (const float top_p : {0.0f, -0.5f, 1.5f, not_a_number}) {
        CHECK_THROWS_WITH_AS((TruncatedSampling{{.temperature = 1.0f, .top_p = top_p, .seed = 0}}),
                             doctest::Contains("top-p must lie in (0, 1]"), Error);
    }
}

TEST_CASE("top-k keeps so many of the likeliest tokens, of equals the lowest ids") {
    const std::vector<double> p{0.1, 0.4, 0.2, 0.3};
    const auto top = [&](std::size_t k, const std::vector<double>& expected) {
        check_frequencies({.top_k = k, .seed = 6}, logits_of(p), expected);
    };
    top(1, {0, 1, 0, 0});
    top(2, {0, 0.4 / 0.7, 0, 0.3 / 0.7});
    top(3, {0, 0.4 / 0.9, 0.2 / 0.9, 0.3 / 0.9});
    top(4, p);
    top(5, p);
    top(static_cast<std::size_t>(-1), p);
    check_frequencies({.top_k = 2, .seed = 6}, {1, 1, 1, 1}, {0.5, 0.5, 0, 0});
    check_frequencies({.top_k = 2, .seed = 6}, {-infinity, 1, -infinity}, {0, 1, 0});
}

TEST_CASE("min-p keeps what is at least so likely compared with the likeliest") {
    const std::vector<double> p{0.1, 0.4, 0.2, 0.3};
    check_frequencies({.min_p = 0.6f, .seed = 7}, logits_of(p), {0, 0.4 / 0.7, 0, 0.3 / 0.7});
    check_frequencies({.min_p = 0.3f, .seed = 7}, logits_of(p), {0, 0.4 / 0.9, 0.2 / 0.9, 0.3 / 0.9});
    check_frequencies({.min_p = 0.2f, .seed = 7}, logits_of(p), p);
    check_frequencies({.min_p = 1.0f, .seed = 7}, {2, 3, 3, 1}, {0, 0.5, 0.5, 0});
    // It acts on what the temperature made of the probabilities: 0.3 / 0.4 squared is less than 0.6.
    check_frequencies({.temperature = 0.5f, .min_p = 0.6f, .seed = 7}, logits_of(p), {0, 1, 0, 0});
}

TEST_CASE("all options together give the distribution of their definitions") {
    SplitMix64 random{41};
    constexpr std::size_t tosses = 4000;
    double chi_square = 0;
    double freedom = 0;
    for (int round = 0; round < 120; ++round) {
        std::vector<float> logits(2 + random.below(30));
        for (float& logit : logits) logit = static_cast<float>(6 * random.uniform());
        if (round % 3 == 0) logits[random.below(logits.size())] = -infinity;
        const SamplingOptions options{.temperature = static_cast<float>(0.3 + 2 * random.uniform()),
                                      .top_k = random.below(12),
                                      .top_p = random.below(2) ? 1.0f : static_cast<float>(0.3 + 0.69 * random.uniform()),
                                      .min_p = random.below(2) ? 0.0f : static_cast<float>(0.3 * random.uniform()),
                                      .seed = random.next()};
        const std::vector<double> expected = brute_force(options, logits);
        TruncatedSampling sampler{options};
        std::vector<std::size_t> counts(logits.size());
        for (std::size_t i = 0; i < tosses; ++i) ++counts[static_cast<std::size_t>(sampler.at(logits, i))];
        double rare = 0;  // what is expected less than 10 times is pooled
        std::size_t rare_count = 0;
        std::size_t cells = 0;
        for (std::size_t token = 0; token < logits.size(); ++token) {
            if (expected[token] == 0) REQUIRE(counts[token] == 0);
            const double mean = expected[token] * tosses;
            if (mean < 10) {
                rare += mean;
                rare_count += counts[token];
                continue;
            }
            ++cells;
            chi_square += std::pow(static_cast<double>(counts[token]) - mean, 2) / mean;
        }
        if (rare >= 10) {
            ++cells;
            chi_square += std::pow(static_cast<double>(rare_count) - rare, 2) / rare;
        }
        freedom += static_cast<double>(cells) - 1;
    }
    REQUIRE(freedom > 300);
    CHECK(std::abs(chi_square - freedom) < 5 * std::sqrt(2 * freedom));
}

TEST_CASE("temperature 0 always takes the likeliest token, as Greedy does, and draws nothing") {
    SplitMix64 random{8};
    TruncatedSampling sampler{{.temperature = 0, .top_k = 3, .top_p = 0.9f, .min_p = 0.1f, .seed = 1}};
    for (int round = 0; round < 1000; ++round) {
        std::vector<float> logits(1 + random.below(20));
        for (float& logit : logits) logit = static_cast<float>(random.below(4));
        REQUIRE(sampler.at(logits, static_cast<std::uint64_t>(round)) == Greedy{}(logits));
    }
}

// The numbers are those of a program in Python that follows the definitions, with Python's exp and a sort instead of a heap.
TEST_CASE("the tokens of a seed are the same with every standard library and compiler") {
    SplitMix64 random{2024};
    std::vector<float> logits(50);
    for (float& logit : logits) logit = static_cast<float>(5 * random.uniform());
    const auto first_tokens = [&](SamplingOptions options) {
        TruncatedSampling sampler{options};
        std::vector<TokenId> tokens;
        for (std::uint64_t i = 0; i < 12; ++i) tokens.push_back(sampler.at(logits, i));
        return tokens;
    };
    CHECK(first_tokens({.seed = 1}) == std::vector<TokenId>{40, 49, 44, 12, 12, 21, 30, 4, 25, 13, 12, 18});
    CHECK(first_tokens({.temperature = 0.7f, .top_p = 0.8f, .seed = 2}) ==
          std::vector<TokenId>{35, 11, 35, 11, 27, 46, 11, 11, 27, 11, 46, 25});
    CHECK(first_tokens({.temperature = 1.5f, .top_k = 10, .seed = 3}) ==
          std::vector<TokenId>{16, 11, 12, 16, 27, 12, 16, 40, 35, 40, 11, 11});
    CHECK(first_tokens({.min_p = 0.2f, .seed = 4}) == std::vector<TokenId>{25, 36, 24, 35, 25, 12, 48, 35, 27, 12, 18, 4});
    CHECK(first_tokens({.temperature = 2.0f, .top_k = 20, .top_p = 0.95f, .min_p = 0.05f, .seed = 5}) ==
          std::vector<TokenId>{12, 48, 25, 27, 46, 12, 39, 4, 11, 18, 11, 27});

    std::uint64_t hash = 0;  // of many tokens, each of its own logits
    TruncatedSampling sampler{{.temperature = 1.3f, .top_k = 40, .top_p = 0.9f, .seed = 6}};
    for (std::uint64_t i = 0; i < 5000; ++i) {
        for (float& logit : logits) logit = static_cast<float>(5 * random.uniform());
        hash = SplitMix64{hash ^ static_cast<std::uint64_t>(sampler.at(logits, i))}.next();
    }
    CHECK(hash == 0x880a5e0d9ab558d2u);
}

TEST_CASE("top-k and min-p out of their range are refused or have a meaning") {
    for (const float min_p : {-0.1f, 1.5f, infinity, not_a_number}) {
        CHECK_THROWS_WITH_AS((TruncatedSampling{{.min_p = min_p}}), doctest::Contains("min-p must lie in [0, 1]"), Error);
    }
    CHECK_NOTHROW(TruncatedSampling{{.temperature = std::numeric_limits<float>::denorm_min()}});
    TruncatedSampling coldest{{.temperature = std::numeric_limits<float>::denorm_min()}};
    for (std::uint64_t i = 0; i < 20; ++i) CHECK(coldest.at(std::array{1.0f, 1.0001f, -1.0f}, i) == 1);
}

TEST_CASE("a sampler that is warm allocates nothing, whatever the options") {
    const std::vector<float> logits(1000, 0.25f);
    for (const SamplingOptions& options :
         {SamplingOptions{}, SamplingOptions{.top_k = 40}, SamplingOptions{.top_p = 0.9f}, SamplingOptions{.min_p = 0.1f}}) {
        TruncatedSampling sampler{options};
        sampler.at(logits, 0);
        CHECK(flashback_test::allocations_of([&] {
                  for (std::uint64_t i = 0; i < 20; ++i) sampler.at(logits, i);
              }).calls == 0);
    }
}

}  // namespace test_policy_truncated_sampling
