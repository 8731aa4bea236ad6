#include "flashback/policy/sampler.hpp"
#include "flashback/policy/random.hpp"
#include "flashback/policy/truncated_sampling.hpp"

#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

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
    for (std::size_t i = 0; i < draws; ++i) ++counts[static_cast<std::size_t>(sampler(logits))];
    for (std::size_t token = 0; token < counts.size(); ++token) {
        const double p = expected[token];
        const double deviation = std::sqrt(p * (1 - p) * static_cast<double>(draws));
        CAPTURE(token);
        CHECK(std::abs(static_cast<double>(counts[token]) - p * static_cast<double>(draws)) <= 5 * deviation);
    }
}

std::vector<TokenId> tokens_of(TruncatedSampling& sampler, const std::vector<float>& logits) {
    std::vector<TokenId> tokens;
    for (int i = 0; i < 50; ++i) tokens.push_back(sampler(logits));
    return tokens;
}

}  // namespace

TEST_CASE("Greedy takes the likeliest token, of equals the lowest id") {
    CHECK(Greedy{}(std::array{1.0f, 3.0f, 2.0f}) == 1);
    CHECK(Greedy{}(std::array{3.0f, 1.0f, 3.0f}) == 0);
    CHECK(Greedy{}(std::array{-infinity, -5.0f, -5.0f, -infinity}) == 1);
    CHECK(Greedy{}(std::array{0.0f, infinity}) == 1);
}

TEST_CASE("logits that no token can be taken from are an error") {
    const auto code_of = [](auto sampler, const std::vector<float>& logits) {
        try {
            sampler(logits);
        } catch (const Error& error) {
            return error.code();
        }
        return ErrorCode::contract;
    };
    for (const auto& logits : {std::vector{-infinity, -infinity}, std::vector{1.0f, not_a_number},
                               std::vector{not_a_number, 1.0f}, std::vector{infinity, not_a_number}, std::vector<float>{}}) {
        CHECK(code_of(Greedy{}, logits) == ErrorCode::logits);
        CHECK(code_of(TruncatedSampling{}, logits) == ErrorCode::logits);
    }
    CHECK(code_of(TruncatedSampling{}, {0.0f, infinity}) == ErrorCode::logits);
    CHECK_THROWS_WITH_AS(Greedy{}(std::array{1.0f, 2.0f, not_a_number}), "the logit of token 2 is not a number", Error);
    CHECK_THROWS_WITH_AS(Greedy{}(std::array{-infinity, -infinity}), "none of the 2 logits is above -infinity", Error);
}

TEST_CASE("SplitMix64 gives the published stream") {
    SplitMix64 random{1234567};
    CHECK(random.next() == 6457827717110365317u);
    CHECK(random.next() == 3203168211198807973u);
    CHECK(random.next() == 9817491932198370423u);
    CHECK(random.next() == 4593380528125082431u);
    CHECK(random.next() == 16408922859458223821u);
}

TEST_CASE("uniform numbers lie in [0, 1) and below(n) reaches all of n") {
    SplitMix64 random{7};
    double sum = 0;
    std::array<int, 5> counts{};
    for (int i = 0; i < 10000; ++i) {
        const double u = random.uniform();
        REQUIRE(u >= 0);
        REQUIRE(u < 1);
        sum += u;
        ++counts.at(random.below(5));
    }
    CHECK(std::abs(sum - 5000) < 5 * std::sqrt(10000.0 / 12));
    for (const int count : counts) CHECK(std::abs(count - 2000) < 5 * std::sqrt(10000 * 0.2 * 0.8));
}

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

TEST_CASE("a masked token never comes") {
    check_frequencies({}, {0, -infinity, 0, -infinity}, {0.5, 0, 0.5, 0});
}

TEST_CASE("logits far apart neither overflow nor lose the likeliest") {
    check_frequencies({}, {3e38f, -3e38f, 0}, {1, 0, 0});
    check_frequencies({.temperature = 1e-30f, .top_p = 1.0f, .seed = 0}, {1.0f, 1.001f}, {0, 1});
}

TEST_CASE("the same seed gives the same tokens and reset goes back to it") {
    const std::vector<float> logits(100, 0.5f);
    TruncatedSampling a{{.temperature = 1.0f, .top_p = 0.9f, .seed = 42}};
    TruncatedSampling b{{.temperature = 1.0f, .top_p = 0.9f, .seed = 42}};
    TruncatedSampling c{{.temperature = 1.0f, .top_p = 0.9f, .seed = 43}};
    const std::vector<TokenId> tokens = tokens_of(a, logits);
    CHECK(tokens_of(b, logits) == tokens);
    CHECK(tokens_of(c, logits) != tokens);
    CHECK(tokens_of(a, logits) != tokens);
    a.reset();
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
