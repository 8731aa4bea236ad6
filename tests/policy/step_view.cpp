#include "flashback/policy/step_view.hpp"

#include "flashback/core/random.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <type_traits>
#include <vector>

#include <doctest/doctest.h>

namespace test_policy_step_view {

using namespace flashback;

namespace {

static_assert(std::is_trivially_copyable_v<StepView> && std::is_aggregate_v<StepView>);
static_assert(noexcept(StepView{}.generated()) && noexcept(StepView{}.kept()) && noexcept(StepView{}.draft()));

constexpr float infinity = std::numeric_limits<float>::infinity();

/// What the logits mean, from the definitions and in long double.
struct Oracle {
    std::vector<long double> p;

    explicit Oracle(std::span<const float> logits) {
        const long double most = *std::max_element(logits.begin(), logits.end());
        long double total = 0;
        for (const float logit : logits) {
            p.push_back(std::exp(logit - most));
            total += p.back();
        }
        for (long double& q : p) q /= total;
    }
    long double surprisal(TokenId token) const { return -std::log(p.at(static_cast<std::size_t>(token))); }
    long double entropy() const {
        long double sum = 0;
        for (const long double q : p) sum -= q > 0 ? q * std::log(q) : 0;
        return sum;
    }
    long double margin() const {
        std::vector<long double> sorted = p;
        std::sort(sorted.rbegin(), sorted.rend());
        return sorted.size() > 1 ? sorted[0] - sorted[1] : sorted[0];
    }
};

bool near(double found, long double expected) {
    return std::abs(static_cast<long double>(found) - expected) <= 1e-13L * (1 + std::abs(expected));
}

void check_against_oracle(const std::vector<float>& logits) {
    const Oracle oracle{logits};
    for (std::size_t token = 0; token < logits.size(); token += 1 + logits.size() / 16) {
        const std::array<TokenId, 2> context{99, static_cast<TokenId>(token)};
        const StepView step{context, 1, 0, 1, logits};
        if (logits[token] == -infinity) {
            REQUIRE(step.probability() == 0);
            REQUIRE(step.surprisal() == std::numeric_limits<double>::infinity());
        } else {
            REQUIRE(near(step.surprisal(), oracle.surprisal(static_cast<TokenId>(token))));
            REQUIRE(near(step.probability(), oracle.p[token]));
        }
        REQUIRE(near(step.entropy(), oracle.entropy()));
        REQUIRE(near(step.margin(), oracle.margin()));
        REQUIRE(step.entropy() >= 0);
    }
}

}  // namespace

TEST_CASE("a step tells what was generated and the newest token") {
    constexpr std::array<TokenId, 5> context{1, 2, 3, 4, 5};
    CHECK(StepView{context, 3}.generated() == 2);
    CHECK(StepView{context, 5}.generated() == 0);
    CHECK(StepView{context, 3}.last_token() == 5);
    CHECK(StepView{TokenSpan{context}.first(2), 2}.last_token() == 2);
}

TEST_CASE("the draft and what is kept are the context, cut in two") {
    constexpr std::array<TokenId, 5> context{1, 2, 3, 4, 5};
    for (std::size_t rewind = 0; rewind <= 5; ++rewind) {
        const StepView step{context, 0, 0, 0, {}, rewind};
        CHECK(step.kept().data() == context.data());
        CHECK(step.kept().size() == 5 - rewind);
        CHECK(step.draft().data() == context.data() + 5 - rewind);
        CHECK(step.draft().size() == rewind);
    }
}

TEST_CASE("before the first token there is nothing to doubt") {
    constexpr std::array<TokenId, 1> context{1};
    for (const StepView& step : {StepView{context, 1}, StepView{}}) {
        CHECK(step.probability() == 1);
        CHECK(step.surprisal() == 0);
        CHECK(step.entropy() == 0);
        CHECK(step.margin() == 1);
    }
}

TEST_CASE("probability, surprisal, entropy and margin are those of the definitions") {
    SplitMix64 random{5};
    for (const std::size_t vocab : {1u, 2u, 3u, 17u, 1000u}) {
        for (const double scale : {1e-6, 1.0, 30.0, 1000.0}) {
            for (int round = 0; round < 10; ++round) {
                std::vector<float> logits(vocab);
                for (float& logit : logits) logit = static_cast<float>(scale * (2 * random.uniform() - 1));
                check_against_oracle(logits);
                for (float& logit : logits) logit = random.below(3) == 0 ? -infinity : logit;  // masked
                logits[random.below(vocab)] = 0;
                check_against_oracle(logits);
            }
        }
    }
}

TEST_CASE("equal logits have the entropy of their number and no margin") {
    for (const std::size_t vocab : {2u, 8u, 50000u}) {
        const std::vector<float> logits(vocab, -3.5f);
        const std::array<TokenId, 1> context{1};
        const StepView step{context, 0, 0, 1, logits};
        CHECK(step.entropy() == doctest::Approx(std::log(static_cast<double>(vocab))).epsilon(1e-12));
        CHECK(step.probability() == doctest::Approx(1.0 / static_cast<double>(vocab)).epsilon(1e-12));
        CHECK(step.margin() == 0);
    }
}

TEST_CASE("a distribution of one token has no entropy and a margin of 1, masked or not") {
    const std::array<TokenId, 1> context{1};
    for (const std::vector<float>& logits : {std::vector{-infinity, 2.0f, -infinity}, std::vector{-3e38f, 3e38f, 0.0f}}) {
        const StepView step{context, 0, 0, 1, logits};
        CHECK(step.entropy() == 0);
        CHECK(step.margin() == 1);
        CHECK(step.surprisal() == 0);
        CHECK(step.probability() == 1);
    }
}

TEST_CASE("the margin is that of the two likeliest tokens, wherever they stand and whichever was taken") {
    std::vector<float> logits{std::log(0.1f), std::log(0.2f), std::log(0.3f), std::log(0.4f)};
    std::sort(logits.begin(), logits.end());
    do {
        for (TokenId taken = 0; taken < 4; ++taken) {
            const std::array<TokenId, 1> context{taken};
            CHECK(StepView{context, 0, 0, 1, logits}.margin() == doctest::Approx(0.1).epsilon(1e-6));
        }
    } while (std::next_permutation(logits.begin(), logits.end()));
}

}  // namespace test_policy_step_view
