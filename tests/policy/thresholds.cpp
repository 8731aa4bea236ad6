#include "flashback/policy/thresholds.hpp"

#include "flashback/core/random.hpp"
#include "flashback/policy/any_policy.hpp"

#include <cmath>
#include <cstddef>
#include <limits>
#include <type_traits>
#include <vector>

#include <doctest/doctest.h>

namespace test_policy_thresholds {

using namespace flashback;

namespace {

/// A step after `generated` tokens, of which the newest was taken from these logits.
struct Step {
    std::vector<float> logits;
    std::size_t generated = 1;
    std::size_t since = 100;
    std::size_t retrievals = 1;
    TokenBuffer context = TokenBuffer(generated + 1, 0);

    StepView view() const { return {context, 1, retrievals, since, logits}; }
};

/// A signal of one's own: the first logit.
template <bool low>
struct FirstLogit {
    static double of(const StepView& step) { return step.logits.front(); }
    static constexpr bool low_is_doubt = low;
};

std::vector<float> equal(std::size_t count) { return std::vector<float>(count, 0.5f); }

static_assert(DoubtSignal<EntropySignal> && DoubtSignal<SurprisalSignal> && DoubtSignal<MarginSignal>);
static_assert(!DoubtSignal<Never>);
static_assert(RetrievalSchedule<const OnEntropy> && RetrievalSchedule<OnUnusualMargin>);
static_assert(sizeof(OnMargin) == sizeof(double) + sizeof(std::size_t));

/// Mean and deviation in two passes.
struct TwoPasses {
    double mean = 0;
    double deviation = 0;

