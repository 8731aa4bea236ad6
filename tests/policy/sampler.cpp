#include "flashback/policy/sampler.hpp"

#include "flashback/policy/truncated_sampling.hpp"

#include <array>
#include <cstddef>
#include <limits>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include <doctest/doctest.h>

namespace test_policy_sampler {

using namespace flashback;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();

/// Gives back the logits that it was handed, so that a test sees them.
struct Spy {
    std::vector<float>* seen;
    std::size_t* resets;

    TokenId operator()(std::span<const float> logits) const {
        seen->assign(logits.begin(), logits.end());
        return Greedy{}(logits);
    }
    void reset() const { ++*resets; }
};

/// The logits that are left by a penalty, after so many of the newest tokens.
std::vector<float> penalised(RepetitionOptions options, const std::vector<float>& logits, const std::vector<TokenId>& context) {
    std::vector<float> seen;
    std::size_t resets = 0;
    RepetitionPenalty<Spy> penalty{options, Spy{&seen, &resets}};
    penalty(logits, StepView{context, 0});
    return seen;
}

static_assert(std::is_empty_v<Greedy>);
static_assert(Sampler<Greedy> && Sampler<TruncatedSampling> && Sampler<RepetitionPenalty<>> && !Sampler<int>);

}  // namespace

TEST_CASE("Greedy takes the likeliest token, of equals the lowest id") {
    CHECK(Greedy{}(std::array{1.0f, 3.0f, 2.0f}) == 1);
    CHECK(Greedy{}(std::array{3.0f, 1.0f, 3.0f}) == 0);
    CHECK(Greedy{}(std::array{-infinity, -5.0f, -5.0f, -infinity}) == 1);
}

TEST_CASE("logits that no token can be taken from are an error") {
    const auto code_of = [](auto sampler, const std::vector<float>& logits) {
        try {
            take_token(sampler, logits, StepView{});
        } catch (const Error& error) {
            return error.code();
        }
        return ErrorCode::contract;
    };
    for (const auto& logits :
         {std::vector{-infinity, -infinity}, std::vector{1.0f, not_a_number}, std::vector{not_a_number, 1.0f},
          std::vector{infinity, not_a_number}, std::vector{0.0f, infinity}, std::vector<float>{}}) {
        CHECK(code_of(Greedy{}, logits) == ErrorCode::logits);
        CHECK(code_of(TruncatedSampling{}, logits) == ErrorCode::logits);
    }
    CHECK_THROWS_WITH_AS(Greedy{}(std::array{1.0f, 2.0f, not_a_number}), "the logit of token 2 is not a number", Error);
    CHECK_THROWS_WITH_AS(Greedy{}(std::array{0.0f, infinity}), "the logit of token 1 is +infinity", Error);
    CHECK_THROWS_WITH_AS(Greedy{}(std::array{-infinity, -infinity}), "none of the 2 logits is above -infinity", Error);
}

TEST_CASE("a sampler is asked in the form that it has, and with the step where it has both") {
    const std::array<float, 3> logits{1, 2, 3};
    const std::array<TokenId, 2> context{5, 6};
    const StepView step{context, 1};
    const auto plain = [](std::span<const float> given) { return static_cast<TokenId>(given.size()); };
    const auto stepped = [](std::span<const float>, const StepView& given) { return given.last_token(); };
    struct Both {
        TokenId operator()(std::span<const float>) const { return 1; }
        TokenId operator()(std::span<const float>, const StepView&) const { return 2; }
    } both;
    static_assert(Sampler<decltype(plain)> && Sampler<decltype(stepped)> && Sampler<Both>);
    CHECK(take_token(plain, logits, step) == 3);
    CHECK(take_token(stepped, logits, step) == 6);
    CHECK(take_token(both, logits, step) == 2);
}

TEST_CASE("a repetition penalty divides positive logits and multiplies negative ones, once each") {
    const std::vector<float> logits{4, -4, 4, -4, 0, 1, -infinity};
    CHECK(penalised({.penalty = 2}, logits, {0, 1, 4, 0, 1, 0, 6}) == std::vector<float>{2, -8, 4, -4, 0, 1, -infinity});
    CHECK(penalised({.penalty = 0.5f}, logits, {0, 1, 4}) == std::vector<float>{8, -2, 4, -4, 0, 1, -infinity});
    CHECK(penalised({.penalty = 1}, logits, {0, 1, 2, 3, 4, 5, 6}) == logits);
    CHECK(penalised({}, logits, {0}) == std::vector<float>{4 / 1.1f, -4, 4, -4, 0, 1, -infinity});
    CHECK(penalised({}, logits, {}) == logits);
}

TEST_CASE("a repetition penalty looks at the newest tokens only, and at all of a shorter text") {
    const std::vector<float> logits{4, 4, 4, 4};
    CHECK(penalised({.penalty = 2, .window = 2}, logits, {0, 1, 2, 3}) == std::vector<float>{4, 4, 2, 2});
    CHECK(penalised({.penalty = 2, .window = 4}, logits, {0, 1, 2, 3}) == std::vector<float>{2, 2, 2, 2});
    CHECK(penalised({.penalty = 2, .window = 9}, logits, {0}) == std::vector<float>{2, 4, 4, 4});
    CHECK(penalised({.penalty = 2, .window = 0}, logits, {0, 1, 2, 3}) == logits);
    std::vector<TokenId> context(65, 1);
    context[0] = 0;
    CHECK(penalised({.penalty = 2}, logits, context) == std::vector<float>{4, 2, 4, 4});
    context.pop_back();
    CHECK(penalised({.penalty = 2}, logits, context) == std::vector<float>{2, 2, 4, 4});
}

TEST_CASE("tokens of the text that have no logit are passed over") {
    CHECK(penalised({.penalty = 2}, {4, 4}, {-1, 2, 1000000, 1}) == std::vector<float>{4, 2});
}

TEST_CASE("a repetition penalty changes the choice, leaves the logits and resets its inner sampler") {
    const std::vector<float> logits{3, 2.9f, 0};
    const std::array<TokenId, 1> context{0};
    RepetitionPenalty penalty{{.penalty = 1.5f, .window = 8}};
    CHECK(penalty(logits, StepView{context, 1}) == 1);
    CHECK(penalty(logits, StepView{{}, 0}) == 0);
    CHECK(logits == std::vector<float>{3, 2.9f, 0});

    std::vector<float> seen;
    std::size_t resets = 0;
    RepetitionPenalty outer{RepetitionOptions{}, RepetitionPenalty{RepetitionOptions{}, Spy{&seen, &resets}}};
    outer.reset();
    CHECK(resets == 1);
    outer(logits, StepView{context, 1});
    CHECK(seen == std::vector<float>{3 / 1.1f / 1.1f, 2.9f, 0});
}

TEST_CASE("a penalty that is no number above 0 is refused in words") {
    for (const float penalty : {0.0f, -1.0f, infinity, not_a_number}) {
        CHECK_THROWS_WITH_AS((RepetitionPenalty<>{{.penalty = penalty, .window = 64}}),
                             doctest::Contains("a repetition penalty must be a number above 0, found"), Error);
    }
}

}  // namespace test_policy_sampler