    explicit TwoPasses(const std::vector<double>& values) {
        for (const double value : values) mean += value;
        mean /= static_cast<double>(values.size());
        for (const double value : values) deviation += (value - mean) * (value - mean);
        deviation = std::sqrt(deviation / static_cast<double>(values.size()));
    }
};

}  // namespace

TEST_CASE("running statistics by hand") {
    RunningStatistics numbers;
    CHECK(numbers.count() == 0);
    CHECK(numbers.mean() == 0);
    CHECK(numbers.deviation() == 0);
    CHECK(numbers.z(3) == 0);
    for (const double value : {2, 4, 4, 4, 5, 5, 7, 9}) numbers.push(value);
    CHECK(numbers.count() == 8);
    CHECK(numbers.mean() == doctest::Approx(5));       // 40 / 8
    CHECK(numbers.deviation() == doctest::Approx(2));  // (9 + 1 + 1 + 1 + 0 + 0 + 4 + 16) / 8 = 4
    CHECK(numbers.z(9) == doctest::Approx(2));
    CHECK(numbers.z(4) == doctest::Approx(-0.5));
    numbers.rewind(6);
    CHECK(numbers.mean() == 3);
    CHECK(numbers.deviation() == 1);
    numbers.push(std::numeric_limits<double>::infinity());
    numbers.push(std::numeric_limits<double>::quiet_NaN());
    CHECK(numbers.count() == 2);
    CHECK(numbers.mean() == 3);
    numbers.rewind(3);
    CHECK(numbers.count() == 1);
    CHECK(numbers.z(7) == 0);  // of one number
    numbers.rewind(5);
    CHECK(numbers.count() == 0);
    numbers.push(1);
    numbers.reset();
    CHECK(numbers.count() == 0);
}

TEST_CASE("running statistics are those of two passes, far from 0 and after rewinds too") {
    SplitMix64 random{5};
    for (const double offset : {0.0, 1e6, -1e9}) {
        RunningStatistics numbers;
        std::vector<double> kept;
        for (int i = 0; i < 2000; ++i) {
            if (random.below(10) == 0) {
                const std::size_t back = std::min<std::size_t>(random.below(20), kept.size());
                numbers.rewind(back);
                kept.resize(kept.size() - back);
            }
            kept.push_back(offset + static_cast<double>(random.below(1000)) / 100);
            numbers.push(kept.back());
            const TwoPasses expected{kept};
            REQUIRE(numbers.count() == kept.size());
            REQUIRE(numbers.mean() == doctest::Approx(expected.mean).epsilon(1e-12));
            REQUIRE(std::fabs(numbers.deviation() - expected.deviation) < 1e-6 * (1 + expected.deviation));
        }
        RunningStatistics straight;
        for (const double value : kept) straight.push(value);
        CHECK(straight.mean() == numbers.mean());  // to the bit: what was taken back leaves nothing
        CHECK(straight.deviation() == numbers.deviation());
    }
}

TEST_CASE("thresholds: retrieved at entropies and surprisals that are high, and margins that are low") {
    // Of 8 equal logits entropy and surprisal are ln 8 = 2.079, of 7 they are 1.946.
    CHECK(OnEntropy{2.0}(Step{equal(8)}.view()));
    CHECK_FALSE(OnEntropy{2.0}(Step{equal(7)}.view()));
    CHECK(OnEntropy{std::log(8.0) - 1e-9}(Step{equal(8)}.view()));
    CHECK(OnSurprisal{2.0}(Step{equal(8)}.view()));
    CHECK_FALSE(OnSurprisal{2.0}(Step{equal(7)}.view()));
    // Of the logits ln 3 and 0 the probabilities are 0.75 and 0.25, and the margin is 0.5.
    const Step sure{{std::log(3.0f), 0}};
    CHECK(OnMargin{0.51}(sure.view()));
    CHECK_FALSE(OnMargin{0.49}(sure.view()));
    CHECK(OnMargin{0}(Step{equal(2)}.view()));
    CHECK(OnSurprisal{0.2876}(sure.view()));  // -ln 0.75 = 0.28768
    CHECK_FALSE(OnSurprisal{0.2877}(sure.view()));
}

TEST_CASE("thresholds: before the first token, and so many tokens apart") {
    const auto at = [](std::size_t retrievals, std::size_t since, std::size_t logits = 8) {
        return Step{equal(logits), since + 1, since, retrievals};
    };
    const OnEntropy schedule{2.0};
    CHECK(schedule(StepView{TokenBuffer{1}, 1}));
    CHECK(schedule(at(0, 0, 2).view()));
    for (std::size_t since = 0; since < 4; ++since) CHECK_FALSE(schedule(at(1, since).view()));
    CHECK(schedule(at(1, 4).view()));
    CHECK(OnEntropy{2.0, 1}(at(1, 1).view()));
    CHECK_FALSE(OnEntropy{2.0, 1}(at(1, 0).view()));
    CHECK(OnUnusualEntropy{1}(StepView{TokenBuffer{1}, 1}));
}

TEST_CASE("thresholds: what is unusual is so many deviations from what was before it") {
    // After 2 4 4 4 5 5 7 9 the mean is 5 and the deviation 2.
    const auto after_eight = [](auto schedule, float last) {
        std::size_t n = 0;
        for (const float value : {2.f, 4.f, 4.f, 4.f, 5.f, 5.f, 7.f, 9.f}) REQUIRE_FALSE(schedule(Step{{value}, ++n}.view()));
        return schedule(Step{{last}, ++n}.view());
    };
    CHECK(after_eight(OnUnusual<FirstLogit<false>>{2, 8}, 9));
    CHECK_FALSE(after_eight(OnUnusual<FirstLogit<false>>{2, 8}, 8.99f));
    CHECK_FALSE(after_eight(OnUnusual<FirstLogit<false>>{2, 9}, 20));  // the warm-up needs one more
    CHECK_FALSE(after_eight(OnUnusual<FirstLogit<false>>{2, 8}, 1));
    CHECK(after_eight(OnUnusual<FirstLogit<true>>{2, 8}, 1));
    CHECK_FALSE(after_eight(OnUnusual<FirstLogit<true>>{2, 8}, 9));
}

TEST_CASE("thresholds: what is unusual can be taken back, copied, reset and erased") {
    OnUnusual<FirstLogit<false>> schedule{2, 2};
    const auto ask = [](auto& asked, float value, std::size_t generated, std::size_t since = 100) -> bool {
        return Decision{asked(Step{{value}, generated, since}.view())}.retrieves();
    };
    CHECK_FALSE(ask(schedule, 1, 1));
    CHECK_FALSE(ask(schedule, 3, 2));  // mean 2, deviation 1
    AnySchedule any{schedule};
    auto copy = schedule;
    CHECK(ask(schedule, 4, 3));
    CHECK_FALSE(ask(schedule, 4, 4));  // mean 8/3, deviation 1.25
    CHECK(ask(schedule, 4, 3));        // two were taken back
    CHECK_FALSE(ask(copy, 3.9f, 3));
    CHECK(ask(any, 4, 3));
    CHECK_FALSE(ask(any, 4, 3, 3));  // too near to the last retrieval
    CHECK(ask(any, 4, 3, 4));
    any.reset();
    CHECK_FALSE(ask(any, 1, 1));
    CHECK_FALSE(ask(any, 100, 2));
}

TEST_CASE("thresholds: last words that were put off leave the memory as it was") {
    OnUnusual<FirstLogit<false>> schedule{2, 2};
    const auto ask = [](auto& asked, float value, std::size_t generated) { return asked(Step{{value}, generated}.view()); };
    CHECK_FALSE(ask(schedule, 1, 1));
    CHECK_FALSE(ask(schedule, 3, 2));  // mean 2, deviation 1
    auto other = schedule;
    // The text was about to end with a third token, which the schedule was not asked about; that is taken back and written anew.
    CHECK(ask(schedule, 4, 3));
    // Or it went on with that token: the fourth is judged by the first two.
    CHECK_FALSE(ask(other, 3.9f, 4));
    auto third = other;
    CHECK_FALSE(ask(third, 4.2f, 5));  // mean 2.63, deviation 1.21
    CHECK(ask(other, 5.1f, 5));
}

TEST_CASE("thresholds: a token that could not be taken is as unusual as can be, and spoils nothing") {
    OnUnusualSurprisal schedule{2, 2};
    const float never = -std::numeric_limits<float>::infinity();
    const auto ask = [&](std::vector<float> logits, std::size_t generated) {
        return schedule(Step{std::move(logits), generated}.view());
    };
    CHECK_FALSE(ask(equal(2), 1));
    CHECK_FALSE(ask(equal(4), 2));
    CHECK(ask({never, 0}, 3));  // the newest token is 0
    CHECK_FALSE(ask(equal(4), 4));
    CHECK(ask(equal(64), 5));
}

TEST_CASE("thresholds refuse what means nothing") {
    const double none = std::numeric_limits<double>::quiet_NaN();
    CHECK_THROWS_WITH_AS(OnEntropy{none}, "a threshold of a signal is not a number", Error);
    CHECK_THROWS_WITH_AS((OnMargin{0.1, 0}), "retrievals on a signal need at least 1 token between them, found 0", Error);
    CHECK_THROWS_WITH_AS(OnUnusualEntropy{0}, "what is unusual must be more than 0 standard deviations away, found 0.000000",
                         Error);
    CHECK_THROWS_WITH_AS((OnUnusualEntropy{none}), doctest::Contains("standard deviations away"), Error);
    CHECK_THROWS_WITH_AS((OnUnusualEntropy{1, 0}), "a mean needs a warm-up of at least 1 token, found 0", Error);
    CHECK_THROWS_AS((OnUnusualEntropy{1, 1, 0}), Error);
}

}  // namespace test_policy_thresholds
